package resource_test

import (
	"net/http"
	"testing"

	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
)

// discard is a ResponseWriter that costs next to nothing, so that the benchmark
// measures the handler.
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

// benchGuard returns a guard that finds its grants with load, and a token.
func benchGuard(b *testing.B, load func(*api, storage.Grant) resource.GrantLoader) (*resource.Guard, string) {
	b.Helper()
	a := newAPI(b)
	grant, token, _ := a.grant(b)
	v := resource.NewStoreValidator(a.keys, load(a, grant), resource.WithClock(a.now))
	g, err := resource.New(resource.Config{Validator: v})
	if err != nil {
		b.Fatal(err)
	}
	return g, token
}

// free is a look-up that costs nothing, so that the benchmark measures the
// guard's own cost.
func free(_ *api, g storage.Grant) resource.GrantLoader {
	return loaderFunc(func() (storage.Grant, error) { return g, nil })
}

func embeddedStore(a *api, _ storage.Grant) resource.GrantLoader { return a.store }

func BenchmarkUsersMe(b *testing.B) {
	g, token := benchGuard(b, free)
	serve(b, g.UsersMe(), token, http.StatusOK)
}

func BenchmarkUsersMeEmbedded(b *testing.B) {
	g, token := benchGuard(b, embeddedStore)
	serve(b, g.UsersMe(), token, http.StatusOK)
}

func BenchmarkRequire(b *testing.B) {
	g, token := benchGuard(b, free)
	h := g.Require("read")(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	serve(b, h, token, http.StatusOK)
}

// An invented token must be cheap to refuse: it costs no look-up.
func BenchmarkInventedToken(b *testing.B) {
	g, token := benchGuard(b, free)
	serve(b, g.UsersMe(), token[:79]+string(token[79]^1), http.StatusUnauthorized)
}
