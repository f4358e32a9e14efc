package storage

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Background is what goes on though the requests that began it may wait no longer, and has
// to end before the store is closed. The zero Background is ready for use. It is safe for
// concurrent use.
type Background struct {
	mu      sync.Mutex
	running int
	idle    chan struct{} // closed when nothing is under way any more; nil before anything was
}

// Finish does something to its end, however long the caller waits for it: in the
// background, with a context that is the caller's but for its end and its budget, and ends
// after the limit. The caller waits as long as ctx and its budget allow; after that Finish
// returns an error that wraps ErrUnavailable and the cause, and nobody learns any more what
// do returned.
//
// So do must leave alone what is the caller's, and the request's: by then others may use it.
func (b *Background) Finish(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	finished := b.Go(ctx, limit, do)
	waiting, done := Wait(ctx)
	defer done()
	select {
	case err := <-finished:
		return err
	case <-waiting.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(waiting))
	}
}

// Go is Finish for a caller who doesn't wait. What do returns can be received, once.
func (b *Background) Go(ctx context.Context, limit time.Duration, do func(context.Context) error) (finished <-chan error) {
	outcome := make(chan error, 1)
	b.begin()
	go func() {
		defer b.end()
		unhurried, cancel := context.WithTimeout(WithBudget(context.WithoutCancel(ctx), nil), limit)
		defer cancel()
		outcome <- do(unhurried)
	}()
	return outcome
}

func (b *Background) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running == 0 {
		b.idle = make(chan struct{})
	}
	b.running++
}

func (b *Background) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running--; b.running == 0 {
		close(b.idle)
	}
}

// Wait returns nil as soon as nothing is under way, and the error of ctx when that ends
// first. What is begun meanwhile is waited for only while there is something else.
func (b *Background) Wait(ctx context.Context) error {
	b.mu.Lock()
	running, idle := b.running, b.idle
	b.mu.Unlock()
	if running == 0 {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
