package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/seriatim/seriatim/examples/history"
)

// frame is every frame that may come in; a key that is not there stays nil.
type frame struct {
	Run     *uint64 `json:"run"`
	Cancel  *uint64 `json:"cancel"`
	Stop    bool    `json:"stop"`
	Entity  string  `json:"entity"`
	Seq     uint64  `json:"seq"`
	Fence   uint64  `json:"fence"`
	Attempt int     `json:"attempt"`
	Len     int     `json:"len"`
	body    []byte
}

const maxBody = 64 << 20

// descriptors opens the two ends that the parent gave, as "3,4". They are made non-blocking, so that closing one ends
// a read that waits on it.
func descriptors(fds string) (in io.ReadCloser, out io.Writer, err error) {
	var fdIn, fdOut int
	if _, err := fmt.Sscanf(fds, "%d,%d", &fdIn, &fdOut); err != nil {
		return nil, nil, fmt.Errorf("SERIATIM_FDS is %q: run this as a pool's child, or as `child exec`", fds)
	}
	for _, fd := range []int{fdIn, fdOut} {
		if err := syscall.SetNonblock(fd, true); err != nil {
			return nil, nil, fmt.Errorf("descriptor %d of SERIATIM_FDS: %w", fd, err)
		}
	}
	return os.NewFile(uintptr(fdIn), "frames in"), os.NewFile(uintptr(fdOut), "frames out"), nil
}

func readFrame(in *bufio.Reader) (frame, error) {
	var f frame
	line, err := in.ReadBytes('\n')
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(line, &f); err != nil {
		return f, fmt.Errorf("read frame: %w", err)
	}
	if f.Len < 0 || f.Len > maxBody {
		return f, fmt.Errorf("read frame: a body of %d bytes", f.Len)
	}
	f.body = make([]byte, f.Len)
	_, err = io.ReadFull(in, f.body)
	return f, err
}

// server runs the jobs of one parent. The goroutine of serve owns running and stopping.
type server struct {
	applier *history.Applier
	running map[uint64]context.CancelCauseFunc
	ended   chan uint64
	jobs    sync.WaitGroup

	write sync.Mutex // of out
	out   io.Writer
}

var (
	errCancelled  = errors.New("cancelled")
	errTerminated = errors.New("terminated")
	errOrphan     = errors.New("the parent is gone")
)

// serve says that it is ready and answers frames until it is told to stop (nil), ctx ends, or the parent is gone. It
// returns when nothing runs any more.
func serve(ctx context.Context, applier *history.Applier, in io.ReadCloser, out io.Writer, concurrency int) error {
	s := &server{applier: applier, running: map[uint64]context.CancelCauseFunc{}, ended: make(chan uint64), out: out}
	if err := s.send(map[string]any{"ready": true, "concurrency": concurrency, "version": 1}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	frames, read := make(chan frame), make(chan error, 1)
	go func() { read <- s.read(ctx, bufio.NewReader(in), frames) }()
	err := s.loop(ctx, frames, read)
	cancel(err)
	for len(s.running) > 0 {
		delete(s.running, <-s.ended)
	}
	s.jobs.Wait()
	_ = in.Close() // ends the reader, if it has not ended
	<-read
	return err
}

// read hands frames on until there are no more; its error comes after the last of them.
func (s *server) read(ctx context.Context, in *bufio.Reader, frames chan<- frame) error {
	defer close(frames)
	for {
		f, err := readFrame(in)
		if err != nil {
			return err
		}
		select {
		case frames <- f:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *server) loop(ctx context.Context, frames <-chan frame, read chan error) error {
	for stopping := false; !stopping || len(s.running) > 0; {
		select {
		case <-ctx.Done():
			return errTerminated
		case id := <-s.ended:
			delete(s.running, id)
		case f, ok := <-frames:
			switch {
			case !ok:
				err := <-read
				read <- err
				if errors.Is(err, io.EOF) {
					return errOrphan
				}
				return err
			case f.Stop:
				stopping = true
			case f.Cancel != nil:
				if cancel := s.running[*f.Cancel]; cancel != nil {
					cancel(errCancelled)
				}
			case f.Run != nil && stopping:
				s.answer(*f.Run, errTerminated)
			case f.Run != nil:
				s.start(ctx, *f.Run, f)
			}
		}
	}
	return nil
}

func (s *server) start(ctx context.Context, id uint64, f frame) {
	ctx, cancel := context.WithCancelCause(ctx)
	s.running[id] = cancel
	s.jobs.Go(func() {
		defer cancel(nil)
		s.answer(id, s.applier.Apply(ctx, history.Job{
			Entity: f.Entity, Seq: f.Seq, Fence: f.Fence, Attempt: f.Attempt, Body: f.body,
		}))
		s.ended <- id
	})
}

// answer says how a run ended. A parent that cannot be told is gone, which the reader finds out too.
func (s *server) answer(id uint64, err error) {
	if err == nil {
		_ = s.send(map[string]any{"done": id})
		return
	}
	_ = s.send(map[string]any{"fail": id, "error": err.Error(), "retry": !forGood(err)})
}

func (s *server) send(f map[string]any) error {
	line, err := json.Marshal(f)
	if err != nil {
		return err
	}
	s.write.Lock()
	defer s.write.Unlock()
	_, err = s.out.Write(append(line, '\n'))
	return err
}
