package authserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// Legacy finds the tokens of another server whose clients move over to this
// one. The server treats them as tokens of the first generation of a grant: see
// opaque.Adopt. Every storage.ErrNotFound may be wrapped.
type Legacy interface {
	// AccessGrant returns the grant that a live access token stands for, or
	// storage.ErrNotFound. The grant needn't be in the store.
	AccessGrant(ctx context.Context, text string) (storage.Grant, error)

	// RefreshGrant returns the grant that a live refresh token stands for; the
	// caller creates it in the store. The same token always gives the same
	// grant, whose epoch was read before everything else that the grant rests
	// on. If the token has moved already, its grant was created before, and only
	// the grant's id is returned. For anything else RefreshGrant returns
	// storage.ErrNotFound.
	RefreshGrant(ctx context.Context, text string) (g storage.Grant, moved bool, err error)

	// AnyGrant is AccessGrant and RefreshGrant for a token of either kind, and
	// returns the kind. Of an access token that isn't live any more, but moved, it
	// returns what RefreshGrant returns of a refresh token that moved.
	AnyGrant(ctx context.Context, text string) (kind opaque.Kind, g storage.Grant, moved bool, err error)

	// Settle records that a refresh token moved to the grant of that id, and
	// that its pair has that access token. It returns storage.ErrNotFound when
	// the token was forgotten meanwhile or gave another pair. Repeating the call
	// is harmless.
	Settle(ctx context.Context, text string, id storage.GrantID, access storage.Digest) error

	// Forget makes the token, and the tokens issued with it, unknown. An
	// unknown text is no error.
	Forget(ctx context.Context, text string) error
}

// refreshLegacy refreshes a legacy token: it creates the token's grant in the
// store, refreshes that grant as any other, and then settles the token. Every
// step before settling can be repeated.
//
// A late request may create the grant once more after the token was settled and
// the grant ended. Settle then returns ErrNotFound, and the grant is deleted.
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
			err = nil // the grant was created before; attempt compares generations
		}
		if !errors.Is(err, storage.ErrRevoked) {
			return g.ID, err
		}
	}
	return storage.GrantID{}, errUnavailable.reason("revocations keep coming between")
}

// legacyAccess is accessGrant for texts that aren't tokens of ours.
func (s *Server) legacyAccess(ctx context.Context, text string) (storage.Grant, error) {
	if s.cfg.Legacy == nil {
		return storage.Grant{}, storage.ErrNotFound
	}
	return s.cfg.Legacy.AccessGrant(ctx, text)
}

// legacyRevocable is revocable for texts that aren't tokens of ours.
func (s *Server) legacyRevocable(ctx context.Context, text string) (storage.Grant, error) {
	if s.cfg.Legacy == nil {
		return storage.Grant{}, storage.ErrNotFound
	}
	kind, g, moved, err := s.cfg.Legacy.AnyGrant(ctx, text)
	if err != nil || !moved {
		return g, err
	}
	return s.endedBy(ctx, opaque.Adopt(kind, g.ID, text))
}

// maxEnding is how long ending a grant may go on when nobody waits for it.
const maxEnding = 5 * time.Second

// endGrant ends the grant. It goes on when the client hangs up, or when the request
// has waited for a slow store for long enough. A stolen token must not live on because
// the client that reveals the theft, or logs out, doesn't wait.
func (s *Server) endGrant(ctx context.Context, id storage.GrantID, text string) error {
	err := s.background.Finish(ctx, maxEnding, func(ctx context.Context) error { return s.endGrantWhole(ctx, id, text) })
	if err != nil {
		return fmt.Errorf("ending a grant: %w", err)
	}
	return nil
}

// endGrantWhole first forgets a token that may be a legacy one. If it deleted
// the grant first, the token could create the grant again.
func (s *Server) endGrantWhole(ctx context.Context, id storage.GrantID, text string) error {
	if s.cfg.Legacy != nil && text != "" {
		if err := s.cfg.Legacy.Forget(ctx, text); err != nil {
			return err
		}
	}
	return s.cfg.Store.DeleteGrant(ctx, id)
}
