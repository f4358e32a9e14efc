package storagetest

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/grantd/grantd/storage"
)

var listChecks = []check{
	{"grants are listed by user and by client", listByTarget},
	{"pages keep their limit and their order", listPages},
	{"a list under concurrent changes has every lasting grant exactly once", listRace},
	{"a bad cursor is not found", listBadCursor},
	{"a target with none or two fields set is an error", badTargets},
}

func listByTarget(t *testing.T, f Fixture) {
	ctx := t.Context()
	aw, ac := created(t, f, alice, web), created(t, f, alice, cli)
	bw, nw := created(t, f, bob, web), created(t, f, "", web)
	wantListed(ctx, t, f, storage.Target{UserID: alice}, aw, ac)
	wantListed(ctx, t, f, storage.Target{UserID: bob}, bw)
	wantListed(ctx, t, f, storage.Target{ClientID: web}, aw, bw, nw)
	wantListed(ctx, t, f, storage.Target{ClientID: cli}, ac)
	wantListed(ctx, t, f, storage.Target{UserID: "nobody"})
	wantListed(ctx, t, f, storage.Target{ClientID: "nothing"})
	// A user and a client that have the same id are listed apart.
	wantListed(ctx, t, f, storage.Target{UserID: web})
	wantListed(ctx, t, f, storage.Target{ClientID: bob})
}

func listPages(t *testing.T, f Fixture) {
	for range 25 {
		created(t, f, alice, web)
	}
	for _, target := range []storage.Target{{UserID: alice}, {ClientID: web}} {
		var orders [2][]storage.GrantID
		for i, limit := range []int{4, 100} {
			for cursor := ""; ; {
				page, next, err := f.Store.ListGrants(t.Context(), target, cursor, limit)
				wantErr(t, "ListGrants", err, nil)
				if len(page) > limit {
					t.Fatalf("a page of limit %d has %d grants", limit, len(page))
				}
				for _, g := range page {
					orders[i] = append(orders[i], g.ID)
				}
				if cursor = next; next == "" {
					break
				}
			}
		}
		if len(orders[0]) != 25 || !slices.Equal(orders[0], orders[1]) {
			t.Errorf("%+v: the order of the grants depends on the size of the page:\n%v\n%v", target, orders[0], orders[1])
		}
	}
}

func listRace(t *testing.T, f Fixture) {
	lasting := make(map[storage.GrantID]bool)
	var refreshed []storage.Grant
	for range 100 {
		g := created(t, f, alice, web)
		lasting[g.ID] = true
		refreshed = append(refreshed, g)
	}
	stop := churn(t, f, refreshed)
	defer stop()
	for range 3 {
		for _, target := range []storage.Target{{UserID: alice}, {ClientID: web}} {
			listed := listAll(t.Context(), t, f, target, 7) // fails if a grant is listed twice
			for id := range lasting {
				if _, found := listed[id]; !found {
					t.Fatalf("%+v: grant %v lived throughout and isn't listed", target, id)
				}
			}
		}
	}
}

// churn creates, refreshes and deletes grants of alice at web until it is
// stopped.
func churn(t *testing.T, f Fixture, refreshed []storage.Grant) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	until := func(step func(i int) error) {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if err := step(i); err != nil {
					t.Errorf("during the list: %v", err)
					return
				}
			}
		})
	}
	for range 2 {
		until(func(i int) error {
			g := newGrant(f, alice, web)
			epoch, err := f.Store.Epoch(t.Context(), g.ID)
			g.Epoch = epoch
			err = errors.Join(err, f.Store.CreateGrant(t.Context(), g))
			if i%10 == 0 && i < 500 {
				return err // some grants stay, so that the list grows while it is read
			}
			return errors.Join(err, f.Store.DeleteGrant(t.Context(), g.ID))
		})
	}
	until(func(i int) error {
		g := &refreshed[i%len(refreshed)]
		next := successor(f, *g)
		err := f.Store.SwapGrant(t.Context(), *g, next, storage.Retry{})
		*g = next
		return err
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

func listBadCursor(t *testing.T, f Fixture) {
	created(t, f, alice, web)
	for _, cursor := range []string{"!", "not a cursor", "zzzz", "\x00", "../..", "*"} {
		for _, target := range []storage.Target{{UserID: alice}, {ClientID: web}} {
			_, _, err := f.Store.ListGrants(t.Context(), target, cursor, 10)
			wantErr(t, "ListGrants with cursor "+cursor, err, storage.ErrNotFound)
		}
	}
}

func badTargets(t *testing.T, f Fixture) {
	g := created(t, f, alice, web)
	for _, target := range []storage.Target{
		{},
		{UserID: alice, ClientID: web},
		{UserID: alice, All: true},
		{ClientID: web, All: true},
		{UserID: alice, ClientID: web, All: true},
	} {
		if _, err := f.Store.Revoke(t.Context(), target); err == nil {
			t.Errorf("Revoke(%+v) is no error", target)
		}
		if _, _, err := f.Store.ListGrants(t.Context(), target, "", 10); err == nil {
			t.Errorf("ListGrants(%+v) is no error", target)
		}
		if _, err := f.Store.Sweep(t.Context(), storage.Revocation{Target: target}, nil); err == nil {
			t.Errorf("Sweep(%+v) is no error", target)
		}
	}
	if _, _, err := f.Store.ListGrants(t.Context(), storage.Target{All: true}, "", 10); err == nil {
		t.Error("ListGrants of everybody is no error")
	}
	wantLive(t.Context(), t, f, g)
}
