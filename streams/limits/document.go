package limits

import (
	"encoding/json"
	"errors"
	"maps"
)

// Document is what is stored of a limit: who may run how many jobs under it.
type Document struct {
	V int `json:"v"`
	// Shares are the jobs that each session may run at once. Those of sessions that are over count nothing.
	Shares map[string]int `json:"shares,omitempty"`
	// Wants are the sessions that could run more.
	Wants map[string]Want `json:"wants,omitempty"`
}

// Want says that a session could run N more jobs, and since which revision of the document.
type Want struct {
	N     int    `json:"n"`
	Since uint64 `json:"since"`
}

// version is of the document's form.
const version = 1

// ErrNewer: the document was written by a newer version, and may mean something else.
var ErrNewer = errors.New("a newer version wrote this")

// Encode is the document as it is stored.
func (d Document) Encode() []byte {
	d.V = version
	text, err := json.Marshal(d)
	if err != nil {
		panic(err) // maps of strings to numbers
	}
	return text
}

// Decode reads a document. What makes no sense in it is left out, and what cannot be read at all is an empty one with an
// error. ErrNewer says that it must not be written over.
func Decode(text []byte) (Document, error) {
	var d Document
	if len(text) == 0 {
		return Document{}, nil
	}
	err := json.Unmarshal(text, &d)
	if d.V > version {
		return Document{V: d.V}, ErrNewer
	}
	if err != nil {
		return Document{}, err
	}
	for s, n := range d.Shares {
		if n <= 0 {
			delete(d.Shares, s)
		}
	}
	for s, w := range d.Wants {
		if w.N <= 0 {
			delete(d.Wants, s)
		}
	}
	return d, nil
}

// living is a copy without the sessions that are over.
func (d Document) living(dead func(string) bool) Document {
	c := Document{V: version, Shares: maps.Clone(d.Shares), Wants: maps.Clone(d.Wants)}
	if c.Shares == nil {
		c.Shares = map[string]int{}
	}
	if c.Wants == nil {
		c.Wants = map[string]Want{}
	}
	maps.DeleteFunc(c.Shares, func(s string, _ int) bool { return dead(s) })
	maps.DeleteFunc(c.Wants, func(s string, _ Want) bool { return dead(s) })
	return c
}

// give moves one permit from one session to another that wants it, at revision rev. If that wants more, it does so
// anew: others come first.
func (d Document) give(from, to string, rev uint64) {
	d.add(from, -1)
	d.add(to, 1)
	w := d.Wants[to]
	w.Since = rev
	if w.N--; w.N > 0 {
		d.Wants[to] = w
	} else {
		delete(d.Wants, to)
	}
}

func (d Document) add(session string, n int) {
	if n += d.Shares[session]; n > 0 {
		d.Shares[session] = n
	} else {
		delete(d.Shares, session)
	}
}

// sum is what the sessions that live have together.
func (d Document) sum(dead func(string) bool) (sum int) {
	for s, n := range d.Shares {
		if !dead(s) {
			sum += n
		}
	}
	return sum
}

// hungriest is the session, other than me, that is to be given the next permit: of those that want one the one with the
// least, then the one that has waited longest. Empty is none.
func (d Document) hungriest(me string, dead func(string) bool) (who string) {
	for s, w := range d.Wants {
		if s == me || dead(s) {
			continue
		}
		b := d.Wants[who]
		less := d.Shares[s] - d.Shares[who]
		if who == "" || less < 0 || less == 0 && (w.Since < b.Since || w.Since == b.Since && s < who) {
			who = s
		}
	}
	return who
}
