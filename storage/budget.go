package storage

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

const (
	// maxWait is how long one request may wait for the store, in all its waits
	// together. It leaves a moment for the rest of the request: the answer is
	// promised within a second.
	maxWait = 950 * time.Millisecond

	// freeWait is how long a request may have waited before all its calls get a deadline.
	// So with a healthy store few calls need one, which costs. After freeWait there is
	// still time for the longest round trip to a store, 800 ms. A call that takes several
	// round trips gets a deadline from its beginning, or from the second on: see
	// BoundLong.
	freeWait = 150 * time.Millisecond
)

// ErrSpent means that the request has waited for the store as long as a request may. It
// wraps ErrUnavailable.
var ErrSpent = fmt.Errorf("%w: the request has waited too long for it", ErrUnavailable)

// Budget is the time that one request may wait for the store. Each call of a store has
// a time limit, but one request makes several calls, and the waits for a slow store
// would add up. The zero Budget is unspent: 950 ms. It is safe for concurrent use. A
// nil Budget bounds nothing and counts nothing.
//
// Package watched bounds the calls of a store and counts their time. To wait
// for somebody else who waits for the store, use Wait. For work that must not
// stay half done, use a Background.
type Budget struct{ waited atomic.Int64 } // nanoseconds

// BudgetKey is the key of the *Budget among the values of a context.
type BudgetKey struct{}

// WithBudget returns ctx with the budget. A nil budget removes that of ctx, for
// work that a request begins but doesn't wait for, or must not leave half done.
func WithBudget(ctx context.Context, b *Budget) context.Context {
	return context.WithValue(ctx, BudgetKey{}, b)
}

// BudgetOf returns the budget in ctx, or nil.
func BudgetOf(ctx context.Context) *Budget {
	b, _ := ctx.Value(BudgetKey{}).(*Budget)
	return b
}

// Wait begins a wait that counts as one for the store and has no time limit of its own.
// bound ends when the budget of ctx does, with ErrSpent as its cause. done ends the wait
// and counts it.
func Wait(ctx context.Context) (bound context.Context, done func()) {
	b, began := BudgetOf(ctx), time.Now()
	if b == nil {
		return ctx, func() {}
	}
	bound, cancel := b.bound(ctx, began)
	return bound, func() {
		cancel()
		b.Spend(time.Since(began))
	}
}

// Bound returns the context for a call of a store that begins now and takes one round
// trip. The context ends when the budget does, with ErrSpent as its cause, and has to be
// cancelled. While little was spent, Bound returns ctx itself and a nil cancel function:
// the call's own time limit is enough. Use Spend to count the call.
func (b *Budget) Bound(ctx context.Context, now time.Time) (context.Context, context.CancelFunc) {
	if b == nil || time.Duration(b.waited.Load()) <= freeWait {
		return ctx, nil
	}
	return b.bound(ctx, now)
}

// BoundLong is Bound for a call that began at that time and takes several round trips.
// Their time limits would add up, so the context ends with the budget however little
// was spent. The cancel function is never nil.
func (b *Budget) BoundLong(ctx context.Context, began time.Time) (context.Context, context.CancelFunc) {
	if b == nil {
		return ctx, func() {}
	}
	return b.bound(ctx, began)
}

func (b *Budget) bound(ctx context.Context, now time.Time) (context.Context, context.CancelFunc) {
	return context.WithDeadlineCause(ctx, now.Add(maxWait-time.Duration(b.waited.Load())), ErrSpent)
}

// Spend counts the time of a wait.
func (b *Budget) Spend(d time.Duration) {
	if b != nil {
		b.waited.Add(int64(d))
	}
}

// Left returns the time that is left; a nil Budget has no limit.
func (b *Budget) Left() time.Duration {
	if b == nil {
		return math.MaxInt64
	}
	return maxWait - time.Duration(b.waited.Load())
}

// Spent reports whether no time is left.
func (b *Budget) Spent() bool { return b != nil && time.Duration(b.waited.Load()) >= maxWait }
