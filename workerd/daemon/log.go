package daemon

import (
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"

	"github.com/seriatim/seriatim/workerd/config"
)

// newLog writes to standard error: text for people on a terminal, JSON otherwise, unless the configuration says which.
func newLog(cfg config.Log) zerolog.Logger {
	zerolog.TimeFieldFormat = time.RFC3339Nano
	zerolog.DurationFieldUnit = time.Millisecond
	var out io.Writer = os.Stderr
	if cfg.Format == "text" || cfg.Format == "auto" && term.IsTerminal(int(os.Stderr.Fd())) {
		out = zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: "15:04:05.000", NoColor: os.Getenv("NO_COLOR") != ""}
	}
	level, err := zerolog.ParseLevel(cfg.Level)
	if err != nil {
		level = zerolog.InfoLevel // the configuration has checked it
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}
