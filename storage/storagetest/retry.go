package storagetest

import (
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

var retryChecks = []check{
	{"a retry loads with every field until its window closes", retryWindow},
	{"a later swap replaces the retry of the earlier one", retryReplaced},
	{"a swap without a retry ends an earlier window", retryEnded},
	{"a retry doesn't outlive its grant", retryDiesWithGrant},
}

func wantRetry(t *testing.T, f Fixture, id storage.GrantID, want storage.Retry) {
	t.Helper()
	got, err := f.Store.LoadRetry(t.Context(), id)
	wantErr(t, "LoadRetry", err, nil)
	if d := diff(want, got); d != "" {
		t.Fatalf("retry (-kept +loaded):\n%s", d)
	}
}

func wantNoRetry(t *testing.T, f Fixture, id storage.GrantID) {
	t.Helper()
	_, err := f.Store.LoadRetry(t.Context(), id)
	wantErr(t, "LoadRetry", err, storage.ErrNotFound)
}

func retryWindow(t *testing.T, f Fixture) {
	g := created(t, f, alice, web)
	wantNoRetry(t, f, g.ID)
	next, r := successor(f, g), retryOf(f, g, 10*time.Second)
	swap(t, f, g, next, r)
	wantRetry(t, f, g.ID, r)
	f.Advance(10*time.Second - time.Millisecond)
	wantRetry(t, f, g.ID, r)
	f.Advance(time.Millisecond)
	wantNoRetry(t, f, g.ID)
	wantLive(t.Context(), t, f, next)
}

func retryReplaced(t *testing.T, f Fixture) {
	first := created(t, f, alice, web)
	second := successor(f, first)
	swap(t, f, first, second, retryOf(f, first, time.Minute))
	third := successor(f, second)
	r := retryOf(f, second, time.Second)
	swap(t, f, second, third, r)
	wantRetry(t, f, first.ID, r)
	f.Advance(time.Second) // the earlier Retry must not come back, though its Until isn't reached
	wantNoRetry(t, f, first.ID)
}

func retryEnded(t *testing.T, f Fixture) {
	first := created(t, f, alice, web)
	second := successor(f, first)
	swap(t, f, first, second, retryOf(f, first, time.Minute))
	swap(t, f, second, successor(f, second), storage.Retry{})
	wantNoRetry(t, f, first.ID)
}

func retryDiesWithGrant(t *testing.T, f Fixture) {
	for name, end := range map[string]func(g storage.Grant){
		"deleted": func(g storage.Grant) {
			wantErr(t, "DeleteGrant", f.Store.DeleteGrant(t.Context(), g.ID), nil)
		},
		"swept": func(g storage.Grant) {
			r, err := f.Store.Revoke(t.Context(), storage.Target{UserID: g.UserID})
			wantErr(t, "Revoke", err, nil)
			_, err = f.Store.Sweep(t.Context(), r, nil)
			wantErr(t, "Sweep", err, nil)
		},
		"expired": func(g storage.Grant) { f.Advance(g.Expiry().Sub(f.Now())) },
	} {
		t.Run(name, func(t *testing.T) {
			g := created(t, f, alice, web)
			next := successor(f, g)
			swap(t, f, g, next, retryOf(f, g, 60*24*time.Hour))
			end(next)
			wantNoRetry(t, f, g.ID)
		})
	}
	wantNoResidue(t, f)
}
