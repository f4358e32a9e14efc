package authserver

import (
	"context"
	"errors"
	"strings"

	"github.com/grantd/grantd/storage"
)

// clientCredentials answers the client credentials grant, RFC 6749 section 4.4.
func (s *Server) clientCredentials(ctx context.Context, req tokenRequest) (tokenResponse, error) {
	if req.client.Public {
		return tokenResponse{}, ErrUnauthorizedClient.reason("client_credentials of a public client")
	}
	scope, err := s.clientScope(req.client, req.params["scope"])
	if err != nil {
		return tokenResponse{}, err
	}
	if req.audience, err = s.audience(req.client, req.params); err != nil {
		return tokenResponse{}, err
	}
	id := storage.NewGrantID("") // one id for all attempts: each learns the epoch of its partition
	for range maxAttempts {
		pair, err := s.signInClient(ctx, req, id, strings.Join(scope, " "))
		if !errors.Is(err, storage.ErrRevoked) {
			return pair, err
		}
	}
	return tokenResponse{}, errUnavailable.reason("revocations keep coming between")
}

// signInClient makes a grant for the client itself; see signInUser on the order
// of the steps.
func (s *Server) signInClient(ctx context.Context, req tokenRequest, id storage.GrantID, scope string) (tokenResponse, error) {
	b := beginning{id: id}
	var err error
	if b.epoch, err = s.cfg.Store.Epoch(ctx, b.id); err != nil {
		return tokenResponse{}, err
	}
	if b.client, err = s.sameClient(ctx, req.client); err != nil {
		return tokenResponse{}, err
	}
	return s.issue(ctx, req, b, scope)
}
