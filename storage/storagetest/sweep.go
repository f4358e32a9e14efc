package storagetest

import (
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

var sweepChecks = []check{
	{"a sweep counts what it deletes and leaves nothing", sweepCounts},
	{"a sweep takes more grants than a batch", sweepMany},
	{"a repeated sweep is harmless", sweepRepeated},
	{"the sweep of an earlier revocation leaves the floor of a later one", sweepEarlier},
	{"a revocation stays unswept until its sweep", unsweptSurvives},
	{"a sweep leaves what it doesn't own", sweepLeavesOthers},
}

// sweep sweeps r, which must succeed, and returns how many grants were deleted.
func sweep(t *testing.T, f Fixture, r storage.Revocation) int {
	t.Helper()
	swept, err := f.Store.Sweep(t.Context(), r, nil)
	wantErr(t, "Sweep", err, nil)
	return swept.Grants
}

// unswept returns the epochs of the remaining floors, by target. A store may return
// one revocation as several.
func unswept(t *testing.T, f Fixture) map[storage.Target]map[byte]uint32 {
	t.Helper()
	all, err := f.Store.Unswept(t.Context())
	wantErr(t, "Unswept", err, nil)
	floors := make(map[storage.Target]map[byte]uint32)
	for _, r := range all {
		if floors[r.Target] == nil {
			floors[r.Target] = make(map[byte]uint32)
		}
		for partition, epoch := range r.Epochs {
			floors[r.Target][partition] = max(epoch, floors[r.Target][partition])
		}
	}
	return floors
}

func wantNoFloors(t *testing.T, f Fixture) {
	t.Helper()
	if floors := unswept(t, f); len(floors) != 0 {
		t.Fatalf("floors that still stand: %v", floors)
	}
}

func sweepCounts(t *testing.T, f Fixture) {
	for range 5 {
		g := created(t, f, alice, web)
		swap(t, f, g, successor(f, g), retryOf(f, g, time.Minute))
	}
	deleted := created(t, f, alice, web)
	wantErr(t, "DeleteGrant", f.Store.DeleteGrant(t.Context(), deleted.ID), nil)
	if n := sweep(t, f, revoke(t, f, storage.Target{UserID: alice})); n != 5 {
		t.Errorf("the sweep of a user with 5 grants took %d", n)
	}
	for _, user := range []string{alice, bob, "", ""} {
		created(t, f, user, web)
	}
	if n := sweep(t, f, revoke(t, f, storage.Target{ClientID: web})); n != 4 {
		t.Errorf("the sweep of a client with 4 grants took %d", n)
	}
	for _, user := range []string{alice, bob, ""} {
		created(t, f, user, cli)
	}
	if n := sweep(t, f, revoke(t, f, storage.Target{All: true})); n != 3 {
		t.Errorf("the sweep of all 3 grants took %d", n)
	}
	wantNoFloors(t, f)
	wantNoResidue(t, f)
}

func sweepMany(t *testing.T, f Fixture) {
	const writers, each = 15, 80 // more than any sensible batch
	for i, err := range concurrently(writers, func(int) error {
		for range each {
			g := newGrant(f, alice, web)
			epoch, err := f.Store.Epoch(t.Context(), g.ID)
			if err != nil {
				return err
			}
			g.Epoch = epoch
			if err := f.Store.CreateGrant(t.Context(), g); err != nil {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Fatalf("writer %d: %v", i, err)
		}
	}
	r := revoke(t, f, storage.Target{ClientID: web})
	wantListed(t.Context(), t, f, storage.Target{ClientID: web})
	if n := sweep(t, f, r); n != writers*each {
		t.Errorf("the sweep took %d grants of %d", n, writers*each)
	}
	wantNoFloors(t, f)
	wantNoResidue(t, f)
}

func sweepRepeated(t *testing.T, f Fixture) {
	created(t, f, alice, web)
	r := revoke(t, f, storage.Target{UserID: alice})
	if n := sweep(t, f, r); n != 1 {
		t.Fatalf("the first sweep took %d grants, want 1", n)
	}
	after := created(t, f, alice, web)
	for range 2 {
		if n := sweep(t, f, r); n != 0 {
			t.Fatalf("a repeated sweep took %d grants", n)
		}
		wantLive(t.Context(), t, f, after)
		wantNoFloors(t, f)
	}
}

func sweepEarlier(t *testing.T, f Fixture) {
	for _, target := range []storage.Target{{UserID: alice}, {ClientID: web}, {All: true}} {
		a := created(t, f, alice, web)
		first := revoke(t, f, target)
		b := created(t, f, alice, web)
		second := revoke(t, f, target)
		n := sweep(t, f, first)
		wantGone(t.Context(), t, f, a.ID)
		wantGone(t.Context(), t, f, b.ID)
		if floors := unswept(t, f); diff(map[storage.Target]map[byte]uint32{target: second.Epochs}, floors) != "" {
			t.Fatalf("after the sweep of the first of two revocations these floors stand: %v, want %v", floors, second)
		}
		c := created(t, f, alice, web)
		if n += sweep(t, f, second); n != 2 {
			t.Errorf("both sweeps took %d grants, want 2", n)
		}
		wantGone(t.Context(), t, f, b.ID)
		wantLive(t.Context(), t, f, c)
		wantNoFloors(t, f)
		wantErr(t, "DeleteGrant", f.Store.DeleteGrant(t.Context(), c.ID), nil)
	}
}

func unsweptSurvives(t *testing.T, f Fixture) {
	wantNoFloors(t, f)
	g, want := created(t, f, alice, web), make(map[storage.Target]map[byte]uint32)
	for _, target := range []storage.Target{{UserID: alice}, {ClientID: web}, {All: true}} {
		want[target] = revoke(t, f, target).Epochs
	}
	f.Advance(60 * 24 * time.Hour) // a floor doesn't expire: only a sweep knows when it is no longer needed
	if d := diff(want, unswept(t, f)); d != "" {
		t.Fatalf("unswept (-revoked +got):\n%s", d)
	}
	// Another process takes over with nothing but Unswept.
	all, err := f.Store.Unswept(t.Context())
	wantErr(t, "Unswept", err, nil)
	for _, r := range all {
		sweep(t, f, r)
	}
	wantGone(t.Context(), t, f, g.ID)
	wantNoFloors(t, f)
	wantNoResidue(t, f)
}

func sweepLeavesOthers(t *testing.T, f Fixture) {
	ours, theirs, none := created(t, f, alice, web), created(t, f, bob, web), created(t, f, "", web)
	other := created(t, f, alice, cli)
	sweep(t, f, revoke(t, f, storage.Target{UserID: bob}))
	wantGone(t.Context(), t, f, theirs.ID)
	sweep(t, f, revoke(t, f, storage.Target{ClientID: cli}))
	wantGone(t.Context(), t, f, other.ID)
	wantListed(t.Context(), t, f, storage.Target{UserID: alice}, ours)
	wantListed(t.Context(), t, f, storage.Target{ClientID: web}, ours, none)
}
