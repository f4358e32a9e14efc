package authserver_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
)

// remembered signs alice in and refreshes once, so that the server remembers
// the grant. It returns the answer.
func remembered(t *testing.T, f *fixture) answer {
	t.Helper()
	return wantToken(t, f.post(t, refreshForm(signIn(t, f).text("refresh_token")), asWeb))
}

// grant returns the only grant of alice, as the store has it.
func (f *fixture) grant(t *testing.T) storage.Grant {
	t.Helper()
	list, _, err := f.store.ListGrants(t.Context(), storage.Target{UserID: "id-of-alice"}, "", 10)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d grants of alice, %v", len(list), err)
	}
	return list[0]
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestARememberedGrantIsntLoaded(t *testing.T) {
	f := newFixture(t)
	pair := remembered(t, f)
	f.store.set(func(s *faultyStore) { s.grantLoads = 0 })
	g := f.grant(t)
	for range 5 {
		pair = wantToken(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb))
		if ev := f.events.last(t); ev.Act != storage.ActRefresh || ev.GrantID != g.ID.String() || ev.UserID != g.UserID || ev.Username != g.Username {
			t.Errorf("noted %+v", ev)
		}
	}
	if f.store.grantLoads != 0 {
		t.Errorf("it was loaded %d times", f.store.grantLoads)
	}
	wantAlive(t, f, pair)
}

// A change that another server makes to a grant counts, whatever this server
// remembers of the grant.
func TestWhatIsRememberedOfAGrantProvesNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		elsewhere func(*testing.T, *fixture)
		left      int // grants
	}{
		"its user was revoked": {func(t *testing.T, f *fixture) {
			_, err := f.store.Revoke(t.Context(), storage.Target{UserID: "id-of-alice"})
			must(t, err)
		}, 0},
		"its client was revoked": {func(t *testing.T, f *fixture) {
			_, err := f.store.Revoke(t.Context(), storage.Target{ClientID: "web"})
			must(t, err)
		}, 0},
		"it was ended": {func(t *testing.T, f *fixture) {
			must(t, f.store.DeleteGrant(t.Context(), f.grant(t).ID))
		}, 0},
		"its token was spent": {func(t *testing.T, f *fixture) {
			g := f.grant(t)
			must(t, f.store.SwapGrant(t.Context(), g, other(g, g.Generation+1), storage.Retry{}))
		}, 0},
		"the store lost it, and refreshed what it had before": {func(t *testing.T, f *fixture) {
			g := f.grant(t)
			must(t, f.store.DeleteGrant(t.Context(), g.ID))
			must(t, f.store.CreateGrant(t.Context(), other(g, g.Generation)))
		}, 1},
		"its refresh token has expired": {func(_ *testing.T, f *fixture) {
			f.advance(15 * 24 * time.Hour)
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			token := remembered(t, f).text("refresh_token")
			tt.elsewhere(t, f)
			wantError(t, f.post(t, refreshForm(token), asWeb), http.StatusBadRequest, "invalid_grant")
			if n := f.grants(t); n != tt.left {
				t.Errorf("%d grants are left, want %d", n, tt.left)
			}
		})
	}
}

// other returns the grant with that generation and another pair of tokens.
func other(g storage.Grant, generation uint32) storage.Grant {
	g.Generation = generation
	g.Access, g.Refresh = storage.Digest{1}, storage.Digest{2}
	return g
}

func TestARefusedRefreshOfARememberedGrantSpendsNothing(t *testing.T) {
	f := newFixture(t)
	pair := remembered(t, f)
	token := pair.text("refresh_token")
	wantError(t, f.post(t, refreshForm(token, "scope", "admin"), asWeb), http.StatusBadRequest, "invalid_scope")

	pair = wantToken(t, f.post(t, refreshForm(token), asWeb))
	token = pair.text("refresh_token")
	wantError(t, f.post(t, refreshForm(token), basic("short", webSecret)), http.StatusBadRequest, "invalid_grant")

	pair = wantToken(t, f.post(t, refreshForm(token), asWeb))
	token = pair.text("refresh_token")
	f.store.set(func(s *faultyStore) { s.fault, s.grantLoads = storage.ErrUnavailable, 0 })
	wantError(t, f.post(t, refreshForm(token), asWeb), http.StatusServiceUnavailable, "temporarily_unavailable")
	if f.store.grantLoads != 0 {
		t.Error("a store that can't answer was asked twice")
	}
	f.store.set(func(s *faultyStore) { s.fault = nil })

	wantAlive(t, f, wantToken(t, f.post(t, refreshForm(token), asWeb)))
}

// To a client, a server that remembers the grant and one that doesn't behave
// the same.
func TestARememberedGrantIsRefreshedByAnotherServer(t *testing.T) {
	f := newFixture(t)
	there := newFixture(t, func(c *authserver.Config) { c.Store, c.Keys = f.store, f.keys })
	pair := remembered(t, f)
	for i := range 6 {
		at := []*fixture{there, f}[i%2]
		token := pair.text("refresh_token")
		pair = wantToken(t, at.post(t, refreshForm(token), asWeb))
		again := wantToken(t, []*fixture{f, there}[i%2].post(t, refreshForm(token), asWeb))
		if again.text("refresh_token") != pair.text("refresh_token") {
			t.Fatal("one refresh token has two successors")
		}
	}
	wantAlive(t, f, pair)
}
