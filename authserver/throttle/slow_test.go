package throttle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// lateStore acts at once but answers late, within the budget of the caller.
type lateStore struct {
	mu      sync.Mutex
	records map[storage.GuessKey][]byte
	delay   time.Duration
}

func (s *lateStore) set(delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = delay
}

func (s *lateStore) answer(ctx context.Context, delay time.Duration) error {
	b, began := storage.BudgetOf(ctx), time.Now()
	bound, cancel := b.Bound(ctx, began)
	if cancel != nil {
		defer cancel()
	}
	defer func() { b.Spend(time.Since(began)) }()
	select {
	case <-time.After(delay):
		return nil
	case <-bound.Done():
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, context.Cause(bound))
	}
}

func (s *lateStore) LoadGuesses(ctx context.Context, key storage.GuessKey) ([]byte, error) {
	s.mu.Lock()
	record, delay := s.records[key], s.delay
	s.mu.Unlock()
	return record, s.answer(ctx, delay)
}

func (s *lateStore) SwapGuesses(ctx context.Context, key storage.GuessKey, old, next []byte, _ time.Time) ([]byte, error) {
	s.mu.Lock()
	kept, delay, err := s.records[key], s.delay, storage.ErrConflict
	if bytes.Equal(kept, old) {
		s.records[key], kept, err = next, next, nil
	}
	s.mu.Unlock()
	if late := s.answer(ctx, delay); late != nil {
		return nil, late
	}
	return kept, err
}

func newLate(t *testing.T, delay time.Duration) (*lateStore, *Limiter) {
	t.Helper()
	keys, err := opaque.NewKeyring(opaque.NewKey(1))
	if err != nil {
		t.Fatal(err)
	}
	s := &lateStore{records: map[storage.GuessKey][]byte{}, delay: delay}
	return s, New(s, keys, time.Now)
}

// signIn signs in with the right password, whose hashing takes that long, in a
// request of its own. It returns the time that the request waited while no
// password of the user was being hashed.
func signIn(t *testing.T, l *Limiter, hashing time.Duration) (waited time.Duration, err error) {
	ctx, began := storage.WithBudget(t.Context(), new(storage.Budget)), time.Now()
	d := l.desks.open(mustKey(t, l))
	defer l.desks.close(d)
	before, _ := d.hashing.read()
	defer func() {
		ran, _ := d.hashing.read()
		waited = time.Since(began) - (ran - before)
	}()
	p, err := l.Begin(ctx, at(home, "right"))
	if err != nil {
		return 0, err
	}
	hashed := p.Hashing()
	time.Sleep(hashing)
	hashed()
	err = p.Succeeded(ctx)
	p.Leave(ctx)
	return 0, err
}

// places returns the number of places in the user's record.
func places(t *testing.T, l *Limiter) int {
	t.Helper()
	record, err := l.store.LoadGuesses(t.Context(), mustKey(t, l))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, network := range decode(record, time.Now()).Networks {
		n += len(network.Places)
	}
	return n
}

// At a slow store, waiting at a desk or for guesses under way counts as waiting for
// the store. Sign-ins that ran out of time before they were judged keep nobody out.
func TestSignInsAtOnceWaitForASlowStoreWithinTheirBudgets(t *testing.T) {
	for _, delay := range []time.Duration{60, 150, 200, 300, 500, 700} {
		synctest.Test(t, func(t *testing.T) {
			store, l := newLate(t, delay*time.Millisecond)
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() {
					waited, err := signIn(t, l, 80*time.Millisecond)
					if err != nil && !errors.Is(err, storage.ErrSpent) {
						t.Errorf("%d ms late: %v", delay, err)
					}
					if waited > 950*time.Millisecond {
						t.Errorf("%d ms late: waited for %v", delay, waited)
					}
				})
			}
			all.Wait()
			store.set(0)
			if err := l.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			if n := places(t, l); n != 0 {
				t.Errorf("%d ms late: %d places are taken for ever", delay, n)
			}
			if waited, err := signIn(t, l, 0); err != nil || waited != 0 {
				t.Errorf("%d ms late: a sign-in afterwards: %v, in %v", delay, err, waited)
			}
		})
	}
}

// Waiting while passwords are hashed costs no budget, both at a fast store and at one
// that seems slow because the process gets little of the processors.
func TestWaitingForHashesIsNoWaitForTheStore(t *testing.T) {
	for _, row := range []struct {
		late    time.Duration
		signIns int
	}{{2 * time.Millisecond, 10}, {20 * time.Millisecond, 12}, {40 * time.Millisecond, 9}, {60 * time.Millisecond, 6}} {
		synctest.Test(t, func(t *testing.T) {
			_, l := newLate(t, row.late)
			var all sync.WaitGroup
			for range row.signIns {
				all.Go(func() {
					if _, err := signIn(t, l, 900*time.Millisecond); err != nil {
						t.Errorf("%v late: %v", row.late, err)
					}
				})
			}
			all.Wait()
		})
	}
}

// A failure counts even if the request had no time left to wait for the store.
func TestAFailureBeyondTheBudgetCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := newLate(t, 0)
		for range free {
			budget := new(storage.Budget)
			ctx := storage.WithBudget(t.Context(), budget)
			p, err := l.Begin(ctx, at(home, fmt.Sprint(time.Now().UnixNano())))
			if err != nil {
				t.Fatal(err)
			}
			store.set(300 * time.Millisecond)
			budget.Spend(940 * time.Millisecond)
			began := time.Now()
			if _, err := p.Failed(ctx); !errors.Is(err, storage.ErrSpent) || time.Since(began) != 10*time.Millisecond {
				t.Errorf("%v after %v, want %v after 10ms", err, time.Since(began), storage.ErrSpent)
			}
			p.Leave(ctx)
			time.Sleep(time.Second)
			store.set(0)
		}
		if n := places(t, l); n != 0 {
			t.Errorf("%d places are taken", n)
		}
		var refusal *Refusal
		if _, err := l.Begin(t.Context(), at(home, "right")); !errors.As(err, &refusal) {
			t.Errorf("after %d failures: %v, want a refusal", free, err)
		}
	})
}
