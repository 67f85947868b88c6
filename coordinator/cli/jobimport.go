package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/coordinator/importer"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/workerd/config"
)

// leastLine is the bound of a line where the server takes only small messages.
const leastLine = 8 << 20

func (a *App) jobImport() *cobra.Command {
	return &cobra.Command{
		Use: "import QUEUE FILE|-", Short: "Publish many jobs, one JSON object a line", Args: takes("QUEUE", "FILE"),
		Long: `Publish many jobs. Each line is one JSON object:

  {"entity":"build.123","kind":"archive","id":"…","data":…,"timeout":"90s","max_attempts":3,"headers":{"Name":"value"}}

Only entity is needed. data is a string, taken as it is, or anything else, taken as JSON. Jobs of one entity keep the
order of their lines. On a line that cannot be used everything before it is published and nothing after it. On a job
that the server refuses nothing more is published.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := queueArg(args[0])
			if err != nil {
				return err
			}
			in, total := a.Stdin, int64(0)
			if args[1] != "-" {
				f, err := os.Open(args[1])
				if err != nil {
					return &said{err, ""}
				}
				defer f.Close()
				if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
					total = info.Size()
				}
				in = f
			}
			return a.with(cmd.Context(), func(ctx context.Context, s *session) error { return a.importJobs(ctx, s, q, in, total) })
		},
	}
}

// importSummary is the JSON of job import.
type importSummary struct {
	Queue         string  `json:"queue"`
	Published     int     `json:"published"`
	Duplicates    int     `json:"duplicates"`
	Unknown       int     `json:"unknown"`
	FirstMissing  int     `json:"first_missing_line,omitempty"`
	FailedLine    int     `json:"failed_line,omitempty"`
	Error         string  `json:"error,omitempty"`
	Bytes         int64   `json:"bytes"`
	Seconds       float64 `json:"seconds"`
	JobsPerSecond float64 `json:"jobs_per_second"`
}

func (a *App) importJobs(ctx context.Context, s *session, q subjects.Queue, in io.Reader, total int64) error {
	// Before a long file is read. Who may only publish learns it with the first answer.
	if may, err := streams.MayRead(ctx, s.nc, q); err != nil {
		return err
	} else if may {
		if _, err := streams.LoadQueue(ctx, s.js, q); err != nil {
			return err
		}
	}
	start := a.Now()
	o := importer.Options{
		Conn: s.nc,
		Make: func(l importer.Line) (*nats.Msg, string, error) { return importMessage(s.nc, q, l) },
		Answer: func(m *nats.Msg) (bool, error) {
			ack, err := streams.ReadAnswer(q, m)
			return ack.Duplicate, err
		},
		MaxLine: int(max(leastLine, 2*s.nc.MaxPayload()+64<<10)),
		Timeout: max(s.timeout, 10*time.Second),
	}
	if a.Watches {
		o.Progress = func(p importer.Progress) {
			fmt.Fprintf(a.Stderr, "\r%s\x1b[K", progressLine(p, total, a.Now().Sub(start)))
		}
	}
	r, err := importer.Run(ctx, in, o)
	if a.Watches {
		fmt.Fprint(a.Stderr, "\r\x1b[K")
	}
	took := a.Now().Sub(start)
	sum := importSummary{
		Queue: string(q), Published: r.Published, Duplicates: r.Duplicates, Unknown: r.Unknown, FirstMissing: r.FirstMissing,
		Bytes: r.Read, Seconds: took.Seconds(), JobsPerSecond: rate(r.Published+r.Duplicates, took),
	}
	var line *importer.LineError
	if errors.As(err, &line) {
		sum.FailedLine = line.Line
	}
	if err != nil {
		sum.Error = err.Error()
	}
	if a.json {
		if out := a.object(sum); out != nil {
			return out
		}
	} else {
		fmt.Fprintln(a.Stdout, summaryText(sum))
	}
	if err != nil {
		return &said{err, importHint(r, line, err)}
	}
	return nil
}

func summaryText(s importSummary) string {
	text := fmt.Sprintf("published %s job(s) to %s in %.1fs (%s jobs/s)", humanize.Comma(int64(s.Published)), s.Queue, s.Seconds, humanize.Comma(int64(s.JobsPerSecond)))
	if s.Duplicates > 0 {
		text += fmt.Sprintf("; %s were there already", humanize.Comma(int64(s.Duplicates)))
	}
	if s.Unknown > 0 {
		text += fmt.Sprintf("; of %s it is not known whether they are stored", humanize.Comma(int64(s.Unknown)))
	}
	return text
}

// importHint says how to go on. The cause's own hint comes first: it must be cured first.
func importHint(r importer.Result, line *importer.LineError, err error) string {
	var parts []string
	if h := problem.Hint(err); h != "" {
		parts = append(parts, h)
	}
	switch {
	case line != nil && !line.Refused:
		parts = append(parts, fmt.Sprintf("everything before line %d is published, and nothing after it", line.Line))
	case r.FirstMissing > 0:
		parts = append(parts, fmt.Sprintf("everything before line %d is published, and of later lines some of other entities may be; "+
			"lines with an id can be imported again within two minutes without being stored twice", r.FirstMissing))
	}
	return strings.Join(parts, "; ")
}

func rate(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// progressLine is what a person sees during an import. total is the size of the file, or 0 when nobody knows.
func progressLine(p importer.Progress, total int64, took time.Duration) string {
	n := p.Published + p.Duplicates
	text := fmt.Sprintf("%s jobs  %s/s  %s", humanize.Comma(int64(n)), humanize.Comma(int64(rate(n, took))), span(took))
	if total <= 0 {
		return text
	}
	const width = 30
	share := min(float64(p.Read)/float64(total), 1)
	done := int(share * width)
	bar := strings.Repeat("=", done) + strings.Repeat(" ", width-done)
	return fmt.Sprintf("[%s] %3d%%  %s", bar, int(share*100), text)
}

// importMessage makes a line's message and names its lane.
func importMessage(nc *nats.Conn, q subjects.Queue, l importer.Line) (*nats.Msg, string, error) {
	e, err := subjects.ParseEntity(l.Entity)
	if err != nil {
		return nil, "", err
	}
	o := streams.PublishOptions{Kind: l.Kind, ID: l.ID, Data: l.Data, MaxAttempts: l.MaxAttempts, Header: make(map[string][]string, len(l.Headers))}
	for name, value := range l.Headers {
		o.Header[name] = []string{value}
	}
	if l.Timeout != "" {
		if o.Timeout, err = config.ParseDuration(l.Timeout); err != nil || o.Timeout == 0 {
			return nil, "", fmt.Errorf(`%w: "timeout" must be a duration above 0 such as "90s", not %q`, streams.ErrOption, l.Timeout)
		}
	}
	msg, err := o.Message(nc, q, e)
	return msg, e.Token(), err
}
