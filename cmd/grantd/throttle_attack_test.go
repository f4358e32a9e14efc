package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// signInAs tries to sign in at the server, with from as X-Forwarded-For, or
// without that header if from is empty.
func signInAs(t *testing.T, base, from, username, password string) (status int, retry string) {
	t.Helper()
	return askFrom(t, base, from, "web", secret32, passwordForm(username, password, ""))
}

// askFrom sends a token request with that X-Forwarded-For, or without it.
func askFrom(t *testing.T, base, from, client, secret string, form url.Values) (status int, retry string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(client, secret)
	if from != "" {
		r.Header.Set("X-Forwarded-For", from)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer response.Body.Close()
	return response.StatusCode, response.Header.Get("Retry-After")
}

// throttledSite is serve, which can be started again, or several times at once.
type throttledSite struct{ launch }

func newThrottledSite(t *testing.T, env ...string) throttledSite {
	t.Helper()
	l := launch{dir: t.TempDir(), env: append(append(serveEnv, "GRANTD_ADMIN_PASSWORD="+sitePassword, cheapHash[0], cheapHash[1]), env...)}
	l.args = []string{"client", "add", "web", "--grant", "password", "--secret-file", writeFile(t, "secret", secret32)}
	must(t, l)
	l.args = []string{"serve"}
	return throttledSite{l}
}

// onBothStores runs the test on a file and on Redis.
func onBothStores(t *testing.T, run func(t *testing.T, s throttledSite)) {
	t.Run("embedded", func(t *testing.T) {
		run(t, newThrottledSite(t, "GRANTD_DATA=grantd.db", "GRANTD_TRUSTED_PROXIES=127.0.0.1"))
	})
	t.Run("redis", func(t *testing.T) {
		server := redistest.Single(t)
		run(t, newThrottledSite(t, "GRANTD_REDIS_URL="+server.URL(), "GRANTD_TRUSTED_PROXIES=127.0.0.1"))
	})
}

func TestGuessingAtTheWholeProgram(t *testing.T) {
	onBothStores(t, func(t *testing.T, s throttledSite) {
		a, b := s.start(t), s.start(t) // two nodes on one store
		want := func(t *testing.T, status int, node *running, from, username, password string) {
			t.Helper()
			if got, retry := signInAs(t, node.URL, from, username, password); got != status || (got == 429) != (retry != "") {
				t.Errorf("%s from %s: %d, Retry-After %q; want %d", username, from, got, retry, status)
			}
		}
		t.Run("6749-4.3.2-05 eighty guesses at once, at two nodes", func(t *testing.T) {
			var judged atomic.Int64
			var wg sync.WaitGroup
			for i := range 80 {
				wg.Go(func() {
					if status, _ := signInAs(t, []*running{a, b}[i%2].URL, "192.0.2.1", "admin", fmt.Sprint("guess ", i)); status == 400 {
						judged.Add(1)
					}
				})
			}
			wg.Wait()
			if n := judged.Load(); n != 3 {
				t.Errorf("%d were judged", n)
			}
			for _, node := range []*running{a, b} {
				want(t, 429, node, "192.0.2.1", "ADMIN", sitePassword)
				want(t, 200, node, "192.0.2.2", "admin", sitePassword)
			}
		})
		t.Run("6749-4.3.2-05 what a client says of its address is no help", func(t *testing.T) {
			for i := range 3 {
				want(t, 400, a, fmt.Sprintf("203.0.113.%d, 198.51.100.7", i), "admin", fmt.Sprint("other guess ", i))
			}
			want(t, 429, b, "203.0.113.9, 198.51.100.7", "admin", sitePassword)
		})
		t.Run("6749-4.3.2-05 nor are the addresses of one IPv6 network", func(t *testing.T) {
			for i := range 3 {
				want(t, 400, a, fmt.Sprintf("2001:db8::%d", i+1), "admin", fmt.Sprint("third guess ", i))
			}
			want(t, 429, b, "2001:db8::abcd:1", "admin", sitePassword)
			want(t, 200, b, "2001:db8:0:1::1", "admin", sitePassword)
		})
		t.Run("twenty sign-ins at once all succeed", func(t *testing.T) {
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() { want(t, 200, []*running{a, b}[i%2], "192.0.2.2", "admin", sitePassword) })
			}
			wg.Wait()
		})
		t.Run("PW-OWASP-authn-03 guesses from everywhere don't shut the owner out", func(t *testing.T) {
			refused := 0
			for i := range 60 {
				if status, _ := signInAs(t, a.URL, fmt.Sprintf("10.0.%d.1", i), "admin", fmt.Sprint("guess ", i)); status == 429 {
					refused++
				}
			}
			if refused == 0 {
				t.Error("all were judged")
			}
			want(t, 429, b, "10.1.1.1", "admin", sitePassword)
			want(t, 200, b, "192.0.2.2", "admin", sitePassword)
		})
		a.Stop()
		b.Stop()
		t.Run("a restart forgets nothing", func(t *testing.T) {
			c := s.start(t)
			want(t, 429, c, "10.1.1.1", "admin", sitePassword)
			want(t, 200, c, "192.0.2.2", "admin", sitePassword)
			c.Stop()
			if log := a.Stderr() + b.Stderr() + c.Stderr(); strings.Contains(log, "guess ") || !strings.Contains(log, "too many wrong passwords") {
				t.Error("the log doesn't tell of it, or holds a guess")
			}
		})
	})
}

func TestForgedHeadersAreNoHelpToGuessers(t *testing.T) {
	s := newThrottledSite(t, "GRANTD_DATA=grantd.db", "GRANTD_TRUSTED_PROXIES=192.0.2.1").start(t)
	for i := range 5 {
		want := 400
		if i >= 3 {
			want = 429
		}
		if status, _ := signInAs(t, s.URL, fmt.Sprintf("203.0.113.%d", i), "admin", fmt.Sprint("guess ", i)); status != want {
			t.Errorf("guess %d: %d, want %d", i+1, status, want)
		}
	}
}

// A user may type the password as the name, so the names aren't stored either.
func TestNoGuessIsStored(t *testing.T) {
	server := redistest.Single(t, "--rdbcompression", "no")
	g := startDev(t, "--redis", server.URL())
	for _, guess := range []string{"GuessedNameMark", "alice"} {
		for range 2 {
			tokenFor(t, g.URL, "demo", "demo-secret", url.Values{"grant_type": {"password"}, "username": {guess}, "password": {"GuessedPasswordMark"}})
		}
	}
	tokenFor(t, g.URL, "GuessedClientMark", "GuessedSecretMark", url.Values{"grant_type": {"client_credentials"}})
	keys, err := server.Client().Keys(t.Context(), "grantd:guess:*").Result()
	if err != nil || len(keys) < 3 { // for two names and a network; the records of clients may have expired
		t.Fatalf("%d records, %v", len(keys), err)
	}
	for _, key := range keys {
		record := server.Client().Get(t.Context(), key).Val()
		for _, mark := range []string{"alice", "mark", "guessed"} {
			if strings.Contains(strings.ToLower(key+record), mark) {
				t.Errorf("%q holds %q", key+record, mark)
			}
		}
		if life := server.Client().TTL(t.Context(), key).Val(); life == -1 {
			t.Errorf("%q never expires", key)
		}
	}
}
