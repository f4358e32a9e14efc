package authserver_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
)

const (
	spaOrigin = "https://spa.test"
	webOrigin = "https://client.test"
)

// newBrowserFixture returns a fixture in which the clients spa and web each
// list one origin.
func newBrowserFixture(t *testing.T, options ...option) *fixture {
	t.Helper()
	f := newFixture(t, options...)
	f.setOrigins(t, "spa", spaOrigin, "http://localhost:3000")
	f.setOrigins(t, "web", webOrigin)
	return f
}

func (f *fixture) setOrigins(t *testing.T, id string, origins ...string) {
	t.Helper()
	c, err := f.store.Store.LoadClient(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	c.Origins = origins
	if err := f.store.UpdateClient(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func fromOrigin(origin string) change { return header("Origin", origin) }

func (f *fixture) preflight(t *testing.T, path string, changes ...change) answer {
	t.Helper()
	return f.send(t, http.MethodOptions, path, "", append([]change{header("Access-Control-Request-Method", "POST")}, changes...)...)
}

// wantShared fails the test unless that origin, and no other, may read the
// answer, without cookies.
func wantShared(t *testing.T, a answer, origin string) {
	t.Helper()
	if got := a.header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != origin {
		t.Errorf("Access-Control-Allow-Origin is %q, want %q", got, origin)
	}
	if got := a.header.Get("Vary"); got != "Origin" {
		t.Errorf("Vary is %q, want Origin", got)
	}
	if got := a.header.Values("Access-Control-Allow-Credentials"); len(got) != 0 {
		t.Errorf("Access-Control-Allow-Credentials is %q", got)
	}
}

// wantUnshared fails the test if the answer has any CORS header.
func wantUnshared(t *testing.T, a answer) {
	t.Helper()
	for name, values := range a.header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%d %s: %s is %q", a.status, a.body, name, values)
		}
	}
}

func TestAnswersToPages(t *testing.T) {
	f := newBrowserFixture(t)
	user := passwordForm("alice", "secret123")
	spaUser := passwordForm("alice", "secret123", "client_id", "spa")

	t.Run("9700-2.6-04 a token response is for the client's origin", func(t *testing.T) {
		a := wantToken(t, f.post(t, spaUser, fromOrigin(spaOrigin)))
		wantShared(t, a, spaOrigin)
		if got, want := a.header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate, Retry-After"; got != want {
			t.Errorf("Access-Control-Expose-Headers is %q, want %q", got, want)
		}
		wantShared(t, wantToken(t, f.post(t, spaUser, fromOrigin("http://localhost:3000"))), "http://localhost:3000")
		wantShared(t, wantToken(t, f.post(t, user, asWeb, fromOrigin(webOrigin))), webOrigin)
	})
	t.Run("9700-2.6-04 so is that to a refresh, also when the client is remembered", func(t *testing.T) {
		pair := wantToken(t, f.post(t, spaUser))
		for range 2 {
			pair = wantToken(t, f.post(t, refreshForm(pair.text("refresh_token"), "client_id", "spa"), fromOrigin(spaOrigin)))
			wantShared(t, pair, spaOrigin)
		}
	})
	t.Run("9700-2.6-04 so is an error after authentication", func(t *testing.T) {
		wrong := passwordForm("alice", "wrong", "client_id", "spa")
		wantShared(t, wantError(t, f.post(t, wrong, fromOrigin(spaOrigin)), http.StatusBadRequest, "invalid_grant"), spaOrigin)
	})
	t.Run("7009-2.3-01 so is the answer to a revocation", func(t *testing.T) {
		pair := wantToken(t, f.post(t, spaUser))
		a := f.revoke(t, form("token", pair.text("refresh_token"), "client_id", "spa"), fromOrigin(spaOrigin))
		wantDone(t, a)
		wantShared(t, a, spaOrigin)
		a = f.revoke(t, form("client_id", "spa"), fromOrigin(spaOrigin))
		wantShared(t, wantError(t, a, http.StatusBadRequest, "invalid_request"), spaOrigin)
	})

	for _, origin := range []string{
		webOrigin, "https://evil.test", "null", "*", "", "HTTPS://spa.test", "https://spa.test/", "https://spa.test:443", "https://spa.test.evil.test",
		"http://spa.test", "http://localhost:3001", spaOrigin + ", " + webOrigin,
	} {
		t.Run(fmt.Sprintf("9700-2.6-04 7009-2.3-01 the origin %q is not spa's", origin), func(t *testing.T) {
			pair := wantToken(t, f.post(t, spaUser, fromOrigin(origin)))
			wantUnshared(t, pair)
			a := f.revoke(t, form("token", pair.text("refresh_token"), "client_id", "spa"), fromOrigin(origin))
			wantDone(t, a)
			wantUnshared(t, a)
		})
	}
	for name, a := range map[string]answer{
		"9700-2.6-04 without an Origin":      f.post(t, spaUser),
		"9700-2.6-04 with two of them":       f.post(t, spaUser, fromOrigin(spaOrigin), fromOrigin(spaOrigin)),
		"9700-2.6-04 after a wrong secret":   f.post(t, user, basic("web", "wrong"), fromOrigin(webOrigin)),
		"9700-2.6-04 at a malformed request": f.send(t, http.MethodPost, "/token", "a=b&a=c", fromOrigin(spaOrigin)),
		"9700-2.6-04 at POST /introspect":    f.send(t, http.MethodPost, "/introspect", "token=x", basic("rs1", "rs1-secret"), fromOrigin(webOrigin)),
	} {
		t.Run(name, func(t *testing.T) { wantUnshared(t, a) })
	}
	t.Run("7009-2.3-01 there is no JSONP", func(t *testing.T) {
		a := f.send(t, http.MethodGet, "/revoke?token=AT&callback=f", "", fromOrigin(spaOrigin))
		wantUnshared(t, wantError(t, a, http.StatusMethodNotAllowed, "invalid_request"))
	})
}

func TestPreflight(t *testing.T) {
	f := newBrowserFixture(t)
	for _, path := range []string{"/token", "/revoke"} {
		for _, origin := range []string{spaOrigin, "http://localhost:3000", webOrigin} {
			t.Run(fmt.Sprintf("9700-2.6-04 7009-2.3-01 %s lets %s POST", path, origin), func(t *testing.T) {
				a := f.preflight(t, path, fromOrigin(origin), header("Access-Control-Request-Headers", "authorization"))
				if a.status != http.StatusNoContent || len(a.body) != 0 {
					t.Errorf("got %d %s, want 204", a.status, a.body)
				}
				wantShared(t, a, origin)
				for name, want := range map[string]string{
					"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "Authorization, Content-Type", "Access-Control-Max-Age": "600",
				} {
					if got := a.header.Get(name); got != want {
						t.Errorf("%s is %q, want %q", name, got, want)
					}
				}
			})
		}
		for name, a := range map[string]answer{
			"an origin that nobody lists":  f.preflight(t, path, fromOrigin("https://evil.test")),
			"the origin null":              f.preflight(t, path, fromOrigin("null")),
			"the origin *":                 f.preflight(t, path, fromOrigin("*")),
			"two origins":                  f.preflight(t, path, fromOrigin(spaOrigin), fromOrigin(spaOrigin)),
			"no origin":                    f.preflight(t, path),
			"another method to come":       f.send(t, http.MethodOptions, path, "", fromOrigin(spaOrigin), header("Access-Control-Request-Method", "DELETE")),
			"no method to come":            f.send(t, http.MethodOptions, path, "", fromOrigin(spaOrigin)),
			"neither, with a query of one": f.send(t, http.MethodOptions, path+"?Origin="+spaOrigin, ""),
		} {
			t.Run("9700-2.6-04 7009-2.3-01 "+path+" "+name, func(t *testing.T) {
				wantUnshared(t, wantError(t, a, http.StatusMethodNotAllowed, "invalid_request"))
			})
		}
	}
	t.Run("9700-2.6-04 POST /introspect is for no page", func(t *testing.T) {
		wantUnshared(t, wantError(t, f.preflight(t, "/introspect", fromOrigin(spaOrigin)), http.StatusMethodNotAllowed, "invalid_request"))
	})
}

// listedClients counts how often the clients are listed, and can make the
// listing fail.
type listedClients struct {
	authserver.Store
	lists atomic.Int32
	down  atomic.Bool
}

func (l *listedClients) ListClients(ctx context.Context, after string, limit int) ([]storage.Client, error) {
	l.lists.Add(1)
	if l.down.Load() {
		return nil, fmt.Errorf("%w: gone", storage.ErrUnavailable)
	}
	return l.Store.ListClients(ctx, after, limit)
}

func TestPreflightsReadTheClientsSeldom(t *testing.T) {
	clients := &listedClients{}
	f := newBrowserFixture(t, func(c *authserver.Config) { clients.Store, c.Store = c.Store, clients })
	ask := func(origin string) answer { return f.preflight(t, "/token", fromOrigin(origin)) }

	t.Run("once a second, however many ask", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() { ask(fmt.Sprintf("https://made-up-%d.test", i)) })
		}
		wg.Wait()
		wantShared(t, ask(spaOrigin), spaOrigin)
		if n := clients.lists.Load(); n != 1 {
			t.Errorf("the clients were listed %d times", n)
		}
	})
	t.Run("a change is seen a second later", func(t *testing.T) {
		f.setOrigins(t, "spa", "https://new.test")
		f.advance(time.Second)
		wantShared(t, ask("https://new.test"), "https://new.test")
		wantUnshared(t, ask(spaOrigin))
	})
	t.Run("an origin that was taken away reads no answer even before that", func(t *testing.T) {
		f.setOrigins(t, "spa")
		wantShared(t, ask("https://new.test"), "https://new.test")
		wantUnshared(t, wantToken(t, f.post(t, passwordForm("alice", "secret123", "client_id", "spa"), fromOrigin("https://new.test"))))
	})
	t.Run("a store that is down is a 503 and isn't asked more often", func(t *testing.T) {
		clients.down.Store(true)
		f.advance(time.Second)
		before := clients.lists.Load()
		for range 5 {
			wantUnshared(t, wantError(t, ask(webOrigin), http.StatusServiceUnavailable, "temporarily_unavailable"))
		}
		if ev := f.events.last(t); !errors.Is(ev.Err, storage.ErrUnavailable) {
			t.Errorf("noted %v", ev.Err)
		}
		if n := clients.lists.Load() - before; n != 1 {
			t.Errorf("the clients were listed %d times", n)
		}
		clients.down.Store(false)
		f.advance(time.Second)
		wantShared(t, ask(webOrigin), webOrigin)
	})
}

func TestPreflightsReadManyClients(t *testing.T) {
	f := newBrowserFixture(t)
	for i := range 600 { // more than a page
		c := storage.Client{ID: fmt.Sprintf("many-%03d", i), Public: true, Origins: []string{fmt.Sprintf("https://app-%d.test", i)}}
		if err := f.store.CreateClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for _, origin := range []string{"https://app-0.test", "https://app-599.test", webOrigin} {
		wantShared(t, f.preflight(t, "/token", fromOrigin(origin)), origin)
	}
}
