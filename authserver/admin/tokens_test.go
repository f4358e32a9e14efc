package admin_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/opaque"
)

func (f *fixture) inspect(t *testing.T, text string) (info admin.TokenInfo) {
	t.Helper()
	a := f.send(t, "POST", "/tokens/inspect", `{"token":"`+text+`"}`).want(t, http.StatusOK)
	a.into(t, &info)
	if strings.Contains(a.body, text) {
		t.Errorf("the token is repeated: %s", a.body)
	}
	return info
}

// The API tells whose token a text is as long as the grant lives, even if the
// token was replaced.
func TestWhatATokenIs(t *testing.T) {
	keys := keyring(t)
	f := newFixture(t, func(c *admin.Config) { c.Tokens = keys })
	id := storage.NewGrantID("usr_alice")
	access, accessDigest := keys.Mint(opaque.Access, id, 2)
	refresh, refreshDigest := keys.Mint(opaque.Refresh, id, 2)
	replaced, _ := keys.Mint(opaque.Refresh, id, 1)
	forged, _ := keyring(t).Mint(opaque.Access, id, 2)
	err := f.store.CreateGrant(t.Context(), storage.Grant{
		ID: id, Type: storage.Password, UserID: "usr_alice", Username: "alice", ClientID: "web", Scope: "read", AccessScope: "read",
		Generation: 2, Access: accessDigest, Refresh: refreshDigest, Epoch: must(f.store.Epoch(t.Context(), id)),
		Created: f.now(), Issued: f.now(), AccessExpiry: f.now().Add(time.Hour), RefreshExpiry: f.now().Add(2 * time.Hour), End: f.now().Add(3 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	check := func(when, name, text, kind string, active, lives bool) {
		t.Helper()
		got := f.inspect(t, text)
		if got.Kind != kind || got.Active != active || (got.Grant != nil) != lives {
			t.Errorf("%s, %s: %+v", when, name, got)
		}
		if lives && (got.Grant.ID != id.String() || got.Grant.Username != "alice" || got.Grant.ClientID != "web") {
			t.Errorf("%s, %s is of %+v", when, name, got.Grant)
		}
	}
	check("at first", "the access token", access, "access", true, true)
	check("at first", "the refresh token", refresh, "refresh", true, true)
	check("at first", "one that was replaced", replaced, "refresh", false, true)
	check("at first", "one made with another key", forged, "unknown", false, false)
	check("at first", "another text", "hunter2", "unknown", false, false)
	f.setClock(f.now().Add(time.Hour))
	check("an hour later", "the access token", access, "access", false, true)
	check("an hour later", "the refresh token", refresh, "refresh", true, true)
	if err := f.store.DeleteGrant(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	check("when it has ended", "the access token", access, "access", false, false)
	check("when it has ended", "the refresh token", refresh, "refresh", false, false)
	if events := f.events.all(); len(events) > 0 {
		t.Errorf("asking did something: %+v", events)
	}
}

// So it does of a token of another server, once a refresh replaced it too.
func TestWhatATokenOfAnotherServerIs(t *testing.T) {
	l := &legacy{access: "OLD-ACCESS", refresh: "OLD-REFRESH"}
	w := newWorld(t, func(c *admin.Config) { c.Legacy = l })
	l.grant = storage.Grant{ID: w.grants["alice-web"], UserID: w.ids["alice"], Username: "alice", ClientID: "web", Created: w.now()}
	for _, moved := range []bool{false, true} {
		l.moved = moved
		for text, kind := range map[string]string{"OLD-ACCESS": "access", "OLD-REFRESH": "refresh"} {
			got := w.inspect(t, text)
			if got.Kind != kind || got.Active == moved || got.Grant == nil || got.Grant.ID != l.grant.ID.String() || got.Grant.ClientID != "web" {
				t.Errorf("%s, moved %t: %+v", text, moved, got)
			}
		}
	}
	if err := w.store.DeleteGrant(t.Context(), l.grant.ID); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"OLD-ACCESS", "OLD-REFRESH", "NOBODYS"} {
		if got := w.inspect(t, text); got != (admin.TokenInfo{Kind: "unknown"}) {
			t.Errorf("%s, when its grant has ended: %+v", text, got)
		}
	}
	l.down = true
	w.send(t, "POST", "/tokens/inspect", `{"token":"OLD-ACCESS"}`).problem(t, 503, "unavailable")
}

// grantd migrate moves tokens that nobody has refreshed: they stay good.
func TestATokenOfAnotherServerThatMovedUnspentIsActive(t *testing.T) {
	keys := keyring(t)
	l := &legacy{access: "OLD-ACCESS", refresh: "OLD-REFRESH", moved: true}
	f := newFixture(t, func(c *admin.Config) { c.Tokens, c.Legacy = keys, l })
	id := storage.NewGrantID("usr_alice")
	l.grant = storage.Grant{
		ID: id, Type: storage.Password, UserID: "usr_alice", Username: "alice", ClientID: "web", Scope: "read", AccessScope: "read",
		Generation: 1, Epoch: must(f.store.Epoch(t.Context(), id)),
		Access:  opaque.Adopt(opaque.Access, id, l.access).Digest(),
		Refresh: opaque.Adopt(opaque.Refresh, id, l.refresh).Digest(),
		Created: f.now(), Issued: f.now(), AccessExpiry: f.now().Add(time.Hour), RefreshExpiry: f.now().Add(2 * time.Hour), End: f.now().Add(3 * time.Hour),
	}
	if err := f.store.CreateGrant(t.Context(), l.grant); err != nil {
		t.Fatal(err)
	}
	f.setClock(f.now().Add(time.Hour))
	for text, active := range map[string]bool{l.access: false, l.refresh: true} {
		if got := f.inspect(t, text); got.Active != active || got.Grant == nil {
			t.Errorf("%s, when the access token has expired: %+v", text, got)
		}
	}
}

// outdated returns a keyring that couldn't be loaded anew for so long that it
// may lack new keys.
func outdated(t *testing.T) (r *opaque.Keyring) {
	t.Helper()
	sealer := newSealer(t)
	synctest.Test(t, func(t *testing.T) {
		s, err := embedded.Open(embedded.Memory)
		if err != nil {
			t.Fatal(err)
		}
		loader := opaque.NewLoader(s, sealer)
		for range 2 {
			if r, err = loader.Keyring(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.Close()
			time.Sleep(time.Minute)
		}
	})
	return r
}

// While a token may be one of this server's, the answer must not deny it:
// whoever found the token would take it for harmless.
func TestATokenOfAKeyThatMayBeNew(t *testing.T) {
	known := outdated(t)
	f := newFixture(t, func(c *admin.Config) { c.Tokens = known })
	others, err := opaque.NewKeyring(opaque.NewKey(2))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []opaque.Kind{opaque.Access, opaque.Refresh} {
		text, _ := others.Mint(kind, storage.NewGrantID("usr_alice"), 1)
		f.send(t, "POST", "/tokens/inspect", `{"token":"`+text+`"}`).want(t, http.StatusServiceUnavailable)
		f.send(t, "POST", "/revocations", `{"token":"`+text+`"}`).want(t, http.StatusServiceUnavailable)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestMalformedInspection(t *testing.T) {
	f := newFixture(t, func(c *admin.Config) { c.Tokens = keyring(t) })
	for body, fields := range map[string][]string{
		`{}`: {"token"}, `{"token":""}`: {"token"}, `{"token":1}`: {"token"}, `{"token":"x","kind":"access"}`: {"kind"},
	} {
		f.send(t, "POST", "/tokens/inspect", body).problem(t, http.StatusBadRequest, "invalid_field", fields...)
	}
	f.send(t, "GET", "/tokens/inspect", "").problem(t, http.StatusMethodNotAllowed, "method_not_allowed")
	without := newFixture(t)
	without.send(t, "POST", "/tokens/inspect", `{"token":"x"}`).problem(t, http.StatusConflict, "conflict")
}
