package resource_test

import (
	"net/http"
	"testing"

	"github.com/grantd/grantd/resource"
)

// discard is a ResponseWriter that costs next to nothing, so that what is
// measured is the handler.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// serve calls the handler again and again with the token.
func serve(b *testing.B, h http.Handler, token string, status int) {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "/users/me", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		h.ServeHTTP(w, r)
		if w.status != status {
			b.Fatalf("status %d, want %d", w.status, status)
		}
	}
}

func benchGuard(b *testing.B) (*api, *resource.Guard) {
	b.Helper()
	a := newAPI(b)
	v := resource.NewStoreValidator(a.keys, a.store, resource.WithClock(a.now))
	g, err := resource.New(resource.Config{Validator: v})
	if err != nil {
		b.Fatal(err)
	}
	return a, g
}

func BenchmarkUsersMe(b *testing.B) {
	a, g := benchGuard(b)
	serve(b, g.UsersMe(), a.accessToken(b), http.StatusOK)
}

func BenchmarkRequire(b *testing.B) {
	a, g := benchGuard(b)
	h := g.Require("read")(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	serve(b, h, a.accessToken(b), http.StatusOK)
}

// An invented token must be cheap to refuse: it costs no look-up.
func BenchmarkInventedToken(b *testing.B) {
	a, g := benchGuard(b)
	token := a.accessToken(b)
	serve(b, g.UsersMe(), token[:79]+string(token[79]^1), http.StatusUnauthorized)
}
