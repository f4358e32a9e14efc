package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/redisstore"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// Names and secrets with many characters that have to be encoded somewhere.
const (
	oddID       = "odd id/é&=?"
	oddSecret   = "p%+ :é&=;#\"\\/?€"
	oddUser     = "zoë@example.org"
	oddPassword = "pä€ß wörd+%&=;:#\"\\/?🔑"
)

// TestEndToEnd drives the real program with golang.org/x/oauth2 on every store.
func TestEndToEnd(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		dir := t.TempDir()
		g := launch{args: []string{"dev", "--addr", "127.0.0.1:0"}, dir: dir}.start(t)
		store, err := embedded.Open(filepath.Join(dir, ".grantd", "grantd.db"))
		if err != nil {
			t.Fatal(err)
		}
		endToEnd(t, g.URL, store)
	})
	t.Run("redis", func(t *testing.T) {
		server := redistest.Single(t)
		onRedis(t, server.URL())
	})
	t.Run("sentinel", func(t *testing.T) {
		trio := redistest.Sentinel(t)
		onRedis(t, trio.URL())
	})
	t.Run("cluster", func(t *testing.T) {
		masters := redistest.Cluster(t)
		onRedis(t, masters.URL())
	})
}

func onRedis(t *testing.T, url string) {
	g := startDev(t, "--redis", url)
	store, err := redisstore.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	endToEnd(t, g.URL, store)
}

// endToEnd is the suite. store is the store of the program at url.
func endToEnd(t *testing.T, url string, store storage.Store) {
	t.Cleanup(func() { store.Close() })
	seedOdd(t, store)
	for name, style := range map[string]oauth2.AuthStyle{
		"auto-detect": oauth2.AuthStyleAutoDetect, "6749-2.3.1-02 header": oauth2.AuthStyleInHeader, "6749-2.3.1-04 body": oauth2.AuthStyleInParams,
	} {
		t.Run("password grant, "+name, func(t *testing.T) {
			for _, c := range []struct{ id, secret, user, password string }{
				{"demo", "demo-secret", "alice", "secret123"},
				{oddID, oddSecret, oddUser, oddPassword},
				{"demo-public", "", "bob", "builder456"},
			} {
				o := client(url, c.id, c.secret, style)
				token, err := o.PasswordCredentialsToken(t.Context(), c.user, c.password)
				if err != nil {
					t.Fatalf("%s: %v", c.id, err)
				}
				if token.Type() != "Bearer" || token.RefreshToken == "" || token.Extra("scope") != "read" || token.ExpiresIn != 3600 {
					t.Errorf("%s: token is %+v", c.id, token)
				}
				if me := usersMe(t, o.Client(t.Context(), token), url); me["username"] != c.user || me["client_id"] != c.id {
					t.Errorf("%s: /users/me says %v", c.id, me)
				}
			}
		})
	}
	t.Run("a token source refreshes by itself", func(t *testing.T) { refreshes(t, url) })
	t.Run("client credentials", func(t *testing.T) {
		c := clientcredentials.Config{ClientID: oddID, ClientSecret: oddSecret, TokenURL: url + "/token", Scopes: []string{"write"}}
		me := usersMe(t, c.Client(t.Context()), url)
		if me["sub"] != oddID || me["scope"] != "write" || me["username"] != nil {
			t.Errorf("/users/me says %v", me)
		}
	})
	t.Run("errors arrive as RetrieveError with their code", func(t *testing.T) { retrieveErrors(t, url) })
	t.Run("a revoked user is refused by the next request", func(t *testing.T) { revoked(t, url, store) })
}

func seedOdd(t *testing.T, store storage.Store) {
	t.Helper()
	hasher, err := passhash.New(passhash.Params{})
	if err != nil {
		t.Fatal(err)
	}
	hash, err := hasher.Hash(t.Context(), oddPassword)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.CreateUser(t.Context(), storage.User{ID: "odd-user-id", Name: oddUser, Password: hash}); err != nil {
		t.Fatal(err)
	}
	if err := store.CreateClient(t.Context(), storage.Client{
		ID: oddID, Secret: storage.NewSecretVerifier(oddSecret),
		Grants: []string{"password", "refresh_token", "client_credentials"}, Scopes: []string{"read", "write"},
	}); err != nil {
		t.Fatal(err)
	}
}

func client(url, id, secret string, style oauth2.AuthStyle) *oauth2.Config {
	return &oauth2.Config{ClientID: id, ClientSecret: secret, Endpoint: oauth2.Endpoint{TokenURL: url + "/token", AuthStyle: style}}
}

// usersMe asks /users/me with a client that adds the token.
func usersMe(t *testing.T, c *http.Client, base string) map[string]any {
	t.Helper()
	response, err := c.Get(base + "/users/me")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("/users/me answers %s", response.Status)
	}
	var me map[string]any
	if err := json.NewDecoder(response.Body).Decode(&me); err != nil {
		t.Fatal(err)
	}
	return me
}

// refreshes uses a client whose tokens live 2 seconds. x/oauth2 takes them for
// expired at once, so every call refreshes.
func refreshes(t *testing.T, url string) {
	o := client(url, "demo-short", "demo-short-secret", oauth2.AuthStyleAutoDetect)
	first, err := o.PasswordCredentialsToken(t.Context(), "alice", "secret123")
	if err != nil {
		t.Fatal(err)
	}
	if first.ExpiresIn != 2 {
		t.Errorf("expires_in is %d, want 2", first.ExpiresIn)
	}
	source := o.TokenSource(t.Context(), first)
	seen := map[string]bool{first.AccessToken: true}
	for range 3 {
		next, err := source.Token()
		if err != nil {
			t.Fatal(err)
		}
		if seen[next.AccessToken] {
			t.Error("the same access token again")
		}
		seen[next.AccessToken] = true
		if status := request(t, url, next.AccessToken); status != http.StatusOK {
			t.Errorf("/users/me answers %d", status)
		}
	}
	expired := request(t, url, first.AccessToken)
	if expired != http.StatusUnauthorized {
		t.Errorf("the first access token answers %d", expired)
	}
}

// request returns the status of /users/me with that token.
func request(t *testing.T, base, token string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/users/me", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func retrieveErrors(t *testing.T, base string) {
	for name, c := range map[string]struct {
		id, secret, password string
		scopes               []string
		status               int
		code                 string
	}{
		"wrong password": {"demo", "demo-secret", "wrong", nil, http.StatusBadRequest, "invalid_grant"},
		"wrong secret":   {"demo", "wrong", "secret123", nil, http.StatusUnauthorized, "invalid_client"},
		"unknown scope":  {"demo", "demo-secret", "secret123", []string{"nosuch"}, http.StatusBadRequest, "invalid_scope"},
		"grant refused":  {"demo-admin", "demo-admin-secret", "secret123", nil, http.StatusBadRequest, "unauthorized_client"},
	} {
		o := client(base, c.id, c.secret, oauth2.AuthStyleInHeader)
		o.Scopes = c.scopes
		_, err := o.PasswordCredentialsToken(t.Context(), "alice", c.password)
		var e *oauth2.RetrieveError
		if !errors.As(err, &e) || e.ErrorCode != c.code || e.Response.StatusCode != c.status || e.ErrorDescription == "" {
			t.Errorf("%s: got %v, want %d %s", name, err, c.status, c.code)
		}
	}
}

func revoked(t *testing.T, base string, store storage.Store) {
	o := client(base, "demo", "demo-secret", oauth2.AuthStyleInHeader)
	token, err := o.PasswordCredentialsToken(t.Context(), "bob", "builder456")
	if err != nil {
		t.Fatal(err)
	}
	bob, err := store.LoadUser(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	r, err := store.Revoke(t.Context(), storage.Target{UserID: bob.ID})
	if err != nil {
		t.Fatal(err)
	}
	if status := request(t, base, token.AccessToken); status != http.StatusUnauthorized {
		t.Errorf("/users/me answers %d after the revocation", status)
	}
	if _, err := o.TokenSource(t.Context(), &oauth2.Token{RefreshToken: token.RefreshToken}).Token(); err == nil {
		t.Error("the refresh token survived the revocation")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if n, err := store.Sweep(ctx, r, nil); err != nil || n.Grants == 0 {
		t.Errorf("swept %+v grants: %v", n, err)
	}
}

// The raw forms that other clients send.
func TestFormWithoutAClient(t *testing.T) {
	g := startDev(t, "--memory")
	for name, form := range map[string]url.Values{
		"only a username and a password": {"username": {"alice"}, "password": {"secret123"}},
		"as Swagger UI fills it in": {
			"grant_type": {"password"}, "username": {"alice"}, "password": {"secret123"}, "scope": {""}, "client_id": {""}, "client_secret": {""},
		},
	} {
		response, err := http.PostForm(g.URL+"/token", form)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("the form of the FastAPI tutorial, %s, gets %s", name, response.Status)
		}
	}
}
