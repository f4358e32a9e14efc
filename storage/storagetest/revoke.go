package storagetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

var revokeChecks = []check{
	{"a revocation ends the grants of its target and no others", revokeTargets},
	{"an ended grant is gone for load, list and swap before it is swept", revokeEndsAll},
	{"a sign-in that a revocation came between is refused", revokeBetween},
	{"a sign-in of an epoch that never was is refused", epochNeverWas},
	{"a refresh doesn't lift a grant over the floor", refreshedGrantDies},
	{"a revocation of nobody is harmless", revokeNobody},
}

// revoke ends the grants of the target, which must succeed.
func revoke(t *testing.T, f Fixture, target storage.Target) storage.Revocation {
	t.Helper()
	r, err := f.Store.Revoke(t.Context(), target)
	wantErr(t, "Revoke", err, nil)
	if d := diff(target, r.Target); d != "" {
		t.Fatalf("the target of the revocation (-asked +got):\n%s", d)
	}
	if len(r.Epochs) == 0 {
		t.Fatal("the revocation raised no epoch")
	}
	return r
}

func revokeTargets(t *testing.T, f Fixture) {
	for _, target := range []storage.Target{{UserID: alice}, {ClientID: web}, {All: true}} {
		t.Run(fmt.Sprintf("%+v", target), func(t *testing.T) {
			grants := []storage.Grant{
				created(t, f, alice, web), created(t, f, alice, cli), created(t, f, alice, web),
				created(t, f, bob, web), created(t, f, bob, cli),
				created(t, f, "", web), created(t, f, "", cli),
			}
			r := revoke(t, f, target)
			check := func() {
				t.Helper()
				for _, g := range grants {
					if target.All || g.UserID == target.UserID && g.UserID != "" || g.ClientID == target.ClientID {
						wantGone(t.Context(), t, f, g.ID)
					} else {
						wantLive(t.Context(), t, f, g)
					}
				}
			}
			check()
			after := created(t, f, alice, web)
			wantLive(t.Context(), t, f, after)
			sweep(t, f, r)
			check()
			wantLive(t.Context(), t, f, after)
			wantNoFloors(t, f)
		})
	}
}

func revokeEndsAll(t *testing.T, f Fixture) {
	for _, target := range []storage.Target{{UserID: alice}, {ClientID: web}, {All: true}} {
		g := created(t, f, alice, web)
		next, r := successor(f, g), retryOf(f, g, time.Minute)
		swap(t, f, g, next, r)
		revoke(t, f, target)
		wantGone(t.Context(), t, f, g.ID)
		err := f.Store.SwapGrant(t.Context(), next, successor(f, next), storage.Retry{})
		wantErr(t, "SwapGrant of a revoked grant", err, storage.ErrNotFound)
		err = f.Store.SwapGrant(t.Context(), g, next, r)
		wantErr(t, "repeated SwapGrant of a revoked grant", err, storage.ErrNotFound)
		wantListed(t.Context(), t, f, storage.Target{UserID: alice})
		wantListed(t.Context(), t, f, storage.Target{ClientID: web})
	}
}

func revokeBetween(t *testing.T, f Fixture) {
	for _, target := range []storage.Target{{UserID: alice}, {ClientID: web}, {All: true}} {
		g := newGrant(f, alice, web)
		before, err := f.Store.Epoch(t.Context(), g.ID)
		wantErr(t, "Epoch", err, nil)
		r := revoke(t, f, target)
		for range 2 { // before and after the sweep
			g.Epoch = before
			wantErr(t, "CreateGrant", f.Store.CreateGrant(t.Context(), g), storage.ErrRevoked)
			wantGone(t.Context(), t, f, g.ID)
			sweep(t, f, r)
		}
		after, err := f.Store.Epoch(t.Context(), g.ID)
		wantErr(t, "Epoch", err, nil)
		if after <= before {
			t.Fatalf("after ErrRevoked the epoch is %d, and it was %d", after, before)
		}
		g.Epoch = after
		wantErr(t, "CreateGrant", f.Store.CreateGrant(t.Context(), g), nil)
		wantLive(t.Context(), t, f, g)
	}
}

func epochNeverWas(t *testing.T, f Fixture) {
	g := newGrant(f, alice, web)
	epoch, err := f.Store.Epoch(t.Context(), g.ID)
	wantErr(t, "Epoch", err, nil)
	g.Epoch = epoch + 1
	wantErr(t, "CreateGrant", f.Store.CreateGrant(t.Context(), g), storage.ErrRevoked)
	wantGone(t.Context(), t, f, g.ID)
	wantNoResidue(t, f)
}

func refreshedGrantDies(t *testing.T, f Fixture) {
	g := created(t, f, alice, web)
	revoke(t, f, storage.Target{UserID: bob}) // it raises an epoch, but not alice's floor
	next := successor(f, g)
	swap(t, f, g, next, storage.Retry{})
	wantLive(t.Context(), t, f, next)
	revoke(t, f, storage.Target{UserID: alice})
	wantGone(t.Context(), t, f, g.ID)
}

func revokeNobody(t *testing.T, f Fixture) {
	g := created(t, f, alice, web)
	for _, target := range []storage.Target{{UserID: "nobody"}, {ClientID: "nothing"}} {
		r := revoke(t, f, target)
		if n := sweep(t, f, r); n != 0 {
			t.Errorf("the sweep of %+v took %d grants", target, n)
		}
	}
	wantLive(t.Context(), t, f, g)
	wantNoFloors(t, f)
}
