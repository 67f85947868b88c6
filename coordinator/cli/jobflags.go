package cli

import (
	"github.com/spf13/pflag"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/workerd/config"
)

// jobFlags say what a job is, but for its entity and its id.
type jobFlags struct {
	kind, data, dataFile, timeout string
	onFailure, onDead             string
	headers                       []string
	maxAttempts                   int
	flags                         *pflag.FlagSet
}

func (j *jobFlags) bind(f *pflag.FlagSet) {
	j.flags = f
	f.StringVar(&j.kind, "kind", "", "kind of the job (default: default)")
	f.StringVar(&j.data, "data", "", "body")
	f.StringVar(&j.dataFile, "data-file", "", "body from a `file`; - is standard input")
	f.StringArrayVarP(&j.headers, "header", "H", nil, "header of your own, `Name:value`; may be given several times")
	f.IntVar(&j.maxAttempts, "max-attempts", 0, "dead after so many failures (default: the queue's)")
	f.StringVar(&j.onFailure, "on-failure", "", "block or pass: whether others of its entity wait for its retry (default: the queue's)")
	f.StringVar(&j.onDead, "on-dead", "", "continue or halt: whether its entity goes on when it is dead (default: the queue's)")
	f.StringVar(&j.timeout, "timeout", "", "how long the job may run, such as 90s (for the server's answer, set NATS_TIMEOUT)")
}

// options are what the flags say, without the body.
func (j *jobFlags) options() (o streams.PublishOptions, err error) {
	o = streams.PublishOptions{Kind: j.kind, MaxAttempts: j.maxAttempts, OnFailure: j.onFailure, OnDead: j.onDead}
	if o.MaxAttempts < 0 || j.flags.Changed("max-attempts") && o.MaxAttempts == 0 {
		return o, usagef("leave it out to use the queue's", "--max-attempts must be above 0")
	}
	if j.timeout != "" {
		if o.Timeout, err = config.ParseDuration(j.timeout); err != nil {
			return o, usagef("", "--timeout: %w", err)
		}
	}
	if o.Header, err = parseHeaders(j.headers); err != nil {
		return o, err
	}
	if j.flags.Changed("data") && j.dataFile != "" {
		return o, usagef("", "--data and --data-file do not go together")
	}
	return o, nil
}

// body is what --data or --data-file says.
func (j *jobFlags) body(a *App, s *session) ([]byte, error) {
	if j.dataFile != "" {
		return a.body(j.dataFile, s.nc.MaxPayload())
	}
	return []byte(j.data), nil
}
