package resource_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
)

// RFC 9700 section 4.15: a client must not pass for a user, whatever the names
// of the two.
func TestClientsAreToldFromUsers(t *testing.T) {
	a := newAPI(t)
	guard, err := resource.New(resource.Config{
		Validator: resource.NewStoreValidator(a.keys, a.store, resource.WithClock(a.now)),
	})
	if err != nil {
		t.Fatal(err)
	}
	h := guard.Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := resource.IdentityFrom(r.Context())
		fmt.Fprintf(w, "%s %v", id.Subject, id.IsClient())
	}))
	itself := func(g *storage.Grant) { g.Type, g.UserID, g.Username = storage.ClientCredentials, "", "" }
	for name, c := range map[string]struct {
		change func(*storage.Grant)
		want   string
	}{
		"a user":                         {func(*storage.Grant) {}, "u-alice false"},
		"a client":                       {itself, "demo true"},
		"a client with a user's id":      {func(g *storage.Grant) { itself(g); g.ClientID = "u-alice" }, "u-alice true"},
		"a user whose id is a client's":  {func(g *storage.Grant) { g.UserID = "demo" }, "demo false"},
		"a user named like the client":   {func(g *storage.Grant) { g.Username = "demo" }, "u-alice false"},
		"one with all names of a client": {func(g *storage.Grant) { g.UserID, g.Username = "demo", "demo" }, "demo false"},
	} {
		t.Run("9700-4.15.1-01 "+name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			r.Header.Set("Authorization", "Bearer "+a.accessToken(t, c.change))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if body, _ := io.ReadAll(w.Body); string(body) != c.want {
				t.Errorf("the handler was told %q, want %q", body, c.want)
			}
		})
	}
	t.Run("9700-4.15.1-01 nobody is no client", func(t *testing.T) {
		if (resource.Identity{ClientID: "demo"}).IsClient() {
			t.Error("an identity without a subject passes for a client")
		}
	})
}
