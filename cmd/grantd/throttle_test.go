package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/grantd/grantd/authserver/throttle"
)

// guessSecrets asks for tokens with wrong secrets and counts the answers 429.
func guessSecrets(t *testing.T, base string, n int) (refused int) {
	t.Helper()
	for range n {
		status, answer := tokenFor(t, base, "demo", "guessed-secret", url.Values{"grant_type": {"client_credentials"}})
		switch {
		case status == 429 && answer["error"] == "temporarily_unavailable":
			refused++
		case status != 401 || answer["error"] != "invalid_client":
			t.Errorf("a wrong secret: %d %v", status, answer)
		}
	}
	return refused
}

func TestThrottle(t *testing.T) {
	t.Run("6749-2.3.1-07 guesses are refused and logged, and other clients served", func(t *testing.T) {
		g := startDev(t, "--memory")
		if n := guessSecrets(t, g.URL, 100); n < 50 {
			t.Errorf("%d of 100 guesses were refused", n)
		}
		if status, answer := tokenFor(t, g.URL, "demo2", "demo2-secret", passwordForm("alice", "secret123", "")); status != 200 {
			t.Errorf("another client: %d %v", status, answer)
		}
		g.Stop()
		log := g.Stderr()
		if !strings.Contains(log, "status=429") || !strings.Contains(log, "too many failed client authentications from the network") {
			t.Errorf("the log doesn't tell:\n%s", log)
		}
		if strings.Contains(log, "guessed-secret") {
			t.Errorf("the log holds a secret:\n%s", log)
		}
	})
	t.Run("dev --throttle off refuses none", func(t *testing.T) {
		g := startDev(t, "--memory", "--throttle", "off")
		if n := guessSecrets(t, g.URL, 200); n != 0 {
			t.Errorf("%d guesses were refused", n)
		}
	})
}

// All endpoints of a process share one limiter: a network that is kept from signing in
// can't try passwords at the change of a password either.
func TestOneLimiterForAll(t *testing.T) {
	c, _, err := devFlags{addr: "127.0.0.1:0", memory: true}.config()
	if err != nil {
		t.Fatal(err)
	}
	c.Issuer, c.PasswordHash = "http://127.0.0.1:8080", hashConfig{Memory: 64, Time: 1, Threads: 1}
	p, err := newProcess(t.Context(), c, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	n := offerNode(t, p)
	defer n.close()
	send := func(path, contentType, body string, authorize func(*http.Request)) *httptest.ResponseRecorder {
		t.Helper()
		r, w := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)), httptest.NewRecorder()
		r.Header.Set("Content-Type", contentType)
		authorize(r)
		n.handler.ServeHTTP(w, r)
		return w
	}
	demo := func(r *http.Request) { r.SetBasicAuth("demo", "demo-secret") }
	signIn := func() *httptest.ResponseRecorder {
		t.Helper()
		return send("/token", "application/x-www-form-urlencoded", passwordForm("alice", "secret123", "").Encode(), demo)
	}
	_, after, _ := strings.Cut(signIn().Body.String(), `"access_token":"`)
	token, _, _ := strings.Cut(after, `"`)

	from := throttle.NetworkOf(netip.MustParseAddr("192.0.2.1")) // the client's address in httptest
	for i := range 100 {
		place, err := p.throttle.Begin(t.Context(), throttle.Attempt{Username: fmt.Sprint("user", i), Password: "x", Network: from})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := place.Failed(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if w := signIn(); w.Code != http.StatusTooManyRequests {
		t.Errorf("signing in: %d %s", w.Code, w.Body)
	}
	change := `{"old_password":"secret123","new_password":"battery staple"}`
	w := send("/users/me/password", "application/json", change, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
	if w.Code != http.StatusTooManyRequests {
		t.Errorf("changing the password: %d %s", w.Code, w.Body)
	}
}
