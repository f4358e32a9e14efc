package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

// demoUser is a user of grantd dev. Its password is in every copy of this file.
type demoUser struct {
	name, password string
	admin          bool
}

// demoClient is a client of grantd dev; without a secret it is public.
type demoClient struct {
	id, secret     string
	grants         []string
	scopes         []string
	redirects      []string
	introspect     bool
	accessLifetime time.Duration
}

var demoUsers = []demoUser{
	{name: "alice", password: "secret123"},
	{name: "bob", password: "builder456"},
	{name: "admin", password: "admin-dev-only", admin: true},
}

// demoPublicClient is the client that dev assumes for a request without one.
const demoPublicClient = "demo-public"

var (
	demoScopes    = []string{"read", "write", "admin"}
	demoGrants    = []string{"password", "refresh_token", "client_credentials", "authorization_code"}
	publicGrants  = []string{"password", "refresh_token", "authorization_code"}
	demoRedirects = []string{"http://127.0.0.1:9999/callback"}

	demoClients = []demoClient{
		{id: "demo", secret: "demo-secret", grants: demoGrants, scopes: demoScopes, redirects: demoRedirects},
		{id: "demo2", secret: "demo2-secret", grants: demoGrants, scopes: demoScopes, redirects: demoRedirects},
		{
			id: demoPublicClient, grants: publicGrants, scopes: demoScopes,
			redirects: []string{"http://127.0.0.1/callback", "http://127.0.0.1:8080/docs/oauth2-redirect.html"},
		},
		{id: "demo-api", secret: "demo-api-secret", introspect: true},
		{id: "demo-admin", secret: "demo-admin-secret", grants: []string{"client_credentials"}, scopes: []string{"admin"}},
		{
			id: "demo-short", secret: "demo-short-secret", grants: demoGrants, scopes: demoScopes,
			redirects: demoRedirects, accessLifetime: 2 * time.Second,
		},
	}
)

// seedDemo makes the demo users and clients that are missing. It doesn't change
// existing ones.
func seedDemo(ctx context.Context, s storage.Store, h *passhash.Hasher) error {
	for _, d := range demoClients {
		_, err := s.LoadClient(ctx, d.id)
		if errors.Is(err, storage.ErrNotFound) {
			err = s.CreateClient(ctx, d.record())
		}
		if err != nil && !errors.Is(err, storage.ErrExists) {
			return fmt.Errorf("making client %s: %w", d.id, err)
		}
	}
	if err := ensureLoginClient(ctx, s, s.CreateClient); err != nil {
		return fmt.Errorf("making client %s: %w", loginClient, err)
	}
	for _, d := range demoUsers {
		if err := seedUser(ctx, s, h, d); err != nil {
			return fmt.Errorf("making user %s: %w", d.name, err)
		}
	}
	return nil
}

func (d demoClient) record() storage.Client {
	c := storage.Client{
		ID:             d.id,
		Public:         d.secret == "",
		Grants:         d.grants,
		Scopes:         d.scopes,
		RedirectURIs:   d.redirects,
		Introspect:     d.introspect,
		AccessLifetime: d.accessLifetime,
		Created:        time.Now().UTC(),
	}
	if !c.Public {
		c.Secret = storage.NewSecretVerifier(d.secret)
	}
	return c
}

// seedUser makes the user if it is missing. It looks first, because hashing a password
// is slow.
func seedUser(ctx context.Context, s storage.Users, h *passhash.Hasher, d demoUser) error {
	_, err := s.LoadUser(ctx, d.name)
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	hash, err := h.Hash(ctx, d.password)
	if err != nil {
		return err
	}
	err = s.CreateUser(ctx, newUser(d.name, hash, d.admin))
	if errors.Is(err, storage.ErrExists) {
		return nil // another process was faster
	}
	return err
}

// refuseDemo returns a failure when the store accepts a demo credential, since
// anybody can read them above.
func refuseDemo(ctx context.Context, s storage.Store, h *passhash.Hasher) error {
	for _, d := range demoClients {
		c, err := s.LoadClient(ctx, d.id)
		switch {
		case errors.Is(err, storage.ErrNotFound):
		case err != nil:
			return err
		case d.secret == "" && c.Public, d.secret != "" && c.VerifySecret(d.secret, time.Now()):
			return demoFound("client", d.id)
		}
	}
	for _, d := range demoUsers {
		u, err := s.LoadUser(ctx, d.name)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		r, err := h.Verify(ctx, u.Password, d.password)
		if err != nil {
			return err
		}
		if r.OK {
			return demoFound("user", d.name)
		}
	}
	return nil
}

func demoFound(kind, name string) error {
	return failedf("the store contains the demo %s %q of grantd dev, which anybody can use", kind, name).
		withHint(fmt.Sprintf("use another store for serve, or delete this %[1]s: grantd %[1]s delete %[2]s, with the same --config, --data or --redis", kind, name))
}
