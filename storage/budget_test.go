package storage_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/storage"
)

// call is a call of a store that takes that long, unless its context ends first.
func call(ctx context.Context, takes time.Duration) error {
	b, began := storage.BudgetOf(ctx), time.Now()
	defer func() { b.Spend(time.Since(began)) }()
	bound, cancel := b.Bound(ctx, began)
	if cancel != nil {
		defer cancel()
	}
	if bound.Err() != nil {
		return context.Cause(bound)
	}
	select {
	case <-time.After(takes):
		return nil
	case <-bound.Done():
		return context.Cause(bound)
	}
}

func TestWaitsForTheStoreAddUpToTheBudgetAtMost(t *testing.T) {
	const whole, longest = 950 * time.Millisecond, 800 * time.Millisecond
	for _, row := range []struct {
		name  string
		takes []time.Duration // the calls, of which one after another is made until one fails
		done  int             // how many succeed
		total time.Duration
	}{
		{"a store that is well", []time.Duration{1e6, 1e6, 2e6, 1e6, 1e6}, 5, 6 * time.Millisecond},
		{"many short calls", []time.Duration{100e6, 100e6, 100e6, 100e6, 100e6, 100e6, 100e6, 100e6, 100e6, 100e6}, 9, whole},
		{"slow calls", []time.Duration{300e6, 300e6, 300e6, 300e6, 300e6}, 3, whole},
		{"the last fits in", []time.Duration{300e6, 300e6, 300e6, 49e6}, 4, 949 * time.Millisecond},
		{"the longest call first", []time.Duration{longest, longest}, 1, whole},
		{"the longest call behind short ones", []time.Duration{149e6, longest, longest}, 2, 950 * time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, began, done := storage.WithBudget(t.Context(), new(storage.Budget)), time.Now(), 0
				var err error
				for _, takes := range row.takes {
					if err = call(ctx, takes); err != nil {
						break
					}
					done++
				}
				if took := time.Since(began); done != row.done || took != row.total {
					t.Errorf("%d calls succeeded, in %v; want %d in %v", done, took, row.done, row.total)
				}
				if done < len(row.takes) && (!errors.Is(err, storage.ErrSpent) || !errors.Is(err, storage.ErrUnavailable)) {
					t.Errorf("%v, want %v", err, storage.ErrSpent)
				}
			})
		})
	}
}

// Calls that are made side by side are waits each.
func TestConcurrentWaitsCountEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := storage.WithBudget(t.Context(), new(storage.Budget))
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := call(ctx, 250*time.Millisecond); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		began := time.Now()
		if err := call(ctx, time.Millisecond); !errors.Is(err, storage.ErrSpent) {
			t.Errorf("after 4 times 250 ms: %v, want %v", err, storage.ErrSpent)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("a spent budget was waited with for %v", took)
		}
	})
}

func TestWithoutABudgetNothingIsBounded(t *testing.T) {
	spent := new(storage.Budget)
	spent.Spend(time.Hour)
	synctest.Test(t, func(t *testing.T) {
		for name, ctx := range map[string]context.Context{
			"never one":  t.Context(),
			"taken away": storage.WithBudget(storage.WithBudget(t.Context(), spent), nil),
		} {
			if err := call(ctx, time.Minute); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	if storage.BudgetOf(context.WithoutCancel(storage.WithBudget(t.Context(), spent))) != spent {
		t.Error("the budget was lost with the cancellation")
	}
}

func TestTheCallersDeadlineStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(storage.WithBudget(t.Context(), new(storage.Budget)), 400*time.Millisecond)
		defer cancel()
		if err := call(ctx, 300*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := call(ctx, 300*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 100*time.Millisecond {
			t.Errorf("%v after %v, want the caller's deadline after 100ms", err, time.Since(began))
		}
	})
}

func TestABudgetThatIsHardlySpentAllocatesNothing(t *testing.T) {
	ctx := storage.WithBudget(t.Context(), new(storage.Budget))
	n := testing.AllocsPerRun(200, func() {
		b := storage.BudgetOf(ctx)
		if bound, cancel := b.Bound(ctx, time.Time{}); bound != ctx || cancel != nil {
			t.Error("a bound without need")
		}
		b.Spend(time.Microsecond)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What takes several round trips has no bound of its own for all of them.
func TestALongCallIsBoundedThoughNothingWasSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, began := new(storage.Budget), time.Now()
		ctx, done := b.BoundLong(t.Context(), began)
		defer done()
		<-ctx.Done()
		if took := time.Since(began); took != 950*time.Millisecond || !errors.Is(context.Cause(ctx), storage.ErrSpent) {
			t.Errorf("it ended after %v: %v", took, context.Cause(ctx))
		}
		var none *storage.Budget
		unbounded, done := none.BoundLong(t.Context(), began)
		defer done()
		if _, bounded := unbounded.Deadline(); bounded {
			t.Error("without a budget there is a bound")
		}
	})
}
