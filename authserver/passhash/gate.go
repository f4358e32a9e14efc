package passhash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
)

// gate lets a number of callers in at once and a number wait, first come first
// served.
type gate struct {
	slots   chan struct{}
	waiting atomic.Int64
	left    atomic.Int64 // callers, since what they left behind was collected
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

// leave frees the slot, after as many hashes as there are slots, or one more, with what
// they were made in. Else the garbage collector waits until there is as much garbage as
// all that is in use, and more comes while it works. Chance has its say because the
// collection of every second hash, say, would always come after that of an unknown user
// when somebody asks for known and unknown ones in turn.
func (g *gate) leave() {
	if g.left.Add(1) >= int64(cap(g.slots)+rand.IntN(2)) && worthCollecting() { //nolint:gosec // nobody gains by guessing it
		g.left.Store(0)
		runtime.GC()
	}
	<-g.slots
}

// worthCollecting reports whether there is much on the heap, of which little has to be
// scanned: then a collection takes hardly any time beside a hash.
func worthCollecting() bool {
	const much, little = 32 << 20, 16 << 20 // bytes
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/scan/heap:bytes"}}
	metrics.Read(heap)
	return heap[0].Value.Uint64() > much && heap[1].Value.Uint64() < little
}
