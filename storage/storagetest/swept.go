package storagetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

var sweptChecks = []check{
	{"a sweep tells how many it ended, the oldest and the newest", sweptTells},
	{"what a sweep that failed had counted is told by the next", sweptAdds},
	{"several sweepers count every grant once", sweptOnce},
	{"survivors are what a sweep has yet to delete", survivors},
	{"a count is no less than what the target has", countsGrants},
}

func sweptTells(t *testing.T, f Fixture) {
	for _, target := range whose(time.Time{}) {
		oldest := created(t, f, alice, web)
		for range 3 {
			f.Advance(time.Second)
			created(t, f, alice, web)
		}
		newest := f.Now()
		swap(t, f, oldest, successor(f, oldest), storage.Retry{}) // a swap doesn't change when it was created
		deleted := created(t, f, alice, web)
		wantErr(t, "DeleteGrant", f.Store.DeleteGrant(t.Context(), deleted.ID), nil)
		r := revoke(t, f, target)
		created(t, f, alice, web)
		var told []storage.Swept
		got, err := f.Store.Sweep(t.Context(), r, func(s storage.Swept) error {
			told = append(told, s)
			return nil
		})
		wantErr(t, "Sweep", err, nil)
		want := storage.Swept{Grants: 4, Oldest: oldest.Created, Newest: newest}
		if len(told) == 0 || diff(want, told[len(told)-1]) != "" || diff(want, got) != "" {
			t.Errorf("%+v: the sweep told %+v and returned %+v, want %+v at last", target, told, got, want)
		}
		sweep(t, f, revoke(t, f, storage.Target{All: true}))
	}
	wantNoResidue(t, f)
}

func sweptAdds(t *testing.T, f Fixture) {
	fault := errors.New("the receipt can't be kept")
	for _, target := range whose(time.Time{}) {
		var last storage.Grant
		for range 5 {
			last = created(t, f, alice, web)
		}
		r := revoke(t, f, target)
		for range 2 {
			got, err := f.Store.Sweep(t.Context(), r, func(storage.Swept) error { return fault })
			wantErr(t, "Sweep", err, fault)
			if got.Grants != 5 {
				t.Errorf("%+v: the sweep took %d grants, want 5", target, got.Grants)
			}
		}
		wantGone(t.Context(), t, f, last.ID)
		if d := diff(map[storage.Target]map[byte]uint32{target: r.Epochs}, unswept(t, f)); d != "" {
			t.Fatalf("the floor after a sweep that failed (-want +got):\n%s", d)
		}
		if n := sweep(t, f, r); n != 5 {
			t.Errorf("%+v: the next sweep tells of %d grants, want 5", target, n)
		}
		wantNoFloors(t, f)
	}
	wantNoResidue(t, f)
}

func sweptOnce(t *testing.T, f Fixture) {
	const grants, sweepers = 120, 4
	for _, target := range whose(time.Time{}) {
		for range grants {
			created(t, f, alice, web)
		}
		r := revoke(t, f, target)
		var mu sync.Mutex
		most := 0
		for _, err := range concurrently(sweepers, func(int) error {
			_, err := f.Store.Sweep(t.Context(), r, func(s storage.Swept) error {
				mu.Lock()
				defer mu.Unlock()
				most = max(most, s.Grants)
				return nil
			})
			return err
		}) {
			wantErr(t, "Sweep", err, nil)
		}
		if most != grants {
			t.Errorf("%+v: %d sweepers counted %d grants of %d", target, sweepers, most, grants)
		}
	}
	wantNoFloors(t, f)
	wantNoResidue(t, f)
}

func survivors(t *testing.T, f Fixture) {
	want := func(r storage.Revocation, want int) {
		t.Helper()
		n, err := f.Store.Survivors(t.Context(), r)
		wantErr(t, "Survivors", err, nil)
		if n != want {
			t.Errorf("%+v has %d survivors, want %d", r.Target, n, want)
		}
	}
	for _, target := range whose(time.Time{}) {
		for range 3 {
			created(t, f, alice, web)
		}
		f.Advance(time.Minute)
		early := target
		early.Before = f.Now()
		for range 2 {
			created(t, f, alice, web)
		}
		f.Advance(time.Minute)
		first := revoke(t, f, early)
		second := revoke(t, f, target)
		after := created(t, f, alice, web)
		want(first, 3)
		want(second, 5)
		sweep(t, f, first)
		want(first, 0)
		want(second, 2)
		sweep(t, f, second)
		want(first, 0)
		want(second, 0)
		wantLive(t.Context(), t, f, after)
		wantErr(t, "DeleteGrant", f.Store.DeleteGrant(t.Context(), after.ID), nil)
	}
	if _, err := f.Store.Survivors(t.Context(), storage.Revocation{}); err == nil {
		t.Error("the survivors of nobody's revocation are no error")
	}
}

func countsGrants(t *testing.T, f Fixture) {
	createdClient(t, f, web)
	createdClient(t, f, cli)
	for range 3 {
		created(t, f, alice, web)
	}
	created(t, f, alice, cli)
	created(t, f, bob, web)
	created(t, f, "", web)
	want := func(target storage.Target, want int) {
		t.Helper()
		n, err := f.Store.CountGrants(t.Context(), target)
		wantErr(t, "CountGrants", err, nil)
		if n != want {
			t.Errorf("%+v has %d grants, want %d", target, n, want)
		}
	}
	want(storage.Target{UserID: alice}, 4)
	want(storage.Target{UserID: alice, Before: f.Now().Add(-time.Hour)}, 4)
	want(storage.Target{UserID: bob}, 1)
	want(storage.Target{UserID: "nobody"}, 0)
	want(storage.Target{ClientID: web}, 5)
	want(storage.Target{ClientID: cli}, 1)
	want(storage.Target{All: true}, 6)
	sweep(t, f, revoke(t, f, storage.Target{UserID: alice}))
	want(storage.Target{UserID: alice}, 0)
	want(storage.Target{ClientID: web}, 2)
	want(storage.Target{All: true}, 2)
	if _, err := f.Store.CountGrants(context.Background(), storage.Target{}); err == nil {
		t.Error("to count nobody's grants is no error")
	}
}
