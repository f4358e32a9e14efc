package authserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// Legacy has the tokens that another server issued, whose clients move over to
// this one. They are read as if they were tokens of the first generation of a
// grant, see opaque.Adopt. Every storage.ErrNotFound may be wrapped.
type Legacy interface {
	// AccessGrant returns the grant that a live access token stands for, which
	// may be kept nowhere, or storage.ErrNotFound.
	AccessGrant(ctx context.Context, text string) (storage.Grant, error)

	// RefreshGrant returns the grant that a live refresh token stands for, to be
	// kept: always the same one, whose epoch was read before all that it rests
	// on. If the token moved, its grant was kept before and only the id is
	// returned. For anything else it returns storage.ErrNotFound.
	RefreshGrant(ctx context.Context, text string) (g storage.Grant, moved bool, err error)

	// Settle makes a refresh token one that moved, to the grant, and that gave a
	// pair with that access token. It returns storage.ErrNotFound when the token
	// was forgotten meanwhile or gave another pair. Repeating it is harmless.
	Settle(ctx context.Context, text string, id storage.GrantID, access storage.Digest) error

	// Forget makes the token, and what was issued with it, unknown. An unknown
	// text is no error.
	Forget(ctx context.Context, text string) error
}

// refreshLegacy refreshes a legacy token: its grant is kept as one of ours, the
// pair that follows it is made as for any other, and then the token is settled.
// Whatever fails before that can be repeated.
//
// A request that comes late, when the token was settled and the grant ended since,
// makes a grant that settling finds to be one too many.
func (s *Server) refreshLegacy(ctx context.Context, req tokenRequest, keys *opaque.Keyring) (tokenResponse, error) {
	text := req.params["refresh_token"]
	id, err := s.adopt(ctx, req, text)
	if err != nil {
		return tokenResponse{}, err
	}
	r := refreshing{Server: s, req: req, keys: keys, token: opaque.Adopt(opaque.Refresh, id, text), legacy: text}
	response, err := r.run(ctx)
	if err != nil {
		return tokenResponse{}, err
	}
	access, err := keys.Parse(opaque.Access, response.accessToken)
	if err != nil {
		return tokenResponse{}, err
	}
	err = s.cfg.Legacy.Settle(ctx, text, id, access.Digest())
	if errors.Is(err, storage.ErrNotFound) {
		if err := s.cfg.Store.DeleteGrant(ctx, id); err != nil {
			return tokenResponse{}, err
		}
		return tokenResponse{}, ErrInvalidGrant.because(err)
	}
	return response, err
}

// adopt keeps the grant of a legacy refresh token, if it belongs to the client,
// and returns its id.
func (s *Server) adopt(ctx context.Context, req tokenRequest, text string) (storage.GrantID, error) {
	for range maxAttempts {
		g, moved, err := s.cfg.Legacy.RefreshGrant(ctx, text)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return g.ID, ErrInvalidGrant.because(err)
		case err != nil || moved:
			return g.ID, err
		case g.ClientID != req.client.ID:
			return g.ID, ErrInvalidGrant.reason("the token was issued to another client")
		}
		err = s.cfg.Store.CreateGrant(ctx, g)
		if errors.Is(err, storage.ErrExists) {
			err = nil // and its generation is another by now
		}
		if !errors.Is(err, storage.ErrRevoked) {
			return g.ID, err
		}
	}
	return storage.GrantID{}, errUnavailable.reason("revocations keep coming between")
}

// legacyAccess is accessGrant for what isn't a token of ours.
func (s *Server) legacyAccess(ctx context.Context, text string) (storage.Grant, error) {
	if s.cfg.Legacy == nil {
		return storage.Grant{}, storage.ErrNotFound
	}
	return s.cfg.Legacy.AccessGrant(ctx, text)
}

// legacyRevocable is revocable for what isn't a token of ours.
func (s *Server) legacyRevocable(ctx context.Context, text string) (storage.Grant, error) {
	g, err := s.legacyAccess(ctx, text)
	if s.cfg.Legacy == nil || !errors.Is(err, storage.ErrNotFound) {
		return g, err
	}
	g, moved, err := s.cfg.Legacy.RefreshGrant(ctx, text)
	if err != nil || !moved {
		return g, err
	}
	return s.endedBy(ctx, opaque.Adopt(opaque.Refresh, g.ID, text))
}

// maxEnding is how long the ending of a grant goes on when nobody waits for it.
const maxEnding = 5 * time.Second

// endGrant ends the grant. It goes on when the client goes away, or the request has
// waited for a slow store for long enough: a stolen token must not live on because the
// client that shows the theft, or logs out, has no time.
func (s *Server) endGrant(ctx context.Context, id storage.GrantID, text string) error {
	err := s.background.Finish(ctx, maxEnding, func(ctx context.Context) error { return s.endGrantWhole(ctx, id, text) })
	if err != nil {
		return fmt.Errorf("ending a grant: %w", err)
	}
	return nil
}

// endGrantWhole forgets a token that may be a legacy one first: were the grant gone
// first, it would become one again.
func (s *Server) endGrantWhole(ctx context.Context, id storage.GrantID, text string) error {
	if s.cfg.Legacy != nil && text != "" {
		if err := s.cfg.Legacy.Forget(ctx, text); err != nil {
			return err
		}
	}
	return s.cfg.Store.DeleteGrant(ctx, id)
}
