package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/workerd/config"
)

// configCommand looks at the daemon's configuration without starting it. Environment variables count, as they would
// for the daemon; that is how they are tried out.
func (a *App) configCommand() *cobra.Command {
	check := &cobra.Command{
		Use: "check FILE", Short: "Say everything that is wrong with a workerd.yaml", Args: takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return a.configCheck(args[0]) },
	}
	show := &cobra.Command{
		Use: "show FILE", Short: "Show every setting and where it comes from", Args: takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return a.configShow(args[0]) },
	}
	return noun("config", "Look at the configuration of workerd", check, show)
}

func (a *App) readConfig(file string) (*config.Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, &said{err, "give the path of a workerd.yaml"}
	}
	return config.Load(config.Input{File: file, Data: data, Env: a.Env})
}

// configProblem is one error in the JSON of config check.
type configProblem struct {
	Where   string `json:"where"`
	Line    int    `json:"line,omitempty"`
	Key     string `json:"key,omitempty"`
	Problem string `json:"problem"`
}

// configReport is the JSON of config check.
type configReport struct {
	File     string          `json:"file"`
	OK       bool            `json:"ok"`
	Problems []configProblem `json:"problems"`
	Warnings []string        `json:"warnings"`
	Notes    []string        `json:"notes"`
	NotYet   []string        `json:"not_yet"`
}

func (a *App) configCheck(file string) error {
	cfg, err := a.readConfig(file)
	var errs config.Errors
	if err != nil && !errors.As(err, &errs) {
		return err
	}
	report := configReport{File: file, OK: err == nil, Problems: []configProblem{}, Warnings: []string{}, Notes: []string{}, NotYet: []string{}}
	if err == nil {
		report.Warnings = append(report.Warnings, cfg.Warnings...)
		report.Notes = append(report.Notes, cfg.Notes...)
	}
	for _, e := range errs {
		where := e.Where.String()
		if e.Where.Kind == config.FromDefault {
			where = ""
		}
		report.Problems = append(report.Problems, configProblem{where, e.Where.Line, e.Key, e.Msg})
	}
	if a.json {
		if err := a.object(report); err != nil {
			return err
		}
	}
	for _, e := range errs {
		fmt.Fprintf(a.Stderr, "%s: config check: %s\n", program, oneLine(e.Error()))
	}
	for _, list := range []struct {
		word  string
		texts []string
	}{{"note", report.Notes}, {"warning", report.Warnings}, {"not yet acted upon", report.NotYet}} {
		for _, text := range list.texts {
			fmt.Fprintf(a.Stderr, "%s: %s\n", list.word, oneLine(text))
		}
	}
	if err != nil {
		return errTold
	}
	if !a.json {
		fmt.Fprintf(a.Stdout, "%s is good: %d pool(s) for queue(s) %s\n", file, len(cfg.Pools), cfg.Queues)
	}
	return nil
}

func (a *App) configShow(file string) error {
	cfg, err := a.readConfig(file)
	var errs config.Errors
	if errors.As(err, &errs) {
		return &said{fmt.Errorf("%s cannot be used: %w", file, errs[0]), "see all that is wrong with: coordinator config check " + file}
	}
	if err != nil {
		return err
	}
	return rows(a, cfg.Settings(), "", []string{"key", "value", "from"}, func(s config.Setting) []any {
		return []any{s.Key, s.Value, s.Origin}
	})
}
