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
	b := req.begun
	b.client = req.client
	for range maxAttempts {
		pair, err := s.issue(ctx, req, b, strings.Join(scope, " "))
		if !errors.Is(err, storage.ErrRevoked) {
			return pair, err
		}
		if b, err = s.beginClient(ctx, b.id); err != nil {
			return tokenResponse{}, err
		}
		if b.client, err = s.sameClient(ctx, req.client); err != nil {
			return tokenResponse{}, err
		}
	}
	return tokenResponse{}, errUnavailable.reason("revocations keep coming between")
}

// beginClient begins a grant of the client itself. The caller reads the
// client's record after it: see begin on the order. All attempts use the same
// id, so that each reads the epoch of the same partition.
func (s *Server) beginClient(ctx context.Context, id storage.GrantID) (beginning, error) {
	epoch, err := s.cfg.Store.Epoch(ctx, id)
	return beginning{id: id, epoch: epoch}, err
}
