package passhash

import (
	"context"
	"fmt"
	"sync/atomic"
)

// gate lets a bounded number of callers in at once and a bounded number wait,
// first come first served.
type gate struct {
	slots   chan struct{}
	waiting atomic.Int64
	queue   int64
}

func newGate(slots, queue int) *gate {
	return &gate{slots: make(chan struct{}, slots), queue: int64(queue)}
}

// enter returns nil once there is a slot; the caller must leave. It returns
// ErrBusy when the queue is full. A caller whose context ends, in the queue or
// before, gets ErrBusy too, wrapped with the context's cause: load kept it
// waiting for too long, or it hung up and reads no answer.
func (g *gate) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
	}
	select {
	case g.slots <- struct{}{}:
		return nil
	default:
	}
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > g.queue {
		return ErrBusy
	}
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
	}
}

// leave frees the slot.
func (g *gate) leave() {
	<-g.slots
}
