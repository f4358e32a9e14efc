package storagetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

var beforeChecks = []check{
	{"a revocation of the grants before an instant leaves the later ones", beforeSpares},
	{"a revocation before an instant counts whole milliseconds, and what is in between", beforePrecision},
	{"a revocation before now, or what is yet to come, ends all", beforeNow},
	{"a revocation before an instant leaves a grant kept after it, whatever its date", beforeIsNoFence},
	{"a later floor takes the place of those that it covers, and of no others", beforeFloors},
}

// whose returns a target of each kind that includes a grant of alice at web.
func whose(before time.Time) []storage.Target {
	return []storage.Target{
		{UserID: alice, Before: before}, {ClientID: web, Before: before}, {All: true, Before: before},
	}
}

func beforeSpares(t *testing.T, f Fixture) {
	for _, target := range whose(time.Time{}) {
		t.Run(fmt.Sprintf("%+v", target), func(t *testing.T) {
			old, retried := created(t, f, alice, web), created(t, f, alice, web)
			other := created(t, f, bob, cli)
			f.Advance(time.Hour)
			target.Before = f.Now()
			spared := created(t, f, alice, web)
			f.Advance(time.Second)
			retry := retryOf(f, retried, time.Minute)
			next := successor(f, retried) // refreshed after Before; the sign-in was before it
			swap(t, f, retried, next, retry)

			r := revoke(t, f, target)
			check := func() {
				t.Helper()
				wantGone(t.Context(), t, f, old.ID)
				wantGone(t.Context(), t, f, next.ID)
				wantErr(t, "SwapGrant", f.Store.SwapGrant(t.Context(), next, successor(f, next), storage.Retry{}), storage.ErrNotFound)
				wantErr(t, "LoadRetry", second(f.Store.LoadRetry(t.Context(), next.ID)), storage.ErrNotFound)
				wantLive(t.Context(), t, f, spared)
				wantListed(t.Context(), t, f, storage.Target{UserID: alice}, spared)
				wantListed(t.Context(), t, f, storage.Target{ClientID: web}, spared)
				if target.All {
					wantGone(t.Context(), t, f, other.ID)
				} else {
					wantLive(t.Context(), t, f, other)
				}
			}
			check()
			renewed := successor(f, spared)
			swap(t, f, spared, renewed, storage.Retry{})
			spared = renewed
			want := 2
			if target.All {
				want = 3
			}
			if n := sweep(t, f, r); n != want {
				t.Errorf("the sweep took %d grants, want %d", n, want)
			}
			check()
			wantNoFloors(t, f)
			sweep(t, f, revoke(t, f, storage.Target{All: true}))
			wantNoResidue(t, f)
		})
	}
}

func beforePrecision(t *testing.T, f Fixture) {
	for _, target := range whose(time.Time{}) {
		for _, tt := range []struct {
			after time.Duration // Before, counted from the creation
			ends  bool
		}{
			{-time.Millisecond, false}, {0, false}, {time.Nanosecond, true}, {time.Millisecond, true},
		} {
			g := created(t, f, alice, web)
			f.Advance(time.Hour)
			target.Before = g.Created.Add(tt.after).In(time.FixedZone("", 3600)) // the time zone must not matter
			r, err := f.Store.Revoke(t.Context(), target)
			wantErr(t, "Revoke", err, nil)
			if d := diff(target.Rounded(f.Now()), r.Target); d != "" {
				t.Errorf("the target (-want +got):\n%s", d)
			}
			if tt.ends {
				wantGone(t.Context(), t, f, g.ID)
			} else {
				wantLive(t.Context(), t, f, g)
			}
			sweep(t, f, r)
			if !tt.ends {
				wantLive(t.Context(), t, f, g)
			}
			sweep(t, f, revoke(t, f, storage.Target{All: true}))
		}
	}
	for _, target := range whose(time.Date(1, 2, 3, 0, 0, 0, 0, time.UTC)) { // long before every grant
		g := created(t, f, alice, web)
		r, err := f.Store.Revoke(t.Context(), target)
		wantErr(t, "Revoke", err, nil)
		sweep(t, f, r)
		wantLive(t.Context(), t, f, g)
	}
	wantNoFloors(t, f)
}

func beforeNow(t *testing.T, f Fixture) {
	for _, after := range []time.Duration{0, time.Millisecond, 250 * 365 * 24 * time.Hour} {
		for _, target := range whose(f.Now().Add(after)) {
			g := newGrant(f, alice, web)
			g.Created = g.Created.Add(2 * time.Second) // created by a node whose clock is ahead
			g.Issued = g.Created
			g = create(t.Context(), t, f, g)
			r, err := f.Store.Revoke(t.Context(), target)
			wantErr(t, "Revoke", err, nil)
			if !r.Target.Before.IsZero() {
				t.Errorf("Before is %v", r.Target.Before)
			}
			wantGone(t.Context(), t, f, g.ID)
			if n := sweep(t, f, r); n != 1 {
				t.Errorf("the sweep of %+v took %d grants", target, n)
			}
		}
	}
}

func beforeIsNoFence(t *testing.T, f Fixture) {
	for _, target := range whose(f.Now().Add(-time.Minute)) {
		r := revoke(t, f, target)
		g := newGrant(f, alice, web)
		g.Created = target.Before.Add(-time.Hour) // it was moved from another server
		g = create(t.Context(), t, f, g)
		wantLive(t.Context(), t, f, g)
		sweep(t, f, r)
		wantLive(t.Context(), t, f, g)
		wantErr(t, "DeleteGrant", f.Store.DeleteGrant(t.Context(), g.ID), nil)
	}
}

func beforeFloors(t *testing.T, f Fixture) {
	start := f.Now()
	f.Advance(time.Hour)
	for _, target := range whose(time.Time{}) {
		at := func(minutes int) storage.Target {
			target.Before = time.Time{}
			if minutes > 0 {
				target.Before = start.Add(time.Duration(minutes) * time.Minute)
			}
			return target
		}
		floors := map[storage.Target]map[byte]uint32{}
		for _, step := range []struct{ minutes, stand int }{
			{20, 1}, {10, 2}, {30, 1}, {30, 1}, {20, 2}, {5, 3}, {0, 1}, {10, 2},
		} {
			r := revoke(t, f, at(step.minutes))
			for earlier := range floors {
				if step.minutes == 0 || !earlier.Before.IsZero() && !earlier.Before.After(r.Target.Before) {
					delete(floors, earlier)
				}
			}
			floors[r.Target] = r.Epochs
			if d := diff(floors, unswept(t, f)); d != "" || len(floors) != step.stand {
				t.Fatalf("%+v, after %d: %d stand (-want +got):\n%s", target.Whose(), step.minutes, len(floors), d)
			}
		}
		for earlier, epochs := range floors { // each sweep deletes its own floor
			sweep(t, f, storage.Revocation{Target: earlier, Epochs: epochs})
			delete(floors, earlier)
			if d := diff(floors, unswept(t, f)); d != "" {
				t.Fatalf("after the sweep of %+v (-want +got):\n%s", earlier, d)
			}
		}
	}
}
