//go:build !race

package resource_test

import (
	"net/http"
	"testing"

	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
)

// This test isn't built for the race detector, under which a sync.Pool drops
// values on purpose.
func TestTheAudienceCheckAllocatesNothing(t *testing.T) {
	grant := storage.Grant{UserID: "usr_a", Generation: 1, Issued: signIn, AccessExpiry: signIn.Add(accessLifetime), End: signIn.Add(accessLifetime)}
	v, token := one(t, &grant, nil)
	allocations := func(c resource.Config) float64 {
		c.Validator = v(signIn)
		g, err := resource.New(c)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		h := g.Require()(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
		w := &discard{header: http.Header{}}
		n := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) })
		if w.status != http.StatusOK {
			t.Fatalf("status %d", w.status)
		}
		return n
	}
	without := allocations(resource.Config{})
	with := allocations(resource.Config{Resource: apiTest + "/users/me", Audiences: []string{apiTest}})
	if with > without {
		t.Errorf("%v allocations for an unrestricted token with the check, %v without", with, without)
	}
}
