package engine

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"net/textproto"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// message is a stored job as a read brought it: the payload of a lane.Head.
type message struct {
	queue  subjects.Queue
	entity subjects.Entity
	job    subjects.JobHeader
	header nats.Header
	body   []byte
	stored time.Time
	first  time.Time // when it came in, if it was moved since
}

// published is when the job came in.
func (m *message) published() time.Time {
	if m.first.IsZero() {
		return m.stored
	}
	return m.first
}

// wanted is one lane's head that a batch asks for.
type wanted struct {
	lane  string
	op    lane.Op
	alone uint64
	seen  bool
}

// headBatch is a direct get of the last messages of several lanes of one queue.
type headBatch struct {
	queue  string
	wanted []wanted
}

// maxBatch bounds the lanes of one direct get; the server takes at most 1024.
const maxBatch = 256

// readHead asks for a lane's head, at once or with the next batch.
func (e *Engine) readHead(name string, r lane.ReadHead) {
	switch {
	case !utf8.ValidString(name):
		// No request can name such a lane. Its job is going to be dead; the turn says which it is.
		e.wire.send(ask{kind: askFirst, lane: name, op: r.Op}, e.api+"DIRECT.GET."+streamOf("JOBS_", name), nil,
			[]byte(`{"seq":`+strconv.FormatUint(max(r.Guess, 1), 10)+`,"batch":1}`))
	case r.Leader:
		e.wire.send(ask{kind: askHead, lane: name, op: r.Op}, e.api+"STREAM.MSG.GET."+streamOf("JOBS_", name), nil,
			[]byte(`{"seq":1,"next_by_subj":`+quote("jobs."+name)+`}`))
	case r.First:
		e.readFirst(name, r.Op)
	default:
		q := queueOf(name)
		e.heads[q] = append(e.heads[q], wanted{lane: name, op: r.Op, alone: r.Alone})
	}
}

// readFirst asks for the first message of a lane and how many follow.
func (e *Engine) readFirst(name string, op lane.Op) {
	e.wire.send(ask{kind: askFirst, lane: name, op: op}, e.api+"DIRECT.GET."+streamOf("JOBS_", name), nil,
		[]byte(`{"seq":1,"next_by_subj":`+quote("jobs."+name)+`,"batch":1}`))
}

// flushHeads sends the batches that the last round of actions gathered.
func (e *Engine) flushHeads() {
	for q, lanes := range e.heads {
		for len(lanes) > 0 {
			n := min(len(lanes), maxBatch)
			e.readLast(&headBatch{queue: q, wanted: append([]wanted(nil), lanes[:n]...)})
			lanes = lanes[n:]
		}
		e.heads[q] = e.heads[q][:0]
	}
}

// readLast asks for the last message of each lane of a batch.
func (e *Engine) readLast(b *headBatch) {
	var req strings.Builder
	req.WriteString(`{"multi_last":[`)
	for i, w := range b.wanted {
		if i > 0 {
			req.WriteByte(',')
		}
		req.WriteString(quote("jobs." + w.lane))
	}
	req.WriteString(`],"batch":1024}`)
	e.wire.send(ask{kind: askHeads, heads: b}, e.api+"DIRECT.GET.JOBS_"+b.queue, nil, []byte(req.String()))
}

// headsAnswered takes one message of a batch's answer, and reports whether it was the last.
func (e *Engine) headsAnswered(b *headBatch, m *nats.Msg) bool {
	switch statusOf(m) {
	case "":
		name := strings.TrimPrefix(last(m.Header, "Nats-Subject"), "jobs.")
		for i := range b.wanted {
			if w := &b.wanted[i]; w.lane == name && !w.seen {
				w.seen = true
				seq, _ := strconv.ParseUint(last(m.Header, "Nats-Sequence"), 10, 64)
				if seq == w.alone && seq != 0 {
					e.holder.Lane(name, lane.HeadRead{Op: w.op, Head: e.headOf(name, seq, false, m.Header, m.Data)})
				} else {
					e.readFirst(name, w.op) // others stand before it
				}
				return false
			}
		}
		return false
	case "204", "404":
		if rest := m.Header.Get("Nats-Num-Pending"); rest != "" && rest != "0" {
			// The server stops early when bodies are large.
			again := &headBatch{queue: b.queue}
			for _, w := range b.wanted {
				if !w.seen {
					again.wanted = append(again.wanted, w)
				}
			}
			e.readLast(again)
			return true
		}
		for _, w := range b.wanted {
			if !w.seen {
				e.holder.Lane(w.lane, lane.HeadRead{Op: w.op})
			}
		}
		return true
	default:
		for _, w := range b.wanted {
			if !w.seen {
				e.holder.Lane(w.lane, lane.Failed{Op: w.op})
			}
		}
		return true
	}
}

// firstAnswered takes one message of the answer to askFirst, and reports whether it was the last.
func (e *Engine) firstAnswered(a ask, m *nats.Msg) bool {
	switch statusOf(m) {
	case "":
		if last(m.Header, "Nats-Subject") != "jobs."+a.lane {
			e.holder.Lane(a.lane, lane.HeadRead{Op: a.op}) // asked by sequence, and that job is gone
			return false
		}
		seq, _ := strconv.ParseUint(last(m.Header, "Nats-Sequence"), 10, 64)
		more := last(m.Header, "Nats-Num-Pending") != "0"
		e.holder.Lane(a.lane, lane.HeadRead{Op: a.op, Head: e.headOf(a.lane, seq, more, m.Header, m.Data)})
		return false
	case "204":
		return true
	case "404":
		e.holder.Lane(a.lane, lane.HeadRead{Op: a.op})
	default:
		e.holder.Lane(a.lane, lane.Failed{Op: a.op})
	}
	return true
}

// stored is a message as STREAM.MSG.GET answers it.
type stored struct {
	Message *struct {
		Seq     uint64 `json:"seq"`
		Header  string `json:"hdrs"`
		Data    string `json:"data"`
		Subject string `json:"subject"`
		Time    string `json:"time"`
	} `json:"message"`
	Error *struct {
		Code    int `json:"code"`
		ErrCode int `json:"err_code"`
	} `json:"error"`
}

// errNoMessage is the server's code for "no message found" to STREAM.MSG.GET.
const errNoMessage = 10037

// readStored reads such an answer; found is false when there is no message, ok when it is no answer at all.
func readStored(m *nats.Msg) (seq uint64, header nats.Header, body []byte, found, ok bool) {
	var s stored
	if json.Unmarshal(m.Data, &s) != nil {
		return 0, nil, nil, false, false
	}
	if s.Error != nil {
		return 0, nil, nil, false, s.Error.ErrCode == errNoMessage
	}
	if s.Message == nil {
		return 0, nil, nil, false, false
	}
	body, err := base64.StdEncoding.DecodeString(s.Message.Data)
	if err != nil {
		return 0, nil, nil, false, false
	}
	raw, err := base64.StdEncoding.DecodeString(s.Message.Header)
	if err != nil {
		return 0, nil, nil, false, false
	}
	if header = readHeader(raw); header == nil {
		header = nats.Header{}
	}
	header[headerStored] = append(header[headerStored], s.Message.Time) // where a direct get has it
	return s.Message.Seq, header, body, true, true
}

// headerStored is when a message was stored, in the answer to a direct get.
const headerStored = "Nats-Time-Stamp"

// readHeader parses a stored header block.
func readHeader(raw []byte) nats.Header {
	_, rest, ok := strings.Cut(string(raw), "\r\n")
	if !ok {
		return nil
	}
	h := nats.Header{}
	r := textproto.NewReader(bufio.NewReader(strings.NewReader(rest)))
	for {
		line, err := r.ReadLine()
		if err != nil || line == "" {
			return h
		}
		if key, value, ok := strings.Cut(line, ":"); ok {
			h[key] = append(h[key], strings.TrimSpace(value))
		}
	}
}

// leaderHeadAnswered reads the answer to askHead. Whether jobs stand behind the head is not told: one look more.
func (e *Engine) leaderHeadAnswered(a ask, m *nats.Msg) {
	seq, header, body, found, ok := readStored(m)
	switch {
	case !ok:
		e.holder.Lane(a.lane, lane.Failed{Op: a.op})
	case !found:
		e.holder.Lane(a.lane, lane.HeadRead{Op: a.op})
	default:
		e.holder.Lane(a.lane, lane.HeadRead{Op: a.op, Head: e.headOf(a.lane, seq, true, header, body)})
	}
}

// headOf makes a head of a stored message. What cannot be used is said in Invalid: the job is dead then, with that as
// the reason.
func (e *Engine) headOf(name string, seq uint64, more bool, h nats.Header, body []byte) lane.Head {
	head := lane.Head{Found: true, Seq: seq, More: more}
	q, token, _ := strings.Cut(name, ".")
	msg := &message{queue: subjects.Queue(q), header: h, body: body}
	msg.stored, _ = time.Parse(time.RFC3339Nano, last(h, headerStored))
	head.Payload = msg
	var err error
	if msg.entity, err = subjects.ParseLane(token); err != nil {
		head.Invalid = err.Error()
		head.Halt = lane.No // no operator could name the lane
		return head
	}
	before := streams.ReadCarried(last(h, streams.HeaderCarried))
	head.Counts, head.Tries, msg.first = before.Counts, before.Tries, before.Published
	if msg.job, err = subjects.ReadJobHeader(msg.queue, seq, subjects.Header(h)); err != nil {
		head.Invalid = err.Error()
		return head
	}
	head.MaxAttempts, head.Kind = msg.job.MaxAttempts, msg.job.Kind
	head.Pass = choice(msg.job.OnFailure, streams.FailurePass)
	head.Halt = choice(msg.job.OnDead, streams.DeadHalt)
	if head.Unserved = !e.opts.Runner.Serves(msg.job.Kind); head.Unserved {
		e.unserved(msg)
	}
	return head
}

// choice is a job's own word: yes when it says so, no when it says something else.
func choice(says, yes string) lane.Choice {
	switch says {
	case "":
		return lane.Default
	case yes:
		return lane.Yes
	}
	return lane.No
}

// unservedEvery is how often a kind without a pool is told of.
const unservedEvery = time.Minute

// unserved tells that a job waits for a worker that serves its kind: seldom, because the turn comes round again.
func (e *Engine) unserved(msg *message) {
	key := string(msg.queue) + " " + msg.job.Kind
	if last, told := e.unservedAt[key]; told && e.at < last+unservedEvery {
		return
	}
	e.unservedAt[key] = e.at
	e.opts.Log.Warn().Str("queue", string(msg.queue)).Str("entity", msg.entity.String()).Str("kind", msg.job.Kind).
		Msg("no pool of this worker serves the kind: the turn is given back, for another worker")
}

// last is the last value of a header: what the server adds stands last, whatever a publisher forged before it.
func last(h nats.Header, key string) string {
	if v := h[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// quote writes a subject as a JSON string. Most need nothing but the quotes.
func quote(s string) string {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			b, _ := json.Marshal(s)
			return string(b)
		}
	}
	return `"` + s + `"`
}

// statusOf is the server's word about a direct get, or "" for a stored message. A publisher may have written a header
// Status into its message; only stored messages have the server's Nats-Sequence.
func statusOf(m *nats.Msg) string {
	if last(m.Header, "Nats-Sequence") != "" {
		return ""
	}
	if s := last(m.Header, "Status"); s != "" {
		return s
	}
	return "500"
}

func queueOf(name string) string {
	q, _, _ := strings.Cut(name, ".")
	return q
}

func streamOf(prefix, name string) string { return prefix + queueOf(name) }
