package storagetest

import (
	"errors"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

var swapChecks = []check{
	{"a swap replaces the grant", swapReplaces},
	{"a swap of a stale grant is a conflict and changes nothing", swapStale},
	{"a swap of another grant of the same generation is a conflict", swapOther},
	{"a swap by what is no next generation is refused and changes nothing", swapNoSuccessor},
	{"a swap repeated before anybody swapped after it succeeds", swapRepeated},
	{"of concurrent swaps of one grant exactly one succeeds", swapRace},
	{"of concurrent repeats of one swap all succeed", swapRepeatRace},
	{"a grant deleted during swaps stays deleted", swapDuringDelete},
}

func swapReplaces(t *testing.T, f Fixture) {
	g := created(t, f, alice, web)
	for range 5 {
		f.Advance(time.Second)
		next := successor(f, g)
		next.AccessScope = "read"
		swap(t, f, g, next, storage.Retry{})
		wantLive(t.Context(), t, f, next)
		wantListed(t.Context(), t, f, storage.Target{UserID: alice}, next)
		wantListed(t.Context(), t, f, storage.Target{ClientID: web}, next)
		g = next
	}
}

func swapStale(t *testing.T, f Fixture) {
	first := created(t, f, alice, web)
	second := successor(f, first)
	kept := retryOf(f, first, time.Minute)
	swap(t, f, first, second, kept)

	err := f.Store.SwapGrant(t.Context(), first, successor(f, first), retryOf(f, first, time.Minute))
	wantErr(t, "SwapGrant of the first generation", err, storage.ErrConflict)
	wantLive(t.Context(), t, f, second)
	wantRetry(t, f, first.ID, kept)

	third := successor(f, second)
	err = f.Store.SwapGrant(t.Context(), third, successor(f, third), storage.Retry{})
	wantErr(t, "SwapGrant of a generation that is yet to come", err, storage.ErrConflict)
	wantLive(t.Context(), t, f, second)
}

// A store may have lost a grant's latest generation, and have kept another in its
// place since.
func swapOther(t *testing.T, f Fixture) {
	first := created(t, f, alice, web)
	lost, second := successor(f, first), successor(f, first)
	swap(t, f, first, second, storage.Retry{})
	err := f.Store.SwapGrant(t.Context(), lost, successor(f, lost), storage.Retry{})
	wantErr(t, "SwapGrant of what was lost", err, storage.ErrConflict)
	wantLive(t.Context(), t, f, second)
}

func swapNoSuccessor(t *testing.T, f Fixture) {
	g := created(t, f, alice, web)
	for name, spoil := range map[string]func(*storage.Grant){
		"the same access token": func(next *storage.Grant) { next.Access = g.Access },
		"another id":            func(next *storage.Grant) { next.ID = storage.NewGrantID(alice) },
		"another epoch":         func(next *storage.Grant) { next.Epoch++ },
		"another end":           func(next *storage.Grant) { next.End = next.End.Add(time.Second) },
		"the same generation":   func(next *storage.Grant) { next.Generation = g.Generation },
		"a generation left out": func(next *storage.Grant) { next.Generation++ },
	} {
		next := successor(f, g)
		spoil(&next)
		err := f.Store.SwapGrant(t.Context(), g, next, retryOf(f, g, time.Minute))
		if err == nil || errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		wantLive(t.Context(), t, f, g)
	}
}

func swapRepeated(t *testing.T, f Fixture) {
	first := created(t, f, alice, web)
	second := successor(f, first)
	r := retryOf(f, first, time.Minute)
	for range 3 {
		swap(t, f, first, second, r)
		wantLive(t.Context(), t, f, second)
		wantRetry(t, f, first.ID, r)
	}
	third := successor(f, second)
	swap(t, f, second, third, storage.Retry{})
	err := f.Store.SwapGrant(t.Context(), first, second, r)
	wantErr(t, "a repeat after somebody swapped", err, storage.ErrConflict)
	wantLive(t.Context(), t, f, third)
}

func swapRace(t *testing.T, f Fixture) {
	g := created(t, f, alice, web)
	for range 10 {
		next := make([]storage.Grant, 50)
		for i := range next {
			next[i] = successor(f, g)
		}
		errs := concurrently(len(next), func(i int) error {
			return f.Store.SwapGrant(t.Context(), g, next[i], retryOf(f, g, time.Minute))
		})
		g = next[wantOneWinner(t, errs, storage.ErrConflict)]
		wantLive(t.Context(), t, f, g)
	}
}

func swapRepeatRace(t *testing.T, f Fixture) {
	g := created(t, f, alice, web)
	next, r := successor(f, g), retryOf(f, g, time.Minute)
	for i, err := range concurrently(20, func(int) error { return f.Store.SwapGrant(t.Context(), g, next, r) }) {
		if err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	wantLive(t.Context(), t, f, next)
	wantRetry(t, f, g.ID, r)
}

func swapDuringDelete(t *testing.T, f Fixture) {
	for range 10 {
		g := created(t, f, alice, web)
		errs := concurrently(9, func(i int) error {
			if i == 0 {
				return f.Store.DeleteGrant(t.Context(), g.ID)
			}
			err := f.Store.SwapGrant(t.Context(), g, successor(f, g), retryOf(f, g, time.Minute))
			if errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrNotFound) {
				return nil
			}
			return err
		})
		for i, err := range errs {
			if err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
		}
		wantGone(t.Context(), t, f, g.ID)
	}
	wantNoResidue(t, f)
}
