package authserver_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

// countingUsers counts the look-ups of users.
type countingUsers struct {
	authserver.Store
	lookups atomic.Int32
}

func (c *countingUsers) LoadUser(ctx context.Context, name string) (storage.User, error) {
	c.lookups.Add(1)
	return c.Store.LoadUser(ctx, name)
}

// turnStrict returns a fixture whose server has the strict profile. It also
// returns the tokens that alice got before, through web and spa, from a server
// with the default profile on the same store.
func turnStrict(t *testing.T) (f *fixture, web, spa answer) {
	t.Helper()
	var c authserver.Config
	f = newFixture(t, func(own *authserver.Config) { c = *own })
	web = signIn(t, f)
	spa = wantToken(t, f.post(t, passwordForm("alice", "secret123", "client_id", "spa")))
	c.Strict = true
	s, err := authserver.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	f.url = server.URL
	return f, web, spa
}

func TestStrictProfileHasNoPasswordGrant(t *testing.T) {
	users := &countingUsers{}
	var hasher *passhash.Hasher
	f := newFixture(t, func(c *authserver.Config) {
		c.Strict, c.DefaultClient, hasher = true, "spa", c.Passwords
		users.Store, c.Store = c.Store, users
	})
	hashed := hasher.Uses() // the hashes so far, made for the users of the fixture
	for name, send := range map[string]func() answer{
		"of a confidential client":   func() answer { return f.post(t, passwordForm("alice", "secret123"), asWeb) },
		"of a public client":         func() answer { return f.post(t, passwordForm("alice", "secret123", "client_id", "spa")) },
		"of an unknown user":         func() answer { return f.post(t, passwordForm("nobody", "secret123"), asWeb) },
		"without username, password": func() answer { return f.post(t, form("grant_type", "password"), asWeb) },
		"of a client without it":     func() answer { return f.post(t, passwordForm("alice", "secret123"), basic("svc", "s3cret3")) },
		"without a client":           func() answer { return f.post(t, passwordForm("alice", "secret123")) },
		"as a username and a password alone": func() answer {
			return f.post(t, form("username", "alice", "password", "secret123"))
		},
	} {
		t.Run("9700-2.4-01 21-10-01 the password grant "+name, func(t *testing.T) {
			wantError(t, send(), http.StatusBadRequest, "unsupported_grant_type")
		})
	}
	t.Run("9700-2.4-01 no user is looked up and nothing is hashed", func(t *testing.T) {
		if n := users.lookups.Load(); n != 0 {
			t.Errorf("%d users were looked up", n)
		}
		if n := hasher.Uses() - hashed; n != 0 {
			t.Errorf("%d passwords were hashed", n)
		}
	})
	t.Run("6749-3.2.1-01 the client is still authenticated first", func(t *testing.T) {
		wantError(t, f.post(t, passwordForm("alice", "secret123"), basic("web", "wrong")), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("6749-4.4-01 21-4.2-01 client_credentials are offered, to confidential clients only", func(t *testing.T) {
		wantToken(t, f.post(t, form("grant_type", "client_credentials"), basic("svc", "s3cret3")))
		wantError(t, f.post(t, form("grant_type", "client_credentials", "client_id", "cli")), http.StatusBadRequest, "unauthorized_client")
	})
}

func TestDefaultProfileHasThePasswordGrantForFlaggedClients(t *testing.T) {
	f := newFixture(t)
	t.Run("9700-2.4-01 a client that was given the grant may use it, and it is noted", func(t *testing.T) {
		signIn(t, f)
		if ev := f.events.last(t); ev.GrantType != "password" || ev.ClientID != "web" {
			t.Errorf("noted %+v", ev)
		}
	})
	t.Run("9700-2.4-01 a client that wasn't may not", func(t *testing.T) {
		wantError(t, f.post(t, passwordForm("alice", "secret123"), basic("web2", "s3cret2")), http.StatusBadRequest, "unauthorized_client")
	})
}

func TestStrictProfileAndRefresh(t *testing.T) {
	asSPA := func(token string) url.Values { return refreshForm(token, "client_id", "spa") }

	t.Run("a sign-in from before lives on", func(t *testing.T) {
		f, web, spa := turnStrict(t)
		wantToken(t, f.post(t, refreshForm(web.text("refresh_token")), asWeb))
		wantToken(t, f.post(t, asSPA(spa.text("refresh_token"))))
	})
	t.Run("9700-2.2.2-01 9700-4.14.2-03 21-4.3.1-02 a public client's spent refresh token is reuse at once", func(t *testing.T) {
		f, _, spa := turnStrict(t)
		second := wantToken(t, f.post(t, asSPA(spa.text("refresh_token"))))
		wantError(t, f.post(t, asSPA(spa.text("refresh_token"))), http.StatusBadRequest, "invalid_grant")
		wantError(t, f.post(t, asSPA(second.text("refresh_token"))), http.StatusBadRequest, "invalid_grant")
		if f.valid(t, second.text("access_token")) {
			t.Error("the access token of the grant still works")
		}
	})
	t.Run("a confidential client may repeat a refresh and gets the same pair", func(t *testing.T) {
		f, web, _ := turnStrict(t)
		second := wantToken(t, f.post(t, refreshForm(web.text("refresh_token")), asWeb))
		again := wantToken(t, f.post(t, refreshForm(web.text("refresh_token")), asWeb))
		if again.text("refresh_token") != second.text("refresh_token") {
			t.Error("another pair")
		}
	})
}
