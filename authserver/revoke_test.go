package authserver_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

func (f *fixture) revoke(t *testing.T, body url.Values, changes ...change) answer {
	t.Helper()
	return f.send(t, http.MethodPost, "/revoke", body.Encode(), changes...)
}

// wantDone fails the test unless the answer is the one of RFC 7009 section 2.2:
// all that is not an error looks like this.
func wantDone(t *testing.T, a answer) {
	t.Helper()
	if a.status != http.StatusOK || len(a.body) != 0 {
		t.Fatalf("got %d %s, want 200 without a body", a.status, a.body)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q, want no-store", got)
	}
}

// wantDead fails the test unless neither token of the pair can be used.
func wantDead(t *testing.T, f *fixture, pair answer) {
	t.Helper()
	if f.valid(t, pair.text("access_token")) {
		t.Error("the access token still works")
	}
	wantError(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb), http.StatusBadRequest, "invalid_grant")
}

// wantAlive fails the test unless both tokens of the pair can be used; it uses
// the refresh token.
func wantAlive(t *testing.T, f *fixture, pair answer) answer {
	t.Helper()
	if !f.valid(t, pair.text("access_token")) {
		t.Error("the access token is dead")
	}
	return wantToken(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb))
}

// watchedStore counts look-ups of grants and can fail to delete one.
type watchedStore struct {
	authserver.Store
	lookups  atomic.Int32
	noDelete atomic.Bool
}

func (s *watchedStore) LoadGrant(ctx context.Context, id storage.GrantID) (storage.Grant, error) {
	s.lookups.Add(1)
	return s.Store.LoadGrant(ctx, id)
}

func (s *watchedStore) LoadRetry(ctx context.Context, id storage.GrantID) (storage.Retry, error) {
	s.lookups.Add(1)
	return s.Store.LoadRetry(ctx, id)
}

func (s *watchedStore) DeleteGrant(ctx context.Context, id storage.GrantID) error {
	if s.noDelete.Load() {
		return storage.ErrUnavailable
	}
	return s.Store.DeleteGrant(ctx, id)
}

// watched puts s between the server and its store.
func watched(s *watchedStore) option {
	return func(c *authserver.Config) { s.Store, c.Store = c.Store, s }
}

// secondServer starts another server on the fixture's store.
func (f *fixture) secondServer(t *testing.T, c authserver.Config) *fixture {
	t.Helper()
	s, err := authserver.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return &fixture{url: server.URL, store: f.store, keys: f.keys, events: f.events, clock: f.now()}
}

func TestRevoke(t *testing.T) {
	var config authserver.Config
	f := newFixture(t, func(c *authserver.Config) { config = *c })
	other := f.secondServer(t, config)

	t.Run("7009-2.1-08 7009-2.2-01 an access token is dead at once, on every server", func(t *testing.T) {
		pair := signIn(t, f)
		wantActive(t, other, pair.text("access_token"))
		wantDone(t, f.revoke(t, form("token", pair.text("access_token")), asWeb))
		wantInactive(t, f, pair.text("access_token"))
		wantInactive(t, other, pair.text("access_token"))
	})
	t.Run("7009-2.1-09 a refresh token takes its access token along, and no other grant", func(t *testing.T) {
		pair, another := signIn(t, f), signIn(t, f)
		wantDone(t, f.revoke(t, form("token", pair.text("refresh_token")), asWeb))
		wantDead(t, f, pair)
		wantAlive(t, f, another)
	})
	t.Run("7009-2.1-10 an access token takes its refresh token along, and no other grant", func(t *testing.T) {
		pair, another := signIn(t, f), signIn(t, f)
		wantDone(t, f.revoke(t, form("token", pair.text("access_token")), asWeb))
		wantDead(t, f, pair)
		wantAlive(t, f, another)
	})
	t.Run("7009-2.1-11 all generations of a grant end together", func(t *testing.T) {
		first := signIn(t, f)
		second := wantToken(t, f.post(t, refreshForm(first.text("refresh_token")), asWeb))
		wantDone(t, f.revoke(t, form("token", second.text("refresh_token")), asWeb))
		wantDead(t, f, first) // also within the retry window
		wantDead(t, f, second)
	})
	t.Run("an access token of the client credentials grant", func(t *testing.T) {
		svc := basic("svc", "s3cret3")
		token := wantToken(t, f.post(t, form("grant_type", "client_credentials"), svc)).text("access_token")
		wantDone(t, f.revoke(t, form("token", token), svc))
		wantInactive(t, f, token)
	})
	t.Run("a client that has lost its grant types can still log out", func(t *testing.T) {
		pair := signIn(t, f)
		web, err := f.store.LoadClient(t.Context(), "web")
		if err != nil {
			t.Fatal(err)
		}
		before := web.Grants
		web.Grants = nil
		if err := f.store.UpdateClient(t.Context(), web); err != nil {
			t.Fatal(err)
		}
		wantDone(t, f.revoke(t, form("token", pair.text("refresh_token")), asWeb))
		wantInactive(t, f, pair.text("access_token"))
		web.Grants, web.Revision = before, web.Revision+1
		if err := f.store.UpdateClient(t.Context(), web); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("the log is told whose grant ended", func(t *testing.T) {
		wantDone(t, f.revoke(t, form("token", signIn(t, f).text("refresh_token")), asWeb))
		if ev := f.events.last(t); ev.ClientID != "web" || ev.UserID != "id-of-alice" || ev.GrantID == "" || ev.Err != nil {
			t.Errorf("noted %+v", ev)
		}
	})
}

func TestRevokeIgnoresTheHint(t *testing.T) {
	f := newFixture(t)
	for _, hint := range []string{"access_token", "refresh_token", "banana", "", "grt_é"} {
		for _, kind := range []string{"access_token", "refresh_token"} {
			t.Run("7009-2.1-06 7009-2.1-07 7009-2.2.1-02 an "+kind+" with the hint "+hint, func(t *testing.T) {
				pair := signIn(t, f)
				wantDone(t, f.revoke(t, form("token", pair.text(kind), "token_type_hint", hint), asWeb))
				wantDead(t, f, pair)
			})
		}
		t.Run("7009-2.2-03 garbage with the hint "+hint, func(t *testing.T) {
			wantDone(t, f.revoke(t, form("token", "garbage", "token_type_hint", hint), asWeb))
		})
	}
}

func TestRevokeOfADeadToken(t *testing.T) {
	f := newFixture(t)
	pair := signIn(t, f)
	forgery := func(kind opaque.Kind) string { // tagged under the deployment key, but never issued
		token, err := f.keys.Parse(opaque.Access, pair.text("access_token"))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := f.keys.Mint(kind, token.Grant, token.Generation)
		return text
	}
	for name, token := range map[string]string{
		"garbage":                            "garbage",
		"4 kB of random text":                rand.Text() + string(make4k()),
		"another kind's prefix":              "gac_" + pair.text("access_token")[4:],
		"an access token as a refresh token": "grt_" + pair.text("access_token")[4:],
		"one character changed":              changed(pair.text("refresh_token")),
		"cut short":                          pair.text("refresh_token")[:60],
		"of a grant that never was":          mint(t, f.keys),
		"an access token never issued":       forgery(opaque.Access),
		"a refresh token never issued":       forgery(opaque.Refresh),
	} {
		t.Run("7009-2.2-02 "+name, func(t *testing.T) {
			wantDone(t, f.revoke(t, form("token", token), asWeb))
		})
	}
	t.Run("and the grant lives on", func(t *testing.T) { pair = wantAlive(t, f, pair) })

	t.Run("7009-2.2-02 twice the same", func(t *testing.T) {
		gone := signIn(t, f)
		for range 2 {
			wantDone(t, f.revoke(t, form("token", gone.text("refresh_token")), asWeb))
		}
	})
	t.Run("7009-2.2-02 an access token that was replaced a while ago ends nothing", func(t *testing.T) {
		next := wantToken(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb))
		f.advance(10 * time.Second)
		wantDone(t, f.revoke(t, form("token", pair.text("access_token")), asWeb))
		pair = wantAlive(t, f, next)
	})
	t.Run("7009-2.2-02 an expired access token ends nothing", func(t *testing.T) {
		f.advance(time.Hour) // expires_in is 3600
		wantDone(t, f.revoke(t, form("token", pair.text("access_token")), asWeb))
		pair = wantToken(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb))
	})
	t.Run("a refresh token whose access token has expired ends the grant", func(t *testing.T) {
		late := signIn(t, f)
		f.advance(2 * time.Hour)
		wantDone(t, f.revoke(t, form("token", late.text("refresh_token")), asWeb))
		wantDead(t, f, late)
	})
	t.Run("7009-2.2-02 an expired refresh token ends nothing", func(t *testing.T) {
		f := newFixture(t, func(c *authserver.Config) { c.RefreshIdle = time.Minute })
		idle := signIn(t, f)
		f.advance(time.Minute)
		wantDone(t, f.revoke(t, form("token", idle.text("refresh_token")), asWeb))
		wantActive(t, f, idle.text("access_token"))
	})
	t.Run("7009-2.2-02 a token of an expired grant", func(t *testing.T) {
		f.advance(14 * 24 * time.Hour)
		wantDone(t, f.revoke(t, form("token", pair.text("refresh_token")), asWeb))
	})
}

func make4k() []byte {
	b := make([]byte, 4<<10)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return b
}

// changed flips a bit in the middle of the token's secret.
func changed(token string) string {
	b := []byte(token)
	if b[50] == 'A' {
		b[50] = 'B'
	} else {
		b[50] = 'A'
	}
	return string(b)
}

// A client that lost the answer to its refresh has nothing to log out with but
// the refresh token that it spent. Later a spent refresh token ends its grant as
// it does at the token endpoint, because somebody else may hold the successor.
func TestRevokeOfASpentRefreshToken(t *testing.T) {
	t.Run("within the retry window it ends the grant", func(t *testing.T) {
		f := newFixture(t)
		first := signIn(t, f)
		second := wantToken(t, f.post(t, refreshForm(first.text("refresh_token")), asWeb))
		f.advance(9 * time.Second)
		wantDone(t, f.revoke(t, form("token", first.text("refresh_token")), asWeb))
		wantDead(t, f, second)
	})
	t.Run("after it, it ends the grant", func(t *testing.T) {
		f := newFixture(t)
		first := signIn(t, f)
		second := wantToken(t, f.post(t, refreshForm(first.text("refresh_token")), asWeb))
		f.advance(10 * time.Second)
		wantDone(t, f.revoke(t, form("token", first.text("refresh_token")), asWeb))
		wantDead(t, f, second)
	})
	t.Run("once its successor was spent, it ends the grant", func(t *testing.T) {
		f := newFixture(t)
		first := signIn(t, f)
		second := wantToken(t, f.post(t, refreshForm(first.text("refresh_token")), asWeb))
		third := wantToken(t, f.post(t, refreshForm(second.text("refresh_token")), asWeb))
		wantDone(t, f.revoke(t, form("token", first.text("refresh_token")), asWeb))
		wantDead(t, f, third)
	})
	t.Run("a forgery of its generation ends nothing", func(t *testing.T) {
		f := newFixture(t)
		first := signIn(t, f)
		second := wantToken(t, f.post(t, refreshForm(first.text("refresh_token")), asWeb))
		spent, err := f.keys.Parse(opaque.Refresh, first.text("refresh_token"))
		if err != nil {
			t.Fatal(err)
		}
		forged, _ := f.keys.Mint(opaque.Refresh, spent.Grant, spent.Generation)
		wantDone(t, f.revoke(t, form("token", forged), asWeb))
		wantAlive(t, f, second)
	})
	t.Run("without a retry window it ends the grant", func(t *testing.T) {
		f := newFixture(t, withoutRetries)
		first := signIn(t, f)
		second := wantToken(t, f.post(t, refreshForm(first.text("refresh_token")), asWeb))
		wantDone(t, f.revoke(t, form("token", first.text("refresh_token")), asWeb))
		wantDead(t, f, second)
	})
}

func TestRevokeOfAnotherClientsSpentToken(t *testing.T) {
	f := newFixture(t)
	first := signIn(t, f)
	second := wantToken(t, f.post(t, refreshForm(first.text("refresh_token")), asWeb))
	for _, kind := range []string{"access_token", "refresh_token"} {
		wantError(t, f.revoke(t, form("token", first.text(kind)), basic("web2", "s3cret2")), http.StatusBadRequest, "invalid_grant")
	}
	f.advance(10 * time.Second)
	wantDone(t, f.revoke(t, form("token", first.text("access_token")), basic("web2", "s3cret2")))
	wantError(t, f.revoke(t, form("token", first.text("refresh_token")), basic("web2", "s3cret2")), http.StatusBadRequest, "invalid_grant")
	wantAlive(t, f, second)
}

// A logout with the access token may come just behind a refresh of the same client.
func TestRevokeOfAReplacedAccessToken(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		times int // that the grant is refreshed
		want  func(*testing.T, *fixture, answer)
	}{
		"just replaced, it ends the grant":        {9 * time.Second, 1, wantDead},
		"replaced long ago, it ends nothing":      {10 * time.Second, 1, func(t *testing.T, f *fixture, a answer) { wantAlive(t, f, a) }},
		"replaced by two others, it ends nothing": {0, 2, func(t *testing.T, f *fixture, a answer) { wantAlive(t, f, a) }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, withoutRetries)
			first := signIn(t, f)
			last := first
			for range c.times {
				last = wantToken(t, f.post(t, refreshForm(last.text("refresh_token")), asWeb))
			}
			f.advance(c.after)
			wantDone(t, f.revoke(t, form("token", first.text("access_token")), asWeb))
			c.want(t, f, last)
		})
	}
}

func TestRevokeAuthenticatesTheClient(t *testing.T) {
	f := newFixture(t)
	web := signIn(t, f)
	spa := wantToken(t, f.post(t, passwordForm("alice", "secret123", "client_id", "spa")))
	token := form("token", web.text("access_token"))

	for name, send := range map[string]func() answer{
		"no credentials": func() answer { return f.revoke(t, token) },
		"wrong secret":   func() answer { return f.revoke(t, token, basic("web", "bad")) },
		"6749-10.2-01 no secret": func() answer {
			return f.revoke(t, form("token", web.text("access_token"), "client_id", "web"))
		},
		"unknown client": func() answer { return f.revoke(t, token, basic("ghost", "x")) },
		"the token as Bearer": func() answer {
			return f.revoke(t, token, header("Authorization", "Bearer "+web.text("access_token")))
		},
		"7009-2.1-04 a public client that doesn't name itself": func() answer {
			return f.revoke(t, form("token", spa.text("access_token")))
		},
		"wrong secret and no token": func() answer { return f.revoke(t, form(), basic("web", "bad")) },
	} {
		t.Run("7009-2.1-03 "+name, func(t *testing.T) {
			a := wantError(t, send(), http.StatusUnauthorized, "invalid_client")
			if got := a.header.Get("WWW-Authenticate"); got != `Basic realm="grantd", charset="UTF-8"` {
				t.Errorf("WWW-Authenticate is %q", got)
			}
		})
	}

	for name, send := range map[string]func() answer{
		"7009-2.1-05 a confidential client's, by another one": func() answer { return f.revoke(t, token, basic("web2", "s3cret2")) },
		"7009-2.1-05 its refresh token": func() answer {
			return f.revoke(t, form("token", web.text("refresh_token")), basic("web2", "s3cret2"))
		},
		"7009-2.1-05 a confidential client's, by a public one": func() answer {
			return f.revoke(t, form("token", web.text("access_token"), "client_id", "spa"))
		},
		"7009-2.1-05 a public client's, by another one": func() answer {
			return f.revoke(t, form("token", spa.text("access_token"), "client_id", "cli"))
		},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, send(), http.StatusBadRequest, "invalid_grant") })
	}
	t.Run("and both grants live on", func(t *testing.T) {
		if !f.valid(t, spa.text("access_token")) {
			t.Error("the public client's access token is dead")
		}
		wantAlive(t, f, web)
	})
	t.Run("another client's dead token looks like any dead one", func(t *testing.T) {
		f.advance(10 * time.Second)
		wantDone(t, f.revoke(t, form("token", web.text("access_token")), basic("web2", "s3cret2"))) // replaced
	})
	t.Run("7009-2.1-04 a public client by its id", func(t *testing.T) {
		wantDone(t, f.revoke(t, form("token", spa.text("refresh_token"), "client_id", "spa")))
		wantInactive(t, f, spa.text("access_token"))
	})
	t.Run("credentials in the body", func(t *testing.T) {
		pair := signIn(t, f)
		wantDone(t, f.revoke(t, form("token", pair.text("refresh_token"), "client_id", "web", "client_secret", webSecret)))
		wantDead(t, f, pair)
	})
}

func TestRevokeRequest(t *testing.T) {
	f := newFixture(t)
	pair := signIn(t, f)
	token := pair.text("access_token")
	body := form("token", token).Encode()

	for name, body := range map[string]string{
		"no token":        "token_type_hint=access_token",
		"an empty token":  "token=",
		"an empty body":   "",
		"two tokens":      body + "&token=x",
		"two hints":       body + "&token_type_hint=a&token_type_hint=b",
		"does not decode": body + "&x=%zz",
	} {
		t.Run("7009-2.1-01 7009-2.2.1-01 "+name, func(t *testing.T) {
			a := wantError(t, f.send(t, http.MethodPost, "/revoke", body, asWeb), http.StatusBadRequest, "invalid_request")
			if got := a.header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type is %q", got)
			}
		})
	}
	t.Run("7009-2.1-02 the query is not read", func(t *testing.T) {
		wantError(t, f.send(t, http.MethodPost, "/revoke?"+body, "", asWeb), http.StatusBadRequest, "invalid_request")
	})
	t.Run("7009-2.1-02 JSON is refused", func(t *testing.T) {
		json := func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }
		a := f.send(t, http.MethodPost, "/revoke", `{"token":"`+token+`"}`, asWeb, json)
		wantError(t, a, http.StatusUnsupportedMediaType, "invalid_request") // the same as at /token
	})
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		t.Run("7009-2-01 7009-2.3-01 "+method+" is refused", func(t *testing.T) {
			a := wantError(t, f.send(t, method, "/revoke?callback=f&"+body, "", asWeb), http.StatusMethodNotAllowed, "invalid_request")
			if a.header.Get("Allow") != http.MethodPost {
				t.Errorf("Allow is %q", a.header.Get("Allow"))
			}
		})
	}
	t.Run("none of that ended the grant", func(t *testing.T) { pair = wantAlive(t, f, pair) })
	t.Run("unknown parameters are ignored", func(t *testing.T) {
		wantDone(t, f.revoke(t, form("token", pair.text("refresh_token"), "foo", "bar"), asWeb))
		wantDead(t, f, pair)
	})
}

func TestRevokeWithoutAStore(t *testing.T) {
	store := &watchedStore{}
	f := newFixture(t, watched(store))
	pair := signIn(t, f)
	unavailable := func(t *testing.T) {
		a := wantError(t, f.revoke(t, form("token", pair.text("refresh_token")), asWeb), http.StatusServiceUnavailable, "temporarily_unavailable")
		if a.header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
		}
	}
	t.Run("7009-2.2.1-03 nothing can be read", func(t *testing.T) {
		f.store.set(func(s *faultyStore) { s.fault = storage.ErrUnavailable })
		unavailable(t)
		f.store.set(func(s *faultyStore) { s.fault = nil })
	})
	t.Run("7009-2.2.1-03 the grant can't be deleted", func(t *testing.T) {
		store.noDelete.Store(true)
		unavailable(t)
		store.noDelete.Store(false)
	})
	t.Run("7009-2.2.1-03 the token was valid all the time, and the next try ends it", func(t *testing.T) {
		if !f.valid(t, pair.text("access_token")) {
			t.Error("the access token is dead")
		}
		wantDone(t, f.revoke(t, form("token", pair.text("refresh_token")), asWeb))
		wantDead(t, f, pair)
	})
}

func TestRevokeLooksUpLittle(t *testing.T) {
	store := &watchedStore{}
	f := newFixture(t, watched(store))
	pair := signIn(t, f)
	next := wantToken(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb))

	for name, c := range map[string]struct {
		token string
		most  int32
	}{
		"garbage is looked up nowhere":       {"garbage", 0},
		"a wrong tag is looked up nowhere":   {changed(next.text("refresh_token")), 0},
		"a replaced access token once":       {pair.text("access_token"), 1},
		"another client's access token once": {next.text("access_token"), 1},
		"a spent refresh token twice":        {pair.text("refresh_token"), 2},
	} {
		for _, hint := range []string{"", "access_token", "refresh_token", "banana"} {
			t.Run("7009-5-02 "+name+", hint "+hint, func(t *testing.T) {
				before := store.lookups.Load()
				f.revoke(t, form("token", c.token, "token_type_hint", hint), basic("web2", "s3cret2"))
				if got := store.lookups.Load() - before; got > c.most {
					t.Errorf("%d look-ups, want %d at most", got, c.most)
				}
			})
		}
	}
}

// Whatever comes first, when the revocation is answered nothing of the grant is
// left, and no refresh brings it back.
func TestRevokeBesideRefreshes(t *testing.T) {
	f := newFixture(t)
	for i := range 100 {
		pair := signIn(t, f)
		token := pair.text([]string{"refresh_token", "access_token"}[i%2])
		var refreshed, revoked answer
		var wg sync.WaitGroup
		wg.Go(func() { refreshed = f.post(t, refreshForm(pair.text("refresh_token")), asWeb) })
		wg.Go(func() { revoked = f.revoke(t, form("token", token), asWeb) })
		wg.Wait()
		wantDone(t, revoked)
		if refreshed.status == http.StatusOK {
			wantDead(t, f, refreshed)
		}
	}
	if n := f.grants(t); n != 0 {
		t.Errorf("%d grants live on", n)
	}
}
