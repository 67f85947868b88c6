package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// frame is every frame that may come in.
type frame struct {
	Run     *uint64 `json:"run"`
	Cancel  *uint64 `json:"cancel"`
	Stop    bool    `json:"stop"`
	Entity  string  `json:"entity"`
	Seq     uint64  `json:"seq"`
	Fence   uint64  `json:"fence"`
	Attempt int     `json:"attempt"`
	Len     int     `json:"len"`
}

// pool answers one parent's frames.
type pool struct {
	worker
	mu      sync.Mutex // of out and cancels
	out     io.Writer
	cancels map[uint64]context.CancelFunc
	jobs    sync.WaitGroup
}

// serve runs jobs until it is told to stop (nil), the parent is gone, or ctx ends; then nothing runs any more.
func (w worker) serve(ctx context.Context, fds string) error {
	var in, out int
	if _, err := fmt.Sscanf(fds, "%d,%d", &in, &out); err != nil {
		return fmt.Errorf("SERIATIM_FDS is %q", fds)
	}
	for _, fd := range []int{in, out} {
		if err := syscall.SetNonblock(fd, true); err != nil { // so that closing ends a read
			return err
		}
	}
	from := os.NewFile(uintptr(in), "frames in")
	p := &pool{worker: w, out: os.NewFile(uintptr(out), "frames out"), cancels: map[uint64]context.CancelFunc{}}
	jobs, err := strconv.Atoi(os.Getenv("CHILD_CONCURRENCY"))
	if err != nil || jobs < 1 {
		jobs = 1
	}
	p.send(map[string]any{"ready": true, "concurrency": jobs, "version": 1})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := context.AfterFunc(ctx, func() { _ = from.Close() })
	defer end()
	err = p.read(ctx, bufio.NewReader(from))
	if err != nil {
		cancel()
	}
	p.jobs.Wait()
	return err
}

func (p *pool) read(ctx context.Context, in *bufio.Reader) error {
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return errors.Join(ctx.Err(), err)
		}
		var f frame
		if err := json.Unmarshal(line, &f); err != nil {
			return fmt.Errorf("read frame: %w", err)
		}
		body := make([]byte, f.Len)
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
		switch {
		case f.Stop:
			return nil
		case f.Cancel != nil:
			p.mu.Lock()
			if cancel := p.cancels[*f.Cancel]; cancel != nil {
				cancel()
			}
			p.mu.Unlock()
		case f.Run != nil:
			p.start(ctx, *f.Run, f, body)
		}
	}
}

func (p *pool) start(ctx context.Context, id uint64, f frame, body []byte) {
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	p.cancels[id] = cancel
	p.mu.Unlock()
	p.jobs.Go(func() {
		defer cancel()
		answer := map[string]any{"done": id}
		if err := p.do(ctx, f.Entity, f.Seq, f.Fence, f.Attempt, body); err != nil {
			answer = map[string]any{"fail": id, "error": err.Error(), "retry": true}
		}
		p.mu.Lock()
		delete(p.cancels, id)
		p.mu.Unlock()
		p.send(answer)
	})
}

// send writes a frame. A parent that cannot be told is gone, which the reader finds out too.
func (p *pool) send(f map[string]any) {
	line, err := json.Marshal(f)
	if err != nil {
		panic(err) // maps of plain values always marshal
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.out.Write(append(line, '\n'))
}
