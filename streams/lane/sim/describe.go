package sim

import (
	"fmt"

	"github.com/seriatim/seriatim/streams/lane"
)

// describe is a record for people.
func describe(r lane.Record) string {
	s := fmt.Sprintf("%s job %d by %s", r.State, r.Job, r.Session)
	if !r.Counts.Zero() {
		s += fmt.Sprintf(" %+v", r.Counts)
	}
	if r.Stolen {
		s += " stolen"
	}
	if r.Dying {
		s += " dying"
	}
	if r.Passing {
		s += " passing"
	}
	return s
}

func describeHead(h lane.Head) string {
	if !h.Found {
		return "none"
	}
	return fmt.Sprintf("job %d, more %v", h.Seq, h.More)
}

// describeAction is an action for people.
func describeAction(a lane.Action) string {
	switch a := a.(type) {
	case lane.ReadHead:
		return fmt.Sprintf("ReadHead %d", a.Op)
	case lane.WriteClaim:
		return fmt.Sprintf("WriteClaim %d expects %d, ttl %v: %s", a.Op, a.Expect, a.TTL, describe(a.Record))
	case lane.Start:
		return fmt.Sprintf("Start job %d under %d, attempt %d", a.Head.Seq, a.Fence, a.Attempt)
	case lane.MoveDead:
		return fmt.Sprintf("MoveDead %d job %d: %s", a.Op, a.Head.Seq, describe(a.Record))
	case lane.MoveLater:
		return fmt.Sprintf("MoveLater %d job %d: %s", a.Op, a.Head.Seq, describe(a.Record))
	case lane.Report:
		return fmt.Sprintf("Report job %d: %s", a.Head.Seq, a.End)
	case lane.EndTurn:
		return fmt.Sprintf("EndTurn %d turn %d", a.Op, a.Turn.Seq)
	case lane.NakTurn:
		return fmt.Sprintf("NakTurn %d turn %d in %v", a.Op, a.Turn.Seq, a.Delay)
	}
	return fmt.Sprintf("%T %+v", a, a)
}

// describeEvent is an event for people.
func describeEvent(e lane.Event) string {
	switch e := e.(type) {
	case lane.HeadRead:
		return fmt.Sprintf("HeadRead %d: %s", e.Op, describeHead(e.Head))
	case lane.RecordRead:
		if !e.Found {
			return fmt.Sprintf("RecordRead %d: none", e.Op)
		}
		return fmt.Sprintf("RecordRead %d: %d %s", e.Op, e.Record.Seq, describe(e.Record))
	}
	return fmt.Sprintf("%T %+v", e, e)
}
