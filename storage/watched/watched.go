// Package watched reports the time and the outcome of every call of a store,
// and keeps requests within their budgets of waiting for the store. Start
// reading at [Watch].
package watched

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grantd/grantd/storage"
)

// Call is a finished call of a store.
type Call struct {
	Method Method
	Began  time.Time
	Took   time.Duration
	Err    error // what the store returned
}

// Watch returns a store that works like s and calls note after each call, with
// the context of the call. note must be safe for concurrent use, and quick,
// because the caller waits for it. Nothing is allocated for it. It may be nil.
//
// If the context of a call has a [storage.Budget], the call is counted there
// and bounded by it: a call that the budget ends returns storage.ErrSpent.
func Watch(s storage.Store, note func(context.Context, Call)) storage.Store {
	if note == nil {
		note = func(context.Context, Call) {}
	}
	return &store{Store: s, note: note}
}

// store wraps every method of a storage.Store but Close.
// TestEveryMethodIsWatched and TestEveryMethodIsBoundedByTheBudget check that.
type store struct {
	storage.Store
	note func(context.Context, Call)
}

// wait is the wait for a call that is under way.
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

// beginLong is begin for the methods that take several round trips to a remote store.
// Methods that seldom do so bound themselves from the second round trip on. Sweep and
// Survivors aren't among them, because they may take long even at a healthy store.
func beginLong(ctx context.Context) wait {
	w := wait{began: time.Now(), budget: storage.BudgetOf(ctx)}
	w.ctx, w.cancel = w.budget.BoundLong(ctx, w.began)
	return w
}

// end returns err, wrapped with storage.ErrSpent if the budget ended the call.
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
