package resource_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/opaque"
)

// Guard a handler of your own: who calls it needs an access token with the
// scope read.
func Example() {
	keys, _ := opaque.NewKeyring(opaque.NewKey(1))
	store, _ := embedded.Open(embedded.Memory) // or the Redis of the authorization server
	defer store.Close()

	guard, _ := resource.New(resource.Config{
		Validator: resource.NewStoreValidator(keys, store),
		Realm:     "orders",
	})
	orders := guard.Require("read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := resource.IdentityFrom(r.Context())
		fmt.Fprintf(w, "orders of %s", id.Username)
	}))

	for _, token := range []string{signInAlice(keys, store), "guess"} {
		r := httptest.NewRequest("GET", "/orders", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		orders.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 orders of alice
	// 401 {"error":"invalid_token","error_description":"The access token is malformed, unknown, expired, revoked or for another server."}
}

// signInAlice makes a grant and returns its access token: the authorization
// server's part.
func signInAlice(keys *opaque.Keyring, store storage.Store) string {
	ctx, now := context.Background(), time.Now()
	id := storage.NewGrantID("u1")
	token, digest := keys.Mint(opaque.Access, id, 1)
	epoch, _ := store.Epoch(ctx, id)
	_ = store.CreateGrant(ctx, storage.Grant{
		ID: id, Type: storage.Password, UserID: "u1", Username: "alice", ClientID: "shop",
		Scope: "read", AccessScope: "read", Generation: 1, Access: digest, Epoch: epoch,
		Created: now, Issued: now, AccessExpiry: now.Add(time.Hour), End: now.Add(time.Hour),
	})
	return token
}

// Guard an API that is elsewhere: it asks the authorization server about each token.
func ExampleNewIntrospectionValidator() {
	server := httptest.NewServer(http.HandlerFunc(introspect)) // or grantd's https://auth.example.com
	defer server.Close()

	validator, _ := resource.NewIntrospectionValidator(resource.IntrospectionConfig{
		Endpoint: server.URL + "/introspect",
		ClientID: "orders-api", ClientSecret: "of the client that may introspect",
	})
	guard, _ := resource.New(resource.Config{Validator: validator, Realm: "orders"})
	orders := guard.Require("read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := resource.IdentityFrom(r.Context())
		fmt.Fprintf(w, "orders of %s", id.Username)
	}))

	for _, token := range []string{"good", "revoked"} {
		r := httptest.NewRequest("GET", "/orders", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		orders.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 orders of alice
	// 401 {"error":"invalid_token","error_description":"The access token is malformed, unknown, expired, revoked or for another server."}
}

// introspect answers as the authorization server does.
func introspect(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.PostFormValue("token") != "good" {
		fmt.Fprint(w, `{"active":false}`)
		return
	}
	fmt.Fprint(w, `{"active":true,"sub":"u1","username":"alice","client_id":"shop","scope":"read","token_type":"Bearer"}`)
}
