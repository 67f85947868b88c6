package streams

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// A backup is a folder: a snapshot of each stream that holds something of its own, the claims that say more than that a
// job runs, and a manifest, which is written last. Turns are not in it, nor sessions: they are made anew.
//
// Streams are saved one after another while the queue lives, so the order decides what can get lost between them. A job
// that moves from JOBS to the dead letters or to the schedule is in one of them or in both, because JOBS is saved first.
// The ways back are kept shut or watched: no due job is moved while JOBS to SCHEDULE are saved, and when a dead letter
// went meanwhile, all is saved once more. Claims are saved before the jobs: a record about a job that is behind the head
// would make its lane wait for ever.

// Errors of backups.
var (
	// ErrBackup: a folder is no backup, or not one that can be used here.
	ErrBackup = errors.New("unusable backup")
	// ErrExists: something of the queue is there already.
	ErrExists = errors.New("the queue is there")
	// ErrServed: a worker serves the queue, and may run its jobs.
	ErrServed = errors.New("workers run jobs of the queue")
	// ErrMoving: jobs were moved between streams all the while.
	ErrMoving = errors.New("jobs were moved between the streams all the while")
)

const (
	backupVersion  = 1
	backupManifest = "backup.json"
	backupClaims   = "claims.jsonl"
	saveTries      = 5
	// holdBound bounds how long is waited for a command that broke off.
	holdBound = time.Minute
	dueDrain  = 5 * time.Second
)

// Backup is a backup's manifest.
type Backup struct {
	V       int       `json:"v"`
	Queue   string    `json:"queue"`
	TakenAt time.Time `json:"taken_at"`
	Server  string    `json:"server_version"`
	// Created is when JOBS was made. Claims name it; a restored one has another.
	Created time.Time     `json:"created"`
	Jobs    uint64        `json:"jobs"`
	Dead    uint64        `json:"dead"`
	Streams []SavedStream `json:"streams"`
	Claims  SavedFile     `json:"claims"`
}

// SavedFile is a file of a backup.
type SavedFile struct {
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// SavedStream is a stream's snapshot.
type SavedStream struct {
	Name string `json:"name"`
	SavedFile
	Snapshot
}

// savedClaim is a line of the claims' file.
type savedClaim struct {
	Subject string          `json:"subject"`
	Record  json.RawMessage `json:"record"`
}

// BackupQueue saves a queue into a folder that is not there yet, or is empty. Workers and publishers go on; only jobs for
// later may come a moment late. The queue must be stored in files. Errors are ErrUnknownQueue, ErrBackup, ErrMoving, or
// the trouble with the server or the folder.
func BackupQueue(ctx context.Context, js jetstream.JetStream, q subjects.Queue, dir string) (Backup, error) {
	op := "back up queue " + string(q)
	loaded, err := LoadQueue(ctx, js, q)
	if err != nil {
		return Backup{}, err
	}
	if loaded.Policy.Storage == StorageMemory {
		return Backup{}, problem.New(op, fmt.Errorf("%w: it is stored in memory, and the server saves none of that", ErrBackup), "make a queue with --storage file")
	}
	if err := emptyDir(dir); err != nil {
		return Backup{}, problem.New(op, err, "name a folder that is not there yet")
	}
	s := saver{js: js, q: q, dir: dir, b: Backup{
		V: backupVersion, Queue: string(q), TakenAt: time.Now().UTC(), Server: js.Conn().ConnectedServerVersion(), Created: loaded.Created,
	}}
	if err := s.save(ctx); err != nil {
		return Backup{}, explain(op, q, err)
	}
	text, err := json.MarshalIndent(s.b, "", "  ")
	if err != nil {
		return Backup{}, problem.New(op, err, "")
	}
	return s.b, problem.New(op, writeFile(filepath.Join(dir, backupManifest), append(text, '\n')), "")
}

func emptyDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	there, err := os.ReadDir(dir)
	if err == nil && len(there) > 0 {
		err = fmt.Errorf("%w: %s is not empty", ErrBackup, dir)
	}
	return err
}

// writeFile writes a file that is on the disk when it has its name.
func writeFile(path string, text []byte) error {
	f, err := os.OpenFile(path+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}

type saver struct {
	js  jetstream.JetStream
	q   subjects.Queue
	dir string
	b   Backup
}

// save saves all until nothing went a way back meanwhile.
func (s *saver) save(ctx context.Context) error {
	resume, err := s.holdDue(ctx)
	if err != nil {
		return err
	}
	defer resume()
	for range saveTries {
		before, err := s.ways(ctx)
		if err != nil {
			return err
		}
		s.b.Streams = nil
		if err := s.claims(ctx); err != nil {
			return err
		}
		for _, name := range []string{s.q.JobsStream(), s.q.DeadStream(), s.q.HistoryStream(), s.q.ScheduleStream(), lanesStream(s.q)} {
			if err := s.stream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		after, err := s.ways(ctx)
		if err != nil {
			return err
		}
		if before == after {
			return nil
		}
	}
	return problem.New("save the streams", ErrMoving, "do not retry dead jobs meanwhile; try again")
}

// ways back are what tells whether something went from DEAD or SCHEDULE to JOBS.
type ways struct{ deadGone, dueDone uint64 }

func (s *saver) ways(ctx context.Context) (w ways, err error) {
	dead, err := streamInfo(ctx, s.js, s.q.DeadStream())
	if err != nil {
		return w, err
	}
	w.deadGone = dead.State.LastSeq - dead.State.Msgs
	due, err := getConsumer(ctx, s.js, s.q.ScheduleStream(), DueConsumer)
	if err != nil {
		return w, err
	}
	w.dueDone = due.Delivered.Consumer - uint64(due.NumAckPending)
	return w, nil
}

// holdDue keeps due jobs where they are until resume.
func (s *saver) holdDue(ctx context.Context) (resume func(), err error) {
	if resume, err = holdConsumer(ctx, s.js, s.q.ScheduleStream(), DueConsumer); err != nil {
		return nil, err
	}
	// What was handed out before is being moved now.
	for end := time.Now().Add(dueDrain); time.Now().Before(end); {
		due, err := getConsumer(ctx, s.js, s.q.ScheduleStream(), DueConsumer)
		if err == nil && due.NumAckPending > 0 {
			err = Pause(ctx, scanPause)
		}
		if err != nil {
			resume()
			return nil, err
		}
		if due.NumAckPending == 0 {
			break
		}
	}
	return resume, nil
}

// holdConsumer has a consumer give out nothing until resume, or for a minute when nobody is left to call it.
func holdConsumer(ctx context.Context, js jetstream.JetStream, stream, name string) (resume func(), err error) {
	pause := func(ctx context.Context) error {
		ctx, cancel := bounded(ctx)
		defer cancel()
		_, err := js.PauseConsumer(ctx, stream, name, time.Now().Add(holdBound))
		return err
	}
	if err := pause(ctx); err != nil {
		return nil, err
	}
	beat, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for Pause(beat, holdBound/3) == nil {
			_ = pause(beat) // the one before holds for a while
		}
	}()
	return func() {
		stop()
		<-done
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), RequestTimeout)
		defer cancel()
		_, _ = js.ResumeConsumer(ctx, stream, name) // should it fail, the pause ends by itself
	}, nil
}

// stream saves one stream.
func (s *saver) stream(ctx context.Context, name string) error {
	if _, err := streamInfo(ctx, s.js, name); err != nil {
		return err
	}
	saved := SavedStream{Name: name}
	err := s.file(name+".snapshot", &saved.SavedFile, func(w io.Writer) (err error) {
		saved.Snapshot, err = saveStream(ctx, s.js.Conn(), name, w)
		return err
	})
	switch name {
	case s.q.JobsStream():
		s.b.Jobs = saved.State.Msgs
	case s.q.DeadStream():
		s.b.Dead = saved.State.Msgs
	}
	s.b.Streams = append(s.b.Streams, saved)
	return err
}

// claims saves the records that say more than that a job runs, or is about to: what a job has been through, and that
// its lane waits or stands.
func (s *saver) claims(ctx context.Context) error {
	return s.file(backupClaims, &s.b.Claims, func(w io.Writer) error {
		lines := json.NewEncoder(w)
		var failed error
		err := Scan(ctx, s.js, s.q.ClaimsStream(), ScanOptions{LastPerSubject: true, Bodies: true}, func(m Message) bool {
			if r, err := lane.DecodeRecord(m.Seq, m.Data); err == nil {
				if r, keep := restored(r); keep {
					failed = lines.Encode(savedClaim{m.Subject, r.Encode()})
				}
			}
			return failed == nil
		})
		return errors.Join(err, failed)
	})
}

// restored is a record as it is to stand when nobody runs anything. A claim without counts has nothing to keep, and may
// have been written on a guess.
func restored(r lane.Record) (lane.Record, bool) {
	if r.State == lane.Done || r.Counts.Zero() && r.State != lane.Halted && !r.Dying && !r.Passing {
		return r, false
	}
	if r.State == lane.Running || r.State == lane.Held {
		r.State, r.Stolen = lane.GivenBack, true
	}
	return r, true
}

// file writes a file and notes its size and sum.
func (s *saver) file(name string, note *SavedFile, fill func(io.Writer) error) error {
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	sum := &summed{to: bufio.NewWriterSize(f, 1<<20), sum: sha256.New()}
	err = fill(sum)
	err = errors.Join(err, sum.to.Flush(), f.Sync(), f.Close())
	*note = SavedFile{File: name, Bytes: sum.n, SHA256: sum.text()}
	return err
}

type summed struct {
	to  *bufio.Writer
	sum hash.Hash
	n   int64
}

func (s *summed) Write(b []byte) (int, error) {
	s.sum.Write(b)
	s.n += int64(len(b))
	return s.to.Write(b)
}

func (s *summed) text() string { return hex.EncodeToString(s.sum.Sum(nil)) }

// ReadBackup reads the manifest of a backup and compares all its files with it. Errors are ErrBackup, or the trouble
// with a file.
func ReadBackup(dir string) (b Backup, err error) {
	op := "read the backup in " + dir
	text, err := os.ReadFile(filepath.Join(dir, backupManifest))
	if errors.Is(err, os.ErrNotExist) {
		return b, problem.New(op, fmt.Errorf("%w: it has no %s; the backup was not finished, or is elsewhere", ErrBackup, backupManifest), "")
	}
	if err != nil {
		return b, problem.New(op, err, "")
	}
	if b, err = decodeBackup(text); err != nil {
		return b, problem.New(op, err, "")
	}
	files := []SavedFile{b.Claims}
	for _, s := range b.Streams {
		files = append(files, s.SavedFile)
	}
	for _, f := range files {
		if err := f.check(dir); err != nil {
			return b, problem.New(op, err, "take another backup")
		}
	}
	return b, nil
}

// decodeBackup reads a manifest. What it names are files of its own folder.
func decodeBackup(text []byte) (b Backup, err error) {
	if err := json.Unmarshal(text, &b); err != nil {
		return b, fmt.Errorf("%w: its %s cannot be read: %w", ErrBackup, backupManifest, err)
	}
	if b.V > backupVersion {
		return b, fmt.Errorf("%w: its version is %d, and this build reads %d: upgrade coordinator", ErrBackup, b.V, backupVersion)
	}
	q, err := subjects.ParseQueue(b.Queue)
	if err != nil {
		return b, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	if b.V < 1 || b.Claims.File != backupClaims {
		return b, fmt.Errorf("%w: its %s lacks something", ErrBackup, backupManifest)
	}
	if _, ok := b.stream(q.JobsStream()); !ok {
		return b, fmt.Errorf("%w: it has no %s", ErrBackup, q.JobsStream())
	}
	for _, s := range b.Streams {
		if s.File != s.Name+".snapshot" || s.Name != s.Config.Name || strings.ContainsAny(s.Name, `/\`) {
			return b, fmt.Errorf("%w: its %s names %q as the file of %q", ErrBackup, backupManifest, s.File, s.Name)
		}
	}
	return b, nil
}

func (b Backup) stream(name string) (SavedStream, bool) {
	for _, s := range b.Streams {
		if s.Name == name {
			return s, true
		}
	}
	return SavedStream{}, false
}

func (f SavedFile) check(dir string) error {
	file, err := os.Open(filepath.Join(dir, f.File))
	if err != nil {
		return err
	}
	defer file.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, file)
	if err == nil && (n != f.Bytes || hex.EncodeToString(sum.Sum(nil)) != f.SHA256) {
		err = fmt.Errorf("%w: %s is not what was written", ErrBackup, f.File)
	}
	return err
}
