package passhash

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
)

// gate lets a number of callers in at once and a number wait, first come first
// served.
type gate struct {
	slots   chan struct{}
	waiting atomic.Int64
	left    atomic.Int64 // callers, so far
	queue   int64
}

func newGate(slots, queue int) *gate {
	return &gate{slots: make(chan struct{}, slots), queue: int64(queue)}
}

// enter returns nil once there is a slot; the caller must leave. It returns
// ErrBusy when the queue is full. A caller whose context ends, in the queue or
// before, gets ErrBusy too, with the context's cause: it was load that kept it
// waiting for too long, and a caller that went away reads no answer.
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

// leave frees the slot, after as many hashes as there are slots with what they were
// made in. Else the garbage collector waits until there is as much garbage as all that is
// in use, and more comes while it works.
func (g *gate) leave() {
	if g.left.Add(1)%int64(cap(g.slots)) == 0 && cheapToCollect() {
		runtime.GC()
	}
	<-g.slots
}

// cheapToCollect reports whether a collection takes little beside a hash, which is
// nothing that has to be scanned.
func cheapToCollect() bool {
	const few = 16 << 20 // bytes: some milliseconds
	scanned := []metrics.Sample{{Name: "/gc/scan/heap:bytes"}}
	metrics.Read(scanned)
	return scanned[0].Value.Kind() == metrics.KindUint64 && scanned[0].Value.Uint64() < few
}
