package engine

import "github.com/seriatim/seriatim/streams/lane"

// report tells what became of a job, once that is stored.
func (e *Engine) report(name string, r lane.Report) {
	if r.End != lane.EndHalted {
		return
	}
	e.opts.Log.Error().Str("lane", name).Uint64("seq", r.Head.Seq).Str("cause", r.Record.Cause).Str("error", r.Record.Error).
		Msg("the job is dead and halts its lane until an operator releases it")
}
