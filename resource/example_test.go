package resource_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// Guard a handler of your own: who calls it needs an access token with the
// scope read.
func Example() {
	keys, _ := opaque.NewKeyring(opaque.NewKey(1))
	store := grants{}

	guard, _ := resource.New(resource.Config{
		Validator: resource.NewStoreValidator(keys, store),
		Realm:     "orders",
	})
	orders := guard.Require("read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := resource.IdentityFrom(r.Context())
		fmt.Fprintf(w, "orders of %s", id.Username)
	}))

	// The authorization server does this when alice signs in.
	alice := storage.Grant{
		ID: storage.NewGrantID("u1"), UserID: "u1", Username: "alice", ClientID: "shop",
		Scope: "read", AccessScope: "read", Generation: 1,
		AccessExpiry: time.Now().Add(time.Hour), End: time.Now().Add(time.Hour),
	}
	token, digest := keys.Mint(opaque.Access, alice.ID, alice.Generation)
	alice.Access = digest
	store[alice.ID] = alice

	for _, authorization := range []string{"Bearer " + token, "Bearer guess"} {
		r := httptest.NewRequest("GET", "/orders", nil)
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		orders.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 orders of alice
	// 401 {"error":"invalid_token","error_description":"The access token is malformed, unknown, expired or revoked."}
}

// grants is a store in memory; yours is the one that the authorization server
// writes to, such as redisstore.Open.
type grants map[storage.GrantID]storage.Grant

func (g grants) LoadGrant(_ context.Context, id storage.GrantID) (storage.Grant, error) {
	if grant, ok := g[id]; ok {
		return grant, nil
	}
	return storage.Grant{}, storage.ErrNotFound
}
