package watched

import (
	"context"
	"time"

	"github.com/grantd/grantd/storage"
)

// CreateGrant implements storage.Grants.
func (s *store) CreateGrant(ctx context.Context, g storage.Grant) error {
	began := time.Now()
	err := s.Store.CreateGrant(ctx, g)
	s.tell(ctx, CreateGrant, began, err)
	return err
}

// LoadGrant implements storage.Grants.
func (s *store) LoadGrant(ctx context.Context, id storage.GrantID) (storage.Grant, error) {
	began := time.Now()
	value, err := s.Store.LoadGrant(ctx, id)
	s.tell(ctx, LoadGrant, began, err)
	return value, err
}

// SwapGrant implements storage.Grants.
func (s *store) SwapGrant(ctx context.Context, old, next storage.Grant, r storage.Retry) error {
	began := time.Now()
	err := s.Store.SwapGrant(ctx, old, next, r)
	s.tell(ctx, SwapGrant, began, err)
	return err
}

// LoadRetry implements storage.Grants.
func (s *store) LoadRetry(ctx context.Context, id storage.GrantID) (storage.Retry, error) {
	began := time.Now()
	value, err := s.Store.LoadRetry(ctx, id)
	s.tell(ctx, LoadRetry, began, err)
	return value, err
}

// DeleteGrant implements storage.Grants.
func (s *store) DeleteGrant(ctx context.Context, id storage.GrantID) error {
	began := time.Now()
	err := s.Store.DeleteGrant(ctx, id)
	s.tell(ctx, DeleteGrant, began, err)
	return err
}
