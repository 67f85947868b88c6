package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/coordinator/dev"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/workerd/config"
)

func (a *App) devCommand() *cobra.Command {
	o := dev.Options{Stdout: a.Stdout, Stderr: a.Stderr, Again: a.Again}
	var queues []string
	var lease string
	cmd := &cobra.Command{
		Use:   "dev [flags] [-- CMD…]",
		Short: "Run a NATS server, queues and a workerd, to try things out",
		Long: `Run a NATS server with JetStream, queues and, for a command behind -- or a --config, a workerd that runs it.

^C or TERM ends it all: workerd first, as in production, then the server. A second ^C makes workerd kill its jobs at
once. Nothing is left behind, unless --dir says where to keep the data.`,
		Example: "  coordinator dev -- ./handle.sh\n  coordinator dev --dir ./data --queue ci --queue mail",
		RunE: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash != 0 && len(args) > 0 {
				return usagef("put the command behind --: coordinator dev -- "+args[0], "unexpected %q", args[0])
			}
			o.Command = args
			if err := devQueues(a, cmd.Flags().Changed("queue"), &o, queues); err != nil {
				return err
			}
			var err error
			if o.Lease, err = config.ParseDuration(lease); err != nil {
				return usagef("write it as 15s", "--lease: %w", err)
			}
			if o.Port < 0 || o.Port > 65535 {
				return usagef("0 is any free one", "--port: %d is no port", o.Port)
			}
			o.Ready = func(r dev.Running) error {
				if a.json {
					return a.object(r)
				}
				_, err := fmt.Fprint(a.Stdout, dev.Explain(r, o.Command))
				return err
			}
			return dev.Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "`folder` to keep the data in (default: a temporary one, removed at the end)")
	f.IntVarP(&o.Port, "port", "p", 4222, "`port` of the NATS server on 127.0.0.1; 0 is any free one")
	f.StringArrayVarP(&queues, "queue", "q", []string{"ci"}, "`queue` to make and serve; may be given several times")
	f.StringVar(&lease, "lease", "15s", "lease of the queues that are made")
	f.StringVarP(&o.Config, "config", "c", "", "workerd.yaml to run workerd with")
	return cmd
}

// devQueues takes the queues from --queue, or else from the configuration.
func devQueues(a *App, given bool, o *dev.Options, names []string) error {
	o.Serve = given || o.Config == ""
	if o.Config != "" {
		if len(o.Command) > 0 {
			return usagef("", "--config and a command do not go together")
		}
		cfg, err := a.readConfig(o.Config)
		if err != nil {
			return err
		}
		if !given {
			names = cfg.Queues.Names()
		}
	}
	for _, name := range names {
		q, err := subjects.ParseQueue(name)
		if err != nil {
			return usage{err}
		}
		o.Queues = append(o.Queues, q)
	}
	return nil
}
