package redisstore

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// few is how many concurrent callers still send each command by itself, so that
// they never wait for each other. More callers are a crowd.
const few = 8

// maxWaiting bounds the commands that wait; one more fails at once. It is more than a
// healthy Redis ever lets pile up. If Redis can't keep up, commands that have waited
// for too long aren't sent: see batcher.next.
const maxWaiting = 16384

var errCrowded = errors.New("redisstore: too many commands are waiting")

// batcher sends commands to one server so that concurrent commands share round
// trips. A few callers send their commands one by one, at no cost. In a crowd
// one pipeline is under way at a time, and the commands that come meanwhile
// leave together when it returns. So the busier Redis and this process are, the
// fewer packets each command needs.
//
// If the connection of a pipeline breaks, the whole pipeline is repeated. So
// every command has to be safe to repeat, as the scripts are.
type batcher struct {
	client   redis.UniversalClient
	tripped  *atomic.Int32 // not 0 while the server's circuit is open; nil: not checked
	replicas int           // see WithReplicas

	mu      sync.Mutex
	alone   int     // commands under way by themselves
	flying  int     // commands under way in the pipeline
	crowd   int     // how many commands were under way or waiting at once lately
	leading bool    // fly runs, or is about to
	waiting []*seat // in the order in which they came
}

// seat is a command that waits for its answer.
type seat struct {
	cmd  redis.Cmder
	came time.Time
	done chan struct{} // buffers one signal, so that fly doesn't wait for a caller that is gone
	gone bool          // its caller gave up; guarded by batcher.mu
}

// seats are free seats. A seat whose caller gave up isn't used again.
var seats = sync.Pool{New: func() any { return &seat{done: make(chan struct{}, 1)} }}

// board sends the command, alone or with others, and waits until its answer is
// in it. It returns an error when there was no room or the caller gave up: then
// the command may still be under way, and nobody may read it.
//
// A command that replicas have to confirm goes alone, since WAIT would hold up
// the others. While the circuit is open no command waits for a pipeline.
func (b *batcher) board(ctx context.Context, cmd redis.Cmder) error {
	if b.replicas > 0 && confirming(ctx) {
		_ = b.client.Process(ctx, cmd) // its error is the command's
		return nil
	}
	if b.tripped != nil && b.tripped.Load() > 0 {
		_ = b.client.Process(ctx, cmd) // the circuit refuses it, with the reason
		return nil
	}
	s, err := b.seat(cmd)
	if err != nil {
		return err
	}
	if s == nil {
		return b.goAlone(ctx, cmd)
	}
	select {
	case <-s.done:
		s.cmd = nil
		seats.Put(s)
		return nil
	case <-ctx.Done():
		b.mu.Lock()
		s.gone = true
		b.mu.Unlock()
		return ctx.Err()
	}
}

// goAlone sends the command by itself. If the caller has less time than a call
// may take, the command goes on after the caller gave up. To cut it off would
// cost its connection, and the next caller of a slow Redis would wait twice:
// first for the greeting on a new connection.
func (b *batcher) goAlone(ctx context.Context, cmd redis.Cmder) error {
	send := func(ctx context.Context) {
		_ = b.client.Process(ctx, cmd) // its error is the command's
		b.mu.Lock()
		b.alone--
		b.mu.Unlock()
	}
	if deadline, hurried := ctx.Deadline(); !hurried || time.Until(deadline) > callTimeout || ctx.Err() != nil {
		send(ctx)
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		send(context.WithoutCancel(ctx))
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// seat returns a seat in the next pipeline, or nil when the command may go by
// itself.
func (b *batcher) seat(cmd redis.Cmder) (*seat, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.crowd = max(b.crowd, b.alone+b.flying+len(b.waiting)+1)
	switch {
	case b.crowd <= few:
		b.alone++
		return nil, nil
	case len(b.waiting) >= maxWaiting:
		return nil, errCrowded
	}
	s := seats.Get().(*seat)
	s.cmd, s.came = cmd, time.Now()
	b.waiting = append(b.waiting, s)
	if !b.leading {
		b.leading = true
		go b.fly()
	}
	return s, nil
}

// fly sends the waiting commands until none is left. It doesn't use a caller's
// context, because no caller may end the commands of others. A command that
// takes longer than callTimeout in all gets an error from the pipeline's
// deadline, so no caller needs a timer.
func (b *batcher) fly() {
	for batch, late := b.next(); batch != nil; batch, late = b.next() {
		ctx, cancel := context.WithDeadline(context.WithValue(context.Background(), flight{}, true), late)
		_, err := pipeline(ctx, b.client, func(p redis.Pipeliner) {
			for _, s := range batch {
				_ = p.Process(ctx, s.cmd) // only queues
			}
		})
		cancel()
		for _, s := range batch {
			if err != nil {
				s.cmd.SetErr(err)
			}
			s.done <- struct{}{}
		}
	}
}

// next takes the next batch of waiting commands, and returns when their answers
// are due. It drops commands whose caller gave up, and refuses those that have
// waited for half of callTimeout: a pipeline that leaves with little time left
// fails as a whole, and costs its connection, though Redis does the work. Each
// call lowers crowd by one, so a crowd that is gone is forgotten after a while.
func (b *batcher) next() (batch []*seat, late time.Time) {
	runtime.Gosched() // lets callers that are ready to run join
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flying = 0
	b.crowd--
	tooLong := time.Now().Add(-callTimeout / 2)
	b.waiting = slices.DeleteFunc(b.waiting, func(s *seat) bool {
		refused := !s.gone && s.came.Before(tooLong)
		if refused {
			s.cmd.SetErr(errCrowded)
			s.done <- struct{}{}
		}
		return s.gone || refused
	})
	if len(b.waiting) == 0 {
		b.leading = false
		return nil, late
	}
	late = b.waiting[0].came.Add(callTimeout)
	n := min(len(b.waiting), pipelined)
	batch = slices.Clone(b.waiting[:n])
	b.waiting = slices.Delete(b.waiting, 0, n)
	b.flying = n
	return batch, late
}
