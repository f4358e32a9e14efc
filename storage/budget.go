package storage

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

const (
	// maxWait is what a request waits for the store at most, all its waits together.
	// It leaves a moment for the rest of the request: the answer is promised within
	// a second.
	maxWait = 950 * time.Millisecond

	// freeWait is what it may have waited before all its waits are bounded, so that where
	// the store is well few are: that costs nothing then. The longest round trip to a
	// store, 800 ms, fits in behind it; a call that takes several is bounded from its
	// beginning, or from its second on: see BoundLong.
	freeWait = 150 * time.Millisecond
)

// ErrSpent says that the request has waited for the store for as long as a request may. It
// wraps ErrUnavailable.
var ErrSpent = fmt.Errorf("%w: the request has waited for it for too long", ErrUnavailable)

// Budget is what one request has left to wait for the store. Each call of a store is
// bounded, but one request makes several, and the waits for a store that is slow
// would add up. The zero Budget is whole: 950 ms. It is safe for concurrent use. A nil
// Budget bounds nothing and counts nothing.
//
// Package watched bounds the calls of a store, and counts how long they took; whoever
// waits for others who wait for the store has Wait do so, and what mustn't stay half
// done a Background finishes.
type Budget struct{ waited atomic.Int64 } // nanoseconds

// BudgetKey is the key of the *Budget among the values of a context.
type BudgetKey struct{}

// WithBudget returns ctx with the budget. A nil one takes away the one that ctx has:
// for what a request begins but doesn't wait for, or must not leave half done.
func WithBudget(ctx context.Context, b *Budget) context.Context {
	return context.WithValue(ctx, BudgetKey{}, b)
}

// BudgetOf returns the budget of the request that ctx is of, or nil.
func BudgetOf(ctx context.Context) *Budget {
	b, _ := ctx.Value(BudgetKey{}).(*Budget)
	return b
}

// Wait begins a wait that is as good as one for the store, and has no bound of its own.
// bound ends when the budget of ctx does, with ErrSpent as its cause. done ends the wait,
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

// Bound returns the context for a call of a store that begins now, and takes one round
// trip. It ends when the budget does, with ErrSpent as its cause, and has to be cancelled.
// While little was spent it is ctx itself, and there is no cancel function: the call has a
// bound of its own. Spend counts it.
func (b *Budget) Bound(ctx context.Context, now time.Time) (context.Context, context.CancelFunc) {
	if b == nil || time.Duration(b.waited.Load()) <= freeWait {
		return ctx, nil
	}
	return b.bound(ctx, now)
}

// BoundLong is Bound for a call that takes several round trips, and began then: their
// own bounds would add up, so it is bounded however little was spent. There always is a
// cancel function.
func (b *Budget) BoundLong(ctx context.Context, began time.Time) (context.Context, context.CancelFunc) {
	if b == nil {
		return ctx, func() {}
	}
	return b.bound(ctx, began)
}

func (b *Budget) bound(ctx context.Context, now time.Time) (context.Context, context.CancelFunc) {
	return context.WithDeadlineCause(ctx, now.Add(maxWait-time.Duration(b.waited.Load())), ErrSpent)
}

// Spend counts what was waited.
func (b *Budget) Spend(d time.Duration) {
	if b != nil {
		b.waited.Add(int64(d))
	}
}

// Left is what may still be waited: by a nil Budget for ever.
func (b *Budget) Left() time.Duration {
	if b == nil {
		return math.MaxInt64
	}
	return maxWait - time.Duration(b.waited.Load())
}

// Spent reports whether nothing is left.
func (b *Budget) Spent() bool { return b != nil && time.Duration(b.waited.Load()) >= maxWait }
