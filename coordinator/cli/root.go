package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seriatim/seriatim/internal/nearest"
	"github.com/seriatim/seriatim/internal/version"
)

const program = "coordinator"

func (a *App) root() *cobra.Command {
	root := &cobra.Command{
		Use:   program,
		Short: "Look after queues whose jobs run one after another per entity",
		Long: `Look after queues whose jobs run one after another per entity.

The server is found as the nats command finds it: --server or NATS_URL, --context or NATS_CONTEXT, else the selected
context, else ` + defaultServer + `. A selected context is not used together with --server or NATS_URL.`,
		Version:           version.String(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args:              cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	root.SetVersionTemplate("coordinator {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.BoolVar(&a.json, "json", false, "one JSON object or array on standard output")
	flags.BoolVarP(&a.force, "force", "f", false, "answer yes to every question")
	a.connection.bind(flags)
	root.SetGlobalNormalizationFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		switch name { // as the nats command spells them
		case "tlsca", "tlscert", "tlskey":
			name = "tls-" + name[3:]
		}
		return pflag.NormalizedName(name)
	})
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(a.queueCommand(), a.jobCommand(), a.laneCommand(), a.deadCommand(), a.scheduleCommand(), a.workerCommand(), a.configCommand(), a.authCommand(), a.devCommand())
	return root
}

// noun makes a command that only holds others.
func noun(name, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: name, Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return usagef("see: "+cmd.CommandPath()+" --help", "which command? One of %s", strings.Join(names(cmd), ", "))
		},
	}
	cmd.AddCommand(verbs...)
	return cmd
}

func names(cmd *cobra.Command) []string {
	var out []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			out = append(out, c.Name())
		}
	}
	return out
}

func unknownCommand(cmd *cobra.Command, word string) error {
	known := names(cmd)
	for _, c := range cmd.Commands() {
		known = append(known, c.Aliases...)
	}
	hint := "see: " + cmd.CommandPath() + " --help"
	if n := nearest.Word(word, known); n != "" {
		hint = fmt.Sprintf("did you mean: %s %s?", cmd.CommandPath(), n)
	}
	return usagef(hint, "unknown command %q", word)
}

// flagError adds the flag that was meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return usagef("see: "+cmd.CommandPath()+" --help", "%w", err)
	}
	text, hint := nearest.Flag(unknown, cmd.Flags())
	if hint == "" {
		hint = "see: " + cmd.CommandPath() + " --help"
	}
	return usagef(hint, "%s", text)
}

// takes checks the number of arguments against their names: "QUEUE", "[SEQ…]".
func takes(args ...string) cobra.PositionalArgs {
	least, most := 0, len(args)
	for _, name := range args {
		if !strings.HasPrefix(name, "[") {
			least++
		}
		if strings.Contains(name, "…") {
			most = -1
		}
	}
	return func(cmd *cobra.Command, given []string) error {
		switch {
		case len(given) < least:
			return usagef("usage: "+cmd.UseLine(), "%s is missing", args[len(given)])
		case most >= 0 && len(given) > most:
			return usagef("usage: "+cmd.UseLine(), "%q is too much", given[most])
		}
		return nil
	}
}
