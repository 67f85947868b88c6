// Package schedule gives jobs their time: once, at a time; or again and again, by a named schedule.
//
// A delayed job is a message on schedule.<queue>.later.<token> that the server itself publishes to due.<queue>.<lane>
// when its time has come. From there any worker moves it to the tail of its lane (drain.go). A named schedule is a
// record on schedule.<queue>.named.<name>: what is to be published, when, and how far it has come. The workers read the
// records and do what is due (keeper.go); the server's own recurring schedules are not used, because they forget what
// was missed while the server was away, and know nothing of the last run.
//
// Invariants:
//
//   - Nothing fires early by the server's clock: delays are the server's own, and a worker reckons with a time that the
//     server's clock has certainly passed (clock.go).
//   - Of a named schedule each time fires once, however many workers there are. To fire is to replace the record by
//     compare-and-set: the new one names the time (pending) and the next one. Then the job is published under an id that
//     is made of the schedule's secret and the time, and the record is replaced once more. Whoever finds a time pending
//     publishes it again, under the same id.
//   - A delayed job is moved under an id that only it has, and leaves due only when its lane has it.
//
// What goes wrong: a lost answer, a worker that dies between two steps, or a server that is away lead to the same step
// being made again, which the ids make harmless for two minutes, the duplicate window of the queue. Only when a job was
// published, and nobody could record that for longer than the window, may it be published twice.
package schedule
