package storagetest

import (
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

var expiryChecks = []check{
	{"a grant ends at the instant that its refresh token has idled away", expiresIdle},
	{"a grant without a refresh token ends with its access token", expiresAccess},
	{"a grant ends at its absolute end, whatever its tokens", expiresEnd},
	{"a swap prolongs the grant", expiryProlonged},
	{"a swap may shorten the grant", expiryShortened},
	{"expired grants leave nothing", expiryResidue},
}

// wantExpiry fails unless load, list and swap find g 1 ms before expiry, and don't
// from expiry on.
func wantExpiry(t *testing.T, f Fixture, g storage.Grant, expiry time.Time) storage.Grant {
	t.Helper()
	ctx := t.Context()
	f.Advance(expiry.Sub(f.Now()) - time.Millisecond)
	wantLive(ctx, t, f, g)
	wantListed(ctx, t, f, storage.Target{ClientID: g.ClientID}, g)
	kept := g
	kept.Generation++
	kept.Access = digest()
	swap(t, f, g, kept, storage.Retry{})
	wantLive(ctx, t, f, kept)

	f.Advance(time.Millisecond)
	wantGone(ctx, t, f, g.ID)
	wantListed(ctx, t, f, storage.Target{ClientID: g.ClientID})
	if g.UserID != "" {
		wantListed(ctx, t, f, storage.Target{UserID: g.UserID})
	}
	err := f.Store.SwapGrant(ctx, kept, successor(f, kept), storage.Retry{})
	wantErr(t, "SwapGrant of an expired grant", err, storage.ErrNotFound)
	wantGone(ctx, t, f, g.ID)
	return kept
}

func expiresIdle(t *testing.T, f Fixture) {
	g := created(t, f, alice, web)
	wantExpiry(t, f, g, g.RefreshExpiry)
}

func expiresAccess(t *testing.T, f Fixture) {
	g := created(t, f, "", web)
	wantExpiry(t, f, g, g.AccessExpiry)
}

func expiresEnd(t *testing.T, f Fixture) {
	g := newGrant(f, alice, web)
	g.End = f.Now().Add(5 * time.Minute)
	g = create(t.Context(), t, f, g)
	wantExpiry(t, f, g, g.End)
}

func expiryProlonged(t *testing.T, f Fixture) {
	g := created(t, f, alice, web)
	f.Advance(23 * time.Hour)
	next := successor(f, g)
	swap(t, f, g, next, storage.Retry{})
	f.Advance(2 * time.Hour) // past the idle time of the first generation
	wantLive(t.Context(), t, f, next)
	f.Residue() // cleaning in the background must not delete it either
	wantExpiry(t, f, next, next.RefreshExpiry)
}

func expiryShortened(t *testing.T, f Fixture) {
	g := created(t, f, alice, web)
	next := successor(f, g)
	next.AccessExpiry, next.RefreshExpiry = f.Now().Add(time.Minute), f.Now().Add(2*time.Minute)
	swap(t, f, g, next, storage.Retry{})
	wantExpiry(t, f, next, next.RefreshExpiry)
}

func expiryResidue(t *testing.T, f Fixture) {
	for _, user := range []string{alice, bob, "", alice} {
		g := created(t, f, user, web)
		if user != "" {
			swap(t, f, g, successor(f, g), retryOf(f, g, time.Minute))
		}
	}
	f.Advance(48 * time.Hour)
	wantNoResidue(t, f)
	g := created(t, f, alice, web)
	wantListed(t.Context(), t, f, storage.Target{UserID: alice}, g)
}
