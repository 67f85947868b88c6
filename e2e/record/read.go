package record

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"

	"github.com/seriatim/seriatim/internal/problem"
)

// Log is what one or many records say.
type Log struct {
	Events []Event
	// Torn counts lines that a death cut off in the middle of their write.
	Torn int
}

// ReadFiles reads records into one log. A file that does not exist is an error: a witness is missing.
func ReadFiles(paths ...string) (Log, error) {
	var log Log
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return Log{}, problem.New("read record", err, "")
		}
		part, err := Read(f)
		_ = f.Close()
		if err != nil {
			return Log{}, problem.New("read record "+path, err, "")
		}
		log.Events = append(log.Events, part.Events...)
		log.Torn += part.Torn
	}
	return log, nil
}

// Read reads one record. A line that is not a whole event counts as torn.
func Read(r io.Reader) (Log, error) {
	var log Log
	in := bufio.NewReaderSize(r, 1<<16)
	for {
		line, err := in.ReadBytes('\n')
		if line = bytes.TrimSpace(line); len(line) > 0 {
			var e Event
			if json.Unmarshal(line, &e) != nil || e.What == "" || e.T == 0 {
				log.Torn++
			} else {
				log.Events = append(log.Events, e)
			}
		}
		if errors.Is(err, io.EOF) {
			return log, nil
		}
		if err != nil {
			return Log{}, err
		}
	}
}
