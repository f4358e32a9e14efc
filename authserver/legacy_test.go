package authserver_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// legacyText is a refresh token of another server, and legacyAccess the access
// token that was issued with it. They belong to alice, at the client web.
const (
	legacyText   = "NTJLYWY2ODKTNJM4NC01YZU5LTLJMGETNJQ4OTLJODQZNDK1"
	legacyAccess = "MTJLYWY2ODKTNJM4NC01YZU5LTLJMGETNJQ4OTLJODQZNDK1"
)

// legacy is the store of another server, with one sign-in.
type legacy struct {
	f *fixture

	mu        sync.Mutex
	forgotten bool
	moved     bool
	grant     storage.GrantID
	pair      storage.Digest

	fault        error  // what every call returns
	settleFault  error  // what Settle returns, once it has done its work
	afterLooking func() // runs once, after RefreshGrant has found the token
}

// withLegacy makes a fixture whose server takes over from l.
func withLegacy(t *testing.T, options ...option) (*fixture, *legacy) {
	l := &legacy{grant: storage.NewGrantID("id-of-alice")}
	l.f = newFixture(t, append(options, func(c *authserver.Config) { c.Legacy = l })...)
	return l.f, l
}

func (l *legacy) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// stands returns the grant that the tokens stand for, begun in the current
// epoch.
func (l *legacy) stands(ctx context.Context) (storage.Grant, error) {
	epoch, err := l.f.store.Epoch(ctx, l.grant)
	made := time.Date(2030, 1, 2, 3, 0, 0, 0, time.UTC)
	return storage.Grant{
		ID: l.grant, Type: storage.Password, UserID: "id-of-alice", Username: "alice", ClientID: "web",
		Scope: "read write", AccessScope: "read write", Generation: 1, Epoch: epoch,
		Access:  opaque.Adopt(opaque.Access, l.grant, legacyAccess).Digest(),
		Refresh: opaque.Adopt(opaque.Refresh, l.grant, legacyText).Digest(),
		Created: made, Issued: made, AccessExpiry: made.Add(time.Hour),
		RefreshExpiry: made.Add(24 * time.Hour), End: made.Add(240 * time.Hour),
	}, err
}

func (l *legacy) AccessGrant(ctx context.Context, text string) (storage.Grant, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault != nil {
		return storage.Grant{}, l.fault
	}
	if l.moved || l.forgotten || text != legacyAccess {
		return storage.Grant{}, fmt.Errorf("%w: legacy", storage.ErrNotFound)
	}
	return l.stands(ctx)
}

func (l *legacy) RefreshGrant(ctx context.Context, text string) (storage.Grant, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.fault != nil:
		return storage.Grant{}, false, l.fault
	case text != legacyText, l.forgotten:
		return storage.Grant{}, false, fmt.Errorf("%w: legacy", storage.ErrNotFound)
	case l.moved:
		return storage.Grant{ID: l.grant}, true, nil
	}
	g, err := l.stands(ctx)
	if then := l.afterLooking; then != nil {
		l.afterLooking = nil
		l.mu.Unlock()
		then()
		l.mu.Lock()
	}
	return g, false, err
}

func (l *legacy) AnyGrant(ctx context.Context, text string) (opaque.Kind, storage.Grant, bool, error) {
	g, err := l.AccessGrant(ctx, text)
	if !errors.Is(err, storage.ErrNotFound) {
		return opaque.Access, g, false, err
	}
	var replaced bool
	l.set(func() { replaced = l.moved && text == legacyAccess })
	if replaced {
		return opaque.Access, storage.Grant{ID: l.grant}, true, nil
	}
	g, moved, err := l.RefreshGrant(ctx, text)
	return opaque.Refresh, g, moved, err
}

func (l *legacy) Settle(_ context.Context, _ string, id storage.GrantID, access storage.Digest) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.fault != nil:
		return l.fault
	case l.forgotten, id != l.grant, l.moved && l.pair != access:
		return storage.ErrNotFound
	}
	l.moved, l.pair = true, access
	err := l.settleFault
	l.settleFault = nil
	return err
}

func (l *legacy) Forget(_ context.Context, text string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault != nil {
		return l.fault
	}
	l.forgotten = l.forgotten || text == legacyText || text == legacyAccess
	return nil
}

// kept reports whether the legacy sign-in has a grant here.
func (l *legacy) kept(t *testing.T) bool {
	t.Helper()
	_, err := l.f.store.LoadGrant(t.Context(), l.grant)
	return err == nil
}

func TestLegacyRefresh(t *testing.T) {
	f, _ := withLegacy(t)
	if !f.valid(t, legacyAccess) {
		t.Error("the access token isn't active")
	}
	wantError(t, f.post(t, refreshForm(legacyText, "scope", "admin"), asWeb), http.StatusBadRequest, "invalid_scope")
	first := wantToken(t, f.post(t, refreshForm(legacyText, "scope", "read"), asWeb))
	if first.text("scope") != "read" || !f.valid(t, first.text("access_token")) || f.valid(t, legacyAccess) {
		t.Error("want a pair of the scope read in place of the legacy one")
	}
	again := wantToken(t, f.post(t, refreshForm(legacyText, "scope", "read"), asWeb))
	if again.text("refresh_token") != first.text("refresh_token") {
		t.Error("a repetition gives another pair")
	}
	second := wantToken(t, f.post(t, refreshForm(first.text("refresh_token")), asWeb))
	if second.text("scope") != "read write" {
		t.Errorf("the scope was lost: %q", second.text("scope"))
	}
	f.advance(11 * time.Second)
	wantError(t, f.post(t, refreshForm(legacyText), asWeb), http.StatusBadRequest, "invalid_grant")
	if f.valid(t, second.text("access_token")) {
		t.Error("reuse of the legacy token ends nothing")
	}
}

// As of the server's own: see TestRevokeOfAReplacedAccessToken.
func TestLegacyAccessTokenThatWasReplaced(t *testing.T) {
	for after, want := range map[time.Duration]func(*testing.T, *fixture, answer){
		9 * time.Second:  wantDead,
		10 * time.Second: func(t *testing.T, f *fixture, a answer) { wantAlive(t, f, a) },
	} {
		t.Run(after.String(), func(t *testing.T) {
			f, _ := withLegacy(t, withoutRetries)
			pair := wantToken(t, f.post(t, refreshForm(legacyText), asWeb))
			f.advance(after)
			wantDone(t, f.revoke(t, form("token", legacyAccess), asWeb))
			want(t, f, pair)
		})
	}
}

// When the token can't be settled the request fails. A client that repeats it
// in time gets the pair.
func TestLegacyRefreshIsRepeated(t *testing.T) {
	for name, settled := range map[string]bool{"settled": true, "not settled": false} {
		t.Run(name, func(t *testing.T) {
			f, l := withLegacy(t)
			l.set(func() {
				l.settleFault = storage.ErrUnavailable
				if !settled {
					l.afterLooking = func() { l.set(func() { l.fault = storage.ErrUnavailable }) }
				}
			})
			wantError(t, f.post(t, refreshForm(legacyText), asWeb), http.StatusServiceUnavailable, "temporarily_unavailable")
			l.set(func() { l.fault, l.settleFault = nil, nil })
			got := wantToken(t, f.post(t, refreshForm(legacyText), asWeb))
			if !f.valid(t, got.text("access_token")) {
				t.Error("the pair is no good")
			}
		})
	}
}

// A token that wasn't settled in time counts as reused for good: it doesn't
// become valid again when its grant is gone.
func TestLegacyRefreshIsRepeatedTooLate(t *testing.T) {
	f, l := withLegacy(t)
	l.set(func() { l.afterLooking = func() { l.set(func() { l.fault = storage.ErrUnavailable }) } })
	wantError(t, f.post(t, refreshForm(legacyText), asWeb), http.StatusServiceUnavailable, "temporarily_unavailable")
	l.set(func() { l.fault = nil })
	f.advance(11 * time.Second)
	for range 2 {
		wantError(t, f.post(t, refreshForm(legacyText), asWeb), http.StatusBadRequest, "invalid_grant")
		if l.kept(t) {
			t.Error("the grant lives")
		}
	}
}

// A refresh has found the token when other requests end the sign-in.
func TestLegacyRefreshComesLate(t *testing.T) {
	for name, others := range map[string]func(*fixture){
		"after a refresh and a logout": func(f *fixture) {
			pair := wantToken(t, f.post(t, refreshForm(legacyText), asWeb))
			wantDone(t, f.revoke(t, form("token", pair.text("refresh_token")), asWeb))
		},
		"after a logout": func(f *fixture) {
			wantDone(t, f.revoke(t, form("token", legacyText), asWeb))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, l := withLegacy(t)
			l.set(func() { l.afterLooking = func() { others(f) } })
			wantError(t, f.post(t, refreshForm(legacyText), asWeb), http.StatusBadRequest, "invalid_grant")
			if l.kept(t) {
				t.Error("the sign-in is back")
			}
		})
	}
	t.Run("after all of the user were ended", func(t *testing.T) {
		f, l := withLegacy(t)
		l.set(func() {
			l.afterLooking = func() {
				l.set(func() { l.forgotten = true })
				if _, err := f.store.Revoke(t.Context(), storage.Target{UserID: "id-of-alice"}); err != nil {
					t.Error(err)
				}
			}
		})
		wantError(t, f.post(t, refreshForm(legacyText), asWeb), http.StatusBadRequest, "invalid_grant")
		if l.kept(t) {
			t.Error("the sign-in is back")
		}
	})
}

// The legacy store forgets the token before the grant is deleted. In the other
// order, if forgetting failed, the token would still buy another grant.
func TestLegacyRevocationFailsWhole(t *testing.T) {
	f, l := withLegacy(t, withoutRetries)
	pair := wantToken(t, f.post(t, refreshForm(legacyText), asWeb))
	l.set(func() { l.fault = storage.ErrUnavailable })
	wantError(t, f.revoke(t, form("token", legacyText), asWeb), http.StatusServiceUnavailable, "temporarily_unavailable")
	if !f.valid(t, pair.text("access_token")) {
		t.Error("the grant is gone")
	}
	l.set(func() { l.fault = nil })
	wantError(t, f.post(t, refreshForm(legacyText), asWeb), http.StatusBadRequest, "invalid_grant") // reuse
	if l.kept(t) {
		t.Error("the grant lives on")
	}
}
