package storage

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Background runs work that goes on when the requests that began it can't wait any longer,
// and that has to end before the store is closed. The zero Background is ready for use. It
// is safe for concurrent use.
type Background struct {
	mu      sync.Mutex
	running int
	idle    chan struct{} // closed when nothing is under way any more; nil before the first work
}

// Finish runs do in the background to its end. The context of do has the values of ctx, but
// neither its end nor its budget; it ends after limit. The caller waits as long as ctx and
// its budget allow. After that Finish returns an error that wraps ErrUnavailable and the
// cause, and the result of do is lost.
//
// So do must not use memory of the caller or of the request: it may be in use for something
// else by then.
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

// Go is Finish for a caller that doesn't wait. The result of do can be received
// once.
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

// Wait returns nil as soon as nothing is under way, or the error of ctx if that ends
// first. It waits for work that is begun meanwhile only as long as there is other work.
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
