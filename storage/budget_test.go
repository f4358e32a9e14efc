package storage_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/storage"
)

// call imitates a call of a store that takes that long, unless its context ends
// first.
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
		takes []time.Duration // the calls, made in turn until one fails
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

// Each of several concurrent calls counts as a wait of its own.
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

func TestWhatIsLeftOfABudget(t *testing.T) {
	b := new(storage.Budget)
	b.Spend(900 * time.Millisecond)
	if left := b.Left(); left != 50*time.Millisecond {
		t.Errorf("%v are left of 950ms after 900ms", left)
	}
	if left := (*storage.Budget)(nil).Left(); left < time.Hour {
		t.Errorf("%v are left of no budget", left)
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

// Work under Finish has the values of the request, but neither its end nor its budget.
// The time that the request waits for the work is counted once.
func TestWhatIsFinishedGoesOnUnwaited(t *testing.T) {
	const limit, whole = 2 * time.Second, 950 * time.Millisecond
	type key struct{}
	failed := errors.New("failed")
	hungUp, hangUp := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
	hangUp()
	for _, row := range []struct {
		name    string
		ctx     context.Context
		spent   time.Duration
		takes   time.Duration
		returns error // of the work
		want    error
		waited  time.Duration
	}{
		{name: "in time", takes: 300e6, waited: 300e6},
		{name: "in time, badly", takes: 300e6, returns: failed, want: failed, waited: 300e6},
		{name: "longer than the budget", spent: 900e6, takes: 300e6, want: storage.ErrSpent, waited: 50e6},
		{name: "without any budget left", spent: time.Hour, takes: 300e6, want: storage.ErrSpent},
		{name: "the client hung up", ctx: hungUp, takes: 300e6, want: context.Canceled},
		{name: "longer than the limit", spent: 900e6, takes: limit + 1, returns: context.DeadlineExceeded, want: storage.ErrSpent, waited: 50e6},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, b, began := row.ctx, new(storage.Budget), time.Now()
				if ctx == nil {
					ctx = context.WithValue(t.Context(), key{}, "kept")
				}
				b.Spend(row.spent)
				done := make(chan error, 1)
				err := new(storage.Background).Finish(storage.WithBudget(ctx, b), limit, func(ctx context.Context) error {
					if ctx.Value(key{}) != "kept" || storage.BudgetOf(ctx) != nil {
						t.Errorf("value %v, budget %v: want the request's value and no budget", ctx.Value(key{}), storage.BudgetOf(ctx))
					}
					done <- call(ctx, row.takes)
					return row.returns
				})
				if waited := time.Since(began); waited != row.waited || !errors.Is(err, row.want) {
					t.Errorf("%v after %v, want %v after %v", err, waited, row.want, row.waited)
				}
				if !errors.Is(row.returns, row.want) && !errors.Is(err, storage.ErrUnavailable) {
					t.Errorf("%v, want %v", err, storage.ErrUnavailable)
				}
				if b.Spend(whole - row.spent - row.waited - 1); row.spent < whole && b.Spent() {
					t.Errorf("more was counted than %v", row.waited)
				}
				if b.Spend(1); !b.Spent() {
					t.Errorf("less was counted than %v", row.waited)
				}
				late := row.takes > limit
				if err := <-done; errors.Is(err, context.DeadlineExceeded) != late || !late && err != nil || time.Since(began) != min(row.takes, limit) {
					t.Errorf("it ended with %v after %v", err, time.Since(began))
				}
			})
		})
	}
}

func TestWhatGoesOnInTheBackgroundIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b storage.Background
		if err := b.Wait(t.Context()); err != nil {
			t.Errorf("nothing was begun: %v", err)
		}
		for range 2 { // it can be used again
			hungUp, hangUp := context.WithCancel(t.Context())
			hangUp()
			began, ended := time.Now(), new(atomic.Int32)
			for _, takes := range []time.Duration{time.Second, 3 * time.Second} {
				err := b.Finish(hungUp, time.Minute, func(context.Context) error {
					time.Sleep(takes)
					ended.Add(1)
					return nil
				})
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%v, want the error of who began it", err)
				}
			}
			soon, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if err := b.Wait(soon); !errors.Is(err, context.DeadlineExceeded) || ended.Load() != 1 {
				t.Errorf("after two seconds: %v, with %d ended", err, ended.Load())
			}
			if err := b.Wait(t.Context()); err != nil || ended.Load() != 2 || time.Since(began) != 3*time.Second {
				t.Errorf("%v after %v, with %d ended", err, time.Since(began), ended.Load())
			}
			if err := b.Wait(hungUp); err != nil {
				t.Errorf("nothing is under way: %v", err)
			}
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

// A call of several round trips is bounded by the whole budget, even when
// nothing was spent before.
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
