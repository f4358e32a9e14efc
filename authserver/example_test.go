package authserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/opaque"
)

// Embed the server in a program of your own: a user signs in at POST /token. Package
// resource guards an API by the tokens, with the same keys and store.
func Example() {
	store, _ := embedded.Open(embedded.Memory) // or a file, or redisstore.Open
	defer store.Close()
	keys, _ := opaque.NewKeyring(opaque.NewKey(1)) // or opaque.NewLoader, so that tokens outlive the process
	hasher, _ := passhash.New(passhash.Params{})
	addRecords(store, hasher)
	server, err := authserver.New(authserver.Config{
		Issuer: "http://localhost:8080", Store: store, Keys: keys, Passwords: hasher,
		Scopes: []string{"read"}, DefaultScopes: []string{"read"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	form := url.Values{"grant_type": {"password"}, "username": {"Alice"}, "password": {"correct horse"}}
	r := httptest.NewRequest("POST", "/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("shop", "a secret of the shop's")
	w := httptest.NewRecorder()
	server.Handler().ServeHTTP(w, r)

	var tokens struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"`
		Scope       string `json:"scope"`
	}
	_ = json.Unmarshal(w.Body.Bytes(), &tokens)
	fmt.Println(w.Code, tokens.AccessToken[:4], tokens.TokenType, tokens.ExpiresIn, tokens.Scope)
	// Output: 200 gat_ Bearer 3600 read
}

// addRecords makes a client and a user, as package admin does.
func addRecords(store storage.Store, hasher *passhash.Hasher) {
	ctx, now := context.Background(), time.Now()
	_ = store.CreateClient(ctx, storage.Client{
		ID: "shop", Secret: storage.NewSecretVerifier("a secret of the shop's"),
		Grants: []string{"password", "refresh_token"}, Scopes: []string{"read"}, Created: now,
	})
	name, _ := passhash.Username("Alice") // the form in which names are kept and compared
	hash, _ := hasher.Hash(ctx, "correct horse")
	_ = store.CreateUser(ctx, storage.User{ID: storage.NewUserID(), Name: name, Password: hash, Created: now})
}
