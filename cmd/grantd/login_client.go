package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
)

// loginClient is the client that grantd login signs in by, unless told otherwise:
// a public one, as a command line keeps no secret (RFC 6749 section 2.1).
const loginClient = "grantd-cli"

// offersLogin reports whether admins can sign in by the command line: not in the
// strict profile, which has no password grant.
func (c *config) offersLogin() bool {
	return !c.strict() && slices.Contains(c.Scopes, authserver.AdminScope)
}

// ensureLoginClient makes the client of grantd login by create where there is none.
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
