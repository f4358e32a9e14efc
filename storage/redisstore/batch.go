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

// few is how many callers at once are no crowd: each of their commands goes out
// by itself, so that they never wait for each other.
const few = 8

// maxWaiting bounds the commands that wait; one more fails at once. They are more than
// a Redis that is well has to work off at a time. One that can't keep up is not asked
// for what has waited too long already: see batcher.next.
const maxWaiting = 16384

var errCrowded = errors.New("redisstore: too many commands are waiting")

// batcher sends commands to one server so that those that come concurrently share
// round trips. A few callers send each their own, at no cost. In a crowd
// one pipeline is under way at a time, and what comes meanwhile leaves together
// when it lands. So Redis and this process handle fewer packets the busier they
// are.
//
// A pipeline whose connection breaks is repeated as a whole, so every command
// has to be safe to repeat, as the scripts are.
type batcher struct {
	client   redis.UniversalClient
	tripped  *atomic.Int32 // not 0 while the server's circuit is open; nil: nobody looks
	replicas int           // see WithReplicas

	mu      sync.Mutex
	alone   int     // commands under way by themselves
	flying  int     // commands under way in the pipeline
	crowd   int     // how many were at it together lately
	leading bool    // fly runs, or will
	waiting []*seat // in the order that they came in
}

// seat is a command that waits for its answer.
type seat struct {
	cmd  redis.Cmder
	came time.Time
	done chan struct{} // takes one answer, so that nobody waits for a caller who is gone
	gone bool          // its caller gave up; guarded by batcher.mu
}

// seats are free. One whose caller gave up isn't used again.
var seats = sync.Pool{New: func() any { return &seat{done: make(chan struct{}, 1)} }}

// board sends the command, alone or with others, and waits for its answer,
// which is left in it. It returns an error when there was no room or the caller
// gave up: then the command may still be under way and must not be looked at.
//
// A command that is to be confirmed goes alone, since WAIT would hold up the others.
// While the circuit is open nobody waits for a flight.
func (b *batcher) board(ctx context.Context, cmd redis.Cmder) error {
	if b.replicas > 0 && confirming(ctx) {
		_ = b.client.Process(ctx, cmd) // its error is the command's
		return nil
	}
	if b.tripped != nil && b.tripped.Load() > 0 {
		_ = b.client.Process(ctx, cmd) // refused by the circuit, which knows why
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

// goAlone sends the command by itself. One whose caller has less time than a call may
// take is left to be answered when the caller gave up. Cutting it off would cost its
// connection, and then, when Redis is slow, the next caller waits twice: for Redis to
// greet a new one first.
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

// seat returns a seat in the next pipeline, or none when the command may go by
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

// fly sends those who wait until nobody does. It has no caller's context: none
// may end the others' command. Who waits longer than callTimeout, all in all, is
// answered with an error: no flight takes longer, so nobody needs a timer.
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

// next takes those who wait, and says when their answer is due. Who gave up
// isn't sent, nor who has waited for half of callTimeout: a flight that leaves with
// little time left fails as a whole, and costs its connection, though Redis does the
// work. A crowd that doesn't come again is forgotten one by one.
func (b *batcher) next() (batch []*seat, late time.Time) {
	runtime.Gosched() // callers that are ready to run come along
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
