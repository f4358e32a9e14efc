package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/grantd/grantd/resource"
)

// introspectingAPI is a third party's API that is guarded as the package resource
// documents. All it knows of grantd is its introspection endpoint.
type introspectingAPI struct {
	*httptest.Server
	mu    sync.Mutex
	noted error // of the last refusal
}

const introspectingResource = "https://orders.test"

func newIntrospectingAPI(t *testing.T, base, secret string) *introspectingAPI {
	t.Helper()
	v, err := resource.NewIntrospectionValidator(resource.IntrospectionConfig{
		Endpoint: base + "/introspect", Issuer: base, ClientID: "demo-api", ClientSecret: secret,
		Timeout: 500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	a := &introspectingAPI{}
	guard, err := resource.New(resource.Config{Validator: v, Resource: introspectingResource, Note: func(_ context.Context, err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.noted = err
	}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/users/me", guard.UsersMe())
	mux.Handle("/write", guard.Require("write")(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "written") })))
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

// wantStatus fails unless GET /users/me of the API answers with the status.
func (a *introspectingAPI) wantStatus(t *testing.T, token string, want int) map[string]any {
	t.Helper()
	status, body := getUsersMe(t, a.URL, token)
	a.mu.Lock()
	defer a.mu.Unlock()
	if status != want {
		t.Errorf("the API answers %d %s, want %d; the last refusal: %v", status, body, want, a.noted)
	}
	if a.noted != nil && (strings.Contains(a.noted.Error(), token) || strings.Contains(a.noted.Error(), "secret")) {
		t.Errorf("the operator is told a secret: %v", a.noted)
	}
	_, told := members(t, body)
	return told
}

func TestAnAPIThatIntrospects(t *testing.T) {
	dir := t.TempDir()
	g := launch{args: []string{"dev", "--addr", "127.0.0.1:0"}, dir: dir}.start(t)
	must(t, launch{dir: dir, args: []string{
		"client", "add", "shop", "--grant", "password", "--audience", introspectingResource, "--audience", "https://other.test",
		"--secret-file", writeFile(t, "s", secret32), "--data", ".grantd/grantd.db",
	}})
	api := newIntrospectingAPI(t, g.URL, "demo-api-secret")
	signIn := func(t *testing.T) string { return tokenOf(t, g.URL, "demo", "demo-secret", formFor("secret123")) }

	t.Run("6749-7-01 a user's token, as grantd's own /users/me tells of it", func(t *testing.T) {
		token := signIn(t)
		told := api.wantStatus(t, token, http.StatusOK)
		_, body := getUsersMe(t, g.URL, token)
		if _, own := members(t, body); told["username"] != "alice" || told["sub"] != own["sub"] || told["scope"] != own["scope"] ||
			told["client_id"] != "demo" || told["iat"] != own["iat"] || told["exp"] != own["exp"] {
			t.Errorf("told %v, grantd itself tells %v", told, own)
		}
	})
	t.Run("a client's own token", func(t *testing.T) {
		token := tokenOf(t, g.URL, "demo", "demo-secret", url.Values{"grant_type": {"client_credentials"}})
		if told := api.wantStatus(t, token, http.StatusOK); told["sub"] != "demo" || told["username"] != nil {
			t.Errorf("told %v", told)
		}
	})
	t.Run("6749-7-02 the scope counts", func(t *testing.T) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, api.URL+"/write", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+signIn(t))
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusForbidden {
			t.Errorf("status %d, want 403 for a token with the scope read", answer.StatusCode)
		}
	})
	t.Run("9700-2.3-03 the audience counts", func(t *testing.T) {
		for resource, want := range map[string]int{introspectingResource: http.StatusOK, "https://other.test": http.StatusUnauthorized} {
			api.wantStatus(t, tokenOf(t, g.URL, "shop", secret32, formFor("secret123", resource)), want)
		}
	})
	t.Run("a refresh token and an invented one", func(t *testing.T) {
		_, pair := tokenFor(t, g.URL, "demo", "demo-secret", formFor("secret123"))
		refresh, _ := pair["refresh_token"].(string)
		for _, token := range []string{refresh, "gat_" + randomText(72), "x", strings.Repeat("x", 33<<10)} {
			api.wantStatus(t, token, http.StatusUnauthorized)
		}
	})
	t.Run("7662-4-11 a token that was revoked is refused by the next request", func(t *testing.T) {
		for range 20 {
			token := signIn(t)
			api.wantStatus(t, token, http.StatusOK)
			if status, body := postForm(t, g.URL+"/revoke", "demo", "demo-secret", url.Values{"token": {token}}); status != http.StatusOK {
				t.Fatalf("/revoke answers %d %s", status, body)
			}
			api.wantStatus(t, token, http.StatusUnauthorized)
		}
	})
	t.Run("7662-4-12 a wrong secret of the API is no fault of the token", func(t *testing.T) {
		wrong := newIntrospectingAPI(t, g.URL, "wrong")
		wrong.wantStatus(t, signIn(t), http.StatusServiceUnavailable)
		if !strings.Contains(wrong.noted.Error(), "check ClientID") {
			t.Errorf("the operator is told %v", wrong.noted)
		}
	})
	t.Run("7662-4-12 7662-4-13 while grantd stands still nobody gets in, and then again", func(t *testing.T) {
		token := signIn(t)
		g.Signal(syscall.SIGSTOP)
		until := time.Now().Add(10 * time.Second) // the kernel stops its threads in its own time
		for status := http.StatusOK; status == http.StatusOK && time.Now().Before(until); {
			status, _ = getUsersMe(t, api.URL, token)
		}
		api.wantStatus(t, token, http.StatusServiceUnavailable)
		g.Signal(syscall.SIGCONT)
		api.wantStatus(t, token, http.StatusOK)
	})
	t.Run("7662-4-12 when grantd is gone", func(t *testing.T) {
		token := signIn(t)
		if code := g.Stop(); code != 0 {
			t.Errorf("grantd exits with %d", code)
		}
		api.wantStatus(t, token, http.StatusServiceUnavailable)
	})
}
