package passhash

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// second makes every hash of h take one second of the bubble's time. It returns
// the largest number of hashes that ran at once.
func second(h *Hasher) (most *atomic.Int64) {
	var running atomic.Int64
	most = new(atomic.Int64)
	h.derive = func(_, _ []byte, _, _ uint32, _ uint8, n uint32) []byte {
		now := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		time.Sleep(time.Second)
		return make([]byte, n)
	}
	return most
}

func TestNoMoreHashesThanSlotsRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, Params{Slots: 3, Queue: 100})
		most, start := second(h), time.Now()
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				var err error
				if i%2 == 0 {
					_, err = h.Hash(t.Context(), "secret123")
				} else {
					_, err = h.Verify(t.Context(), "", "secret123")
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if most.Load() != 3 {
			t.Errorf("%d ran at once, want 3", most.Load())
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("30 hashes of one second took %v on 3 slots", d)
		}
	})
}

func TestFullQueueIsBusyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, Params{Slots: 1, Queue: 2})
		second(h)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := h.Hash(t.Context(), "secret123"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // one runs, two wait
		start := time.Now()
		if _, err := h.Verify(t.Context(), "", "secret123"); !errors.Is(err, ErrBusy) {
			t.Errorf("Verify = %v, want ErrBusy", err)
		}
		if _, err := h.Hash(t.Context(), "secret123"); !errors.Is(err, ErrBusy) {
			t.Errorf("Hash = %v, want ErrBusy", err)
		}
		if time.Since(start) != 0 {
			t.Error("waited for it")
		}
		wg.Wait()
		if _, err := h.Hash(t.Context(), "secret123"); err != nil {
			t.Errorf("when all is quiet again: %v", err)
		}
	})
}

func TestWaitingCallerLeavesWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, Params{Slots: 1, Queue: 1})
		most := second(h)
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			if _, err := h.Hash(t.Context(), "secret123"); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := h.Verify(ctx, "", "secret123")
		if !errors.Is(err, ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Verify = %v, want ErrBusy and the context's cause", err)
		}
		if d := time.Since(start); d != 200*time.Millisecond {
			t.Errorf("left after %v", d)
		}
		if _, err := h.Verify(t.Context(), "", "secret123"); err != nil {
			t.Errorf("its place in the queue isn't free: %v", err)
		}
		if most.Load() != 1 {
			t.Errorf("%d ran at once", most.Load())
		}
	})
}

func TestEndedContextHashesNothing(t *testing.T) {
	h := newHasher(t, cheap)
	h.derive = func(_, _ []byte, _, _ uint32, _ uint8, _ uint32) []byte {
		t.Error("hashed")
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Hash(ctx, "secret123"); !errors.Is(err, ErrBusy) || !errors.Is(err, context.Canceled) {
		t.Errorf("Hash = %v", err)
	}
}

func TestPanicInAHashFreesItsSlot(t *testing.T) {
	h := newHasher(t, Params{Memory: 64, Time: 1, Slots: 1, Queue: 1})
	derive := h.derive
	h.derive = func(_, _ []byte, _, _ uint32, _ uint8, _ uint32) []byte { panic("out of memory") }
	func() {
		defer func() { _ = recover() }()
		_, _ = h.Hash(t.Context(), "secret123")
		t.Error("no panic")
	}()
	h.derive = derive
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := h.Hash(ctx, "secret123"); err != nil {
		t.Error(err)
	}
}

func TestUsesCountsWhatCostsAHash(t *testing.T) {
	h := newHasher(t, cheap)
	encoded := mustHash(t, h, "a password")
	mustVerify(t, h, encoded, "a password")
	mustVerify(t, h, "", "a password") // an unknown user's
	mustVerify(t, h, encoded, "")      // no acceptable password: refused without hashing
	if n := h.Uses(); n != 3 {
		t.Errorf("%d uses, want 3", n)
	}
}

func TestEveryHashIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan Run, 4)
		h := newHasher(t, Params{Slots: 1, Queue: 1, Note: func(_ context.Context, r Run) { told <- r }})
		second(h)
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { h.Hash(t.Context(), "secret123") })
		synctest.Wait()
		wg.Go(func() { h.Verify(t.Context(), "", "secret123") })
		synctest.Wait()
		if running, waiting := h.Load(); running != 1 || waiting != 1 {
			t.Errorf("%d run and %d wait, want one each", running, waiting)
		}
		h.Hash(t.Context(), "secret123") // the queue is full
		wg.Wait()
		h.Verify(t.Context(), "", "") // hashes nothing, so Note isn't called
		close(told)

		var runs []Run
		for r := range told {
			runs = append(runs, r)
		}
		want := []Run{
			{Began: start, Busy: true},
			{Began: start, Took: time.Second},
			{Began: start, Waited: time.Second, Took: time.Second},
		}
		if !slices.Equal(runs, want) {
			t.Errorf("told %+v, want %+v", runs, want)
		}
		if running, waiting := h.Load(); running != 0 || waiting != 0 {
			t.Errorf("at rest %d run and %d wait", running, waiting)
		}
	})
}
