// Package watched tells of every call of a store how long it took and what came
// of it, and keeps requests within their budgets of waiting for the store. Start
// reading at [Watch].
package watched

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grantd/grantd/storage"
)

// Call is a call of a store that is over.
type Call struct {
	Method Method
	Began  time.Time
	Took   time.Duration
	Err    error // what the store returned
}

// Watch returns the store as it is, but that note is told of each call, after it
// and before its caller goes on, with the context of the call. note must be safe
// for concurrent use, and quick: the caller waits for it. Nothing is allocated for
// it. Nil: nobody is told.
//
// A call whose context has a [storage.Budget] is counted there and bounded by it:
// what it leaves no time for returns storage.ErrSpent.
func Watch(s storage.Store, note func(context.Context, Call)) storage.Store {
	if note == nil {
		note = func(context.Context, Call) {}
	}
	return &store{Store: s, note: note}
}

// store has every method of a storage.Store but Close; TestEveryMethodIsWatched and
// TestEveryMethodIsBoundedByTheBudget see to that.
type store struct {
	storage.Store
	note func(context.Context, Call)
}

// wait is that for a call that is under way.
type wait struct {
	began  time.Time
	budget *storage.Budget
	ctx    context.Context    // for the store
	cancel context.CancelFunc // nil unless the budget bounds the call
}

func begin(ctx context.Context) wait {
	w := wait{began: time.Now(), budget: storage.BudgetOf(ctx)}
	w.ctx, w.cancel = w.budget.Bound(ctx, w.began)
	return w
}

// beginLong is begin for the methods that take several round trips to a store elsewhere.
// Those that seldom do bound themselves from the second on. Sweep and Survivors may take
// long at a store that is well.
func beginLong(ctx context.Context) wait {
	w := wait{began: time.Now(), budget: storage.BudgetOf(ctx)}
	w.ctx, w.cancel = w.budget.BoundLong(ctx, w.began)
	return w
}

// end returns err, with why if the budget ended the call.
func (s *store) end(ctx context.Context, m Method, w wait, err error) error {
	took := time.Since(w.began)
	w.budget.Spend(took)
	if w.cancel != nil {
		w.cancel()
		if errors.Is(err, storage.ErrUnavailable) && w.budget.Spent() {
			err = fmt.Errorf("%w: %w", storage.ErrSpent, err)
		}
	}
	s.note(ctx, Call{Method: m, Began: w.began, Took: took, Err: err})
	return err
}
