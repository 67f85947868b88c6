package rights

import (
	"fmt"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/limits"
	"github.com/seriatim/seriatim/subjects"
)

const (
	inbox = "_INBOX.>"
	api   = "$JS.API."
	// Workers listen here for requests. The queue is no part of the subject: whoever may ask one worker may ask all of the
	// account.
	control = streams.ControlPrefix + ".*"
	// PrefixResults begins the subjects on which the outcome of a job may be told, beside its publisher's inbox. A worker
	// may publish on claims and turns too, so no right keeps it from answering there when a publisher's Job-Reply-To says
	// so: it has to look at that subject itself, and answer under these two prefixes only.
	PrefixResults = "results"
)

func (g *Grant) add(why string, list ...string) {
	if n := len(g.groups); n > 0 && g.groups[n-1].why == why {
		g.groups[n-1].subjects = append(g.groups[n-1].subjects, list...)
		return
	}
	g.groups = append(g.groups, group{why, list})
}

func results(q subjects.Queue) string { return PrefixResults + "." + string(q) + ".>" }

func (g *Grant) publisher(shared bool) {
	for _, q := range g.Queues {
		jobs := q.Filter(subjects.PrefixJobs)
		g.add("", jobs)
		g.Subscribe.Allow = append(g.Subscribe.Allow, results(q))
		if !shared {
			g.Account = PublishersAccount
			g.Services = append(g.Services, jobs)
			g.Streams = append(g.Streams, results(q))
		}
	}
}

// ask makes API subjects: {"STREAM.INFO", "STREAM.MSG.GET"} of one stream.
func ask(stream string, what ...string) (list []string) {
	for _, w := range what {
		list = append(list, api+w+"."+stream)
	}
	return list
}

// direct are the two forms of reading a message from any copy.
func direct(stream string) []string {
	return []string{api + "DIRECT.GET." + stream, api + "DIRECT.GET." + stream + ".>"}
}

// walk is reading a stream with a consumer that is gone afterwards.
func walk(stream string) []string {
	return []string{api + "CONSUMER.CREATE." + stream + ".>", api + "CONSUMER.MSG.NEXT." + stream + ".>", api + "CONSUMER.DELETE." + stream + ".>"}
}

// watch is following a bucket.
func watch(stream string) []string {
	list := append(ask(stream, "STREAM.INFO", "STREAM.MSG.GET"), direct(stream)...)
	return append(append(list, walk(stream)...), api+"CONSUMER.INFO."+stream+".>")
}

func lanesStream(q subjects.Queue) string { return "KV_" + q.LanesBucket() }

func publish(prefix string, q subjects.Queue) string { return prefix + "." + string(q) + ".>" }

// consumers are the durable consumers of a queue, as stream.name.
func consumers(q subjects.Queue) (turns, audit, due string) {
	return q.TurnsStream() + "." + subjects.TurnsConsumer, q.JobsStream() + "." + subjects.AuditConsumer, q.ScheduleStream() + "." + streams.DueConsumer
}

// keepAudit denies making, changing and removing the consumer that all workers share, on a stream of which walks are
// allowed.
func (g *Grant) keepAudit(audit string) {
	g.Publish.Deny = append(g.Publish.Deny, api+"CONSUMER.CREATE."+audit, api+"CONSUMER.CREATE."+audit+".>", api+"CONSUMER.DELETE."+audit)
}

func (g *Grant) worker() {
	g.add("", api+"INFO")
	for _, q := range g.Queues {
		turns, audit, due := consumers(q)
		jobs, claims, turn := q.JobsStream(), q.ClaimsStream(), q.TurnsStream()
		why := fmt.Sprintf("Lanes of %s: heads, claims, turns.", q)
		g.add(why, ask(jobs, "STREAM.INFO", "STREAM.MSG.GET", "STREAM.MSG.DELETE")...)
		g.add(why, direct(jobs)...)
		g.add(why, publish(subjects.PrefixClaims, q))
		g.add(why, ask(claims, "STREAM.INFO", "STREAM.MSG.GET", "STREAM.MSG.DELETE")...)
		g.add(why, direct(claims)...)
		g.add(why, publish(subjects.PrefixTurns, q))
		g.add(why, ask(turn, "STREAM.INFO", "STREAM.MSG.DELETE")...)
		g.add(why, ask(turns, "CONSUMER.INFO", "CONSUMER.MSG.NEXT")...)
		g.add(why, "$JS.ACK."+turns+".>")
		why = "The audit, and walks over all lanes."
		g.add(why, api+"CONSUMER.INFO."+audit, "$JS.ACK."+audit+".>")
		g.add(why, walk(jobs)...)
		g.add(why, walk(claims)...)
		g.keepAudit(audit)
		why = "Jobs that were given up, jobs that are done, and jobs for later."
		g.add(why, publish(subjects.PrefixDead, q), publish(subjects.PrefixHistory, q), publish(subjects.PrefixSchedule, q), publish(subjects.PrefixJobs, q))
		g.add(why, ask(q.ScheduleStream(), "STREAM.INFO", "STREAM.MSG.GET", "STREAM.MSG.DELETE")...)
		g.add(why, direct(q.ScheduleStream())...)
		g.add(why, ask(due, "CONSUMER.INFO", "CONSUMER.MSG.NEXT")...)
		g.add(why, "$JS.ACK."+due+".>")
		g.add("Paused lanes: read only. Shares of limits.", append(watch(lanesStream(q)), "$KV."+q.LanesBucket()+"."+limits.Keys)...)
		g.add("Outcomes, for those who asked to hear them.", results(q))
	}
	g.Subscribe.Allow = append(g.Subscribe.Allow, control)
	why := "The workers' own records, which every worker watches."
	g.add(why, "$KV."+subjects.WorkersBucket+".>")
	g.add(why, watch(subjects.WorkersStream)...)
	g.add("Flow control of watches, and answers to callers.", "$JS.FC.>", inbox)
}

func (g *Grant) viewer() {
	g.add("", api+"INFO", api+"STREAM.NAMES", api+"STREAM.LIST")
	for _, q := range g.Queues {
		turns, audit, due := consumers(q)
		why := fmt.Sprintf("What stands in %s, and how it moves.", q)
		for _, s := range []string{q.JobsStream(), q.ClaimsStream(), q.TurnsStream(), q.DeadStream(), q.HistoryStream(), q.ScheduleStream()} {
			g.add(why, ask(s, "STREAM.INFO", "STREAM.MSG.GET")...)
			g.add(why, direct(s)...)
		}
		for _, c := range []string{turns, audit, due} {
			g.add(why, api+"CONSUMER.INFO."+c)
		}
		why = "Walks with consumers that are gone afterwards."
		for _, s := range []string{q.JobsStream(), q.ClaimsStream(), q.DeadStream(), q.HistoryStream()} {
			g.add(why, walk(s)...)
		}
		g.add("Paused lanes.", watch(lanesStream(q))...)
		g.keepAudit(audit)
		g.Publish.Deny = append(g.Publish.Deny, api+"CONSUMER.MSG.NEXT."+audit)
	}
	g.add("The workers.", watch(subjects.WorkersStream)...)
	g.add("Flow control of watches.", "$JS.FC.>")
}

// Whatever an operator does to jobs it does as a holder of claims, so it may publish on them; but it takes no turn, ends
// none, and does not purge what must not be purged while jobs run.
func (g *Grant) operator() {
	if len(g.Queues) == 0 {
		g.operatorOfAll()
		return
	}
	g.add("", api+"INFO", api+"STREAM.NAMES", api+"STREAM.LIST")
	for _, q := range g.Queues {
		for _, s := range []string{
			q.JobsStream(), q.TurnsStream(), q.ClaimsStream(), q.DeadStream(), q.HistoryStream(), q.ScheduleStream(), lanesStream(q),
		} {
			why := s + ": made, changed, read, removed, saved and brought back."
			g.add(why, ask(s, "STREAM.*", "STREAM.MSG.*")...)
			g.add(why, direct(s)...)
			g.add(why, api+"CONSUMER.*."+s+".>", api+"CONSUMER.MSG.NEXT."+s+".>", "$JS.SNAPSHOT.*."+s+".>")
		}
		// A purge frees lanes whose jobs run. Commands take jobs out by the protocol of claims.
		for _, s := range []string{q.JobsStream(), q.TurnsStream(), q.ClaimsStream()} {
			g.Publish.Deny = append(g.Publish.Deny, api+"STREAM.PURGE."+s)
		}
		g.add("Jobs published, moved and removed; lanes held, paused and given back.",
			publish(subjects.PrefixJobs, q), publish(subjects.PrefixClaims, q), publish(subjects.PrefixTurns, q),
			publish(subjects.PrefixDead, q), publish(subjects.PrefixHistory, q), publish(subjects.PrefixSchedule, q), "$KV."+q.LanesBucket()+".>", results(q))
		g.notAsWorker(q.TurnsStream()+"."+subjects.TurnsConsumer, q.JobsStream()+"."+subjects.AuditConsumer)
		g.Subscribe.Allow = append(g.Subscribe.Allow, results(q))
	}
	g.add("What workers are told to do.", control)
	why := "The workers' records; commands that hold lanes have one of their own."
	g.add(why, ask(subjects.WorkersStream, "STREAM.CREATE", "STREAM.UPDATE")...)
	g.add(why, "$KV."+subjects.WorkersBucket+".>")
	g.add(why, watch(subjects.WorkersStream)...)
	g.add("Flow control of watches, and answers to callers.", "$JS.FC.>", inbox)
}

// operatorOfAll is for those who make new queues too: subjects have no pattern for "the streams of queues".
func (g *Grant) operatorOfAll() {
	g.add("", api+">", "$JS.FC.>", "$JS.SNAPSHOT.>", "$KV.>")
	for _, prefix := range []string{
		subjects.PrefixJobs, subjects.PrefixClaims, subjects.PrefixTurns, subjects.PrefixDead, subjects.PrefixHistory, subjects.PrefixSchedule,
		PrefixResults,
	} {
		g.add("", prefix+".>")
	}
	g.add("", control, inbox)
	g.notAsWorker("*."+subjects.TurnsConsumer, "*."+subjects.AuditConsumer)
	g.Publish.Deny = append(g.Publish.Deny, api+"STREAM.PURGE.*")
	g.Subscribe.Allow = append(g.Subscribe.Allow, PrefixResults+".>")
}

// notAsWorker denies taking turns.
func (g *Grant) notAsWorker(consumers ...string) {
	for _, c := range consumers {
		g.Publish.Deny = append(g.Publish.Deny, api+"CONSUMER.MSG.NEXT."+c)
	}
}
