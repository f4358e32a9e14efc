package watched

import (
	"context"

	"github.com/grantd/grantd/storage"
)

// CreateGrant implements storage.Grants.
func (s *store) CreateGrant(ctx context.Context, g storage.Grant) error {
	w := begin(ctx)
	err := s.Store.CreateGrant(w.ctx, g)
	return s.end(ctx, CreateGrant, w, err)
}

// LoadGrant implements storage.Grants.
func (s *store) LoadGrant(ctx context.Context, id storage.GrantID) (storage.Grant, error) {
	w := begin(ctx)
	value, err := s.Store.LoadGrant(w.ctx, id)
	return value, s.end(ctx, LoadGrant, w, err)
}

// SwapGrant implements storage.Grants.
func (s *store) SwapGrant(ctx context.Context, old, next storage.Grant, r storage.Retry) error {
	w := begin(ctx)
	err := s.Store.SwapGrant(w.ctx, old, next, r)
	return s.end(ctx, SwapGrant, w, err)
}

// LoadRetry implements storage.Grants.
func (s *store) LoadRetry(ctx context.Context, id storage.GrantID) (storage.Retry, error) {
	w := begin(ctx)
	value, err := s.Store.LoadRetry(w.ctx, id)
	return value, s.end(ctx, LoadRetry, w, err)
}

// DeleteGrant implements storage.Grants.
func (s *store) DeleteGrant(ctx context.Context, id storage.GrantID) error {
	w := beginLong(ctx)
	err := s.Store.DeleteGrant(w.ctx, id)
	return s.end(ctx, DeleteGrant, w, err)
}
