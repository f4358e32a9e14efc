package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
)

// loginClient is the client that grantd login uses by default: a public client,
// because a command line can't keep a secret (RFC 6749 section 2.1).
const loginClient = "grantd-cli"

// offersLogin reports whether admins can sign in by the command line: not in the
// strict profile, which has no password grant.
func (c *config) offersLogin() bool {
	return !c.strict() && slices.Contains(c.Scopes, authserver.AdminScope)
}

// ensureLoginClient calls create to make the client of grantd login if it is
// missing.
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
