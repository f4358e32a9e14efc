package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
)

// loginClient is the default client of grantd login. It is public, since a command
// line can't keep a secret (RFC 6749 section 2.1).
const loginClient = "grantd-cli"

// offersLogin reports whether admins can sign in with grantd login. They can't in the
// strict profile, which has no password grant, nor without the scope admin.
func (c *config) offersLogin() bool {
	return !c.strict() && slices.Contains(c.Scopes, authserver.AdminScope)
}

// ensureLoginClient makes the client of grantd login with create if it is missing.
func ensureLoginClient(ctx context.Context, s storage.Clients, create func(context.Context, storage.Client) error) error {
	_, err := s.LoadClient(ctx, loginClient)
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	err = create(ctx, storage.Client{
		ID:      loginClient,
		Public:  true,
		Grants:  []string{string(storage.Password), "refresh_token"},
		Scopes:  []string{authserver.AdminScope},
		Created: time.Now().UTC(),
	})
	if errors.Is(err, storage.ErrExists) {
		return nil // another process was faster
	}
	return err
}
