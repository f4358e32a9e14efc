package watched

import (
	"context"
	"time"

	"github.com/grantd/grantd/storage"
)

// Epoch implements storage.Revocations.
func (s *store) Epoch(ctx context.Context, id storage.GrantID) (uint32, error) {
	began := time.Now()
	value, err := s.Store.Epoch(ctx, id)
	s.tell(ctx, Epoch, began, err)
	return value, err
}

// Revoke implements storage.Revocations.
func (s *store) Revoke(ctx context.Context, t storage.Target) (storage.Revocation, error) {
	began := time.Now()
	value, err := s.Store.Revoke(ctx, t)
	s.tell(ctx, Revoke, began, err)
	return value, err
}

// Unswept implements storage.Revocations.
func (s *store) Unswept(ctx context.Context) ([]storage.Revocation, error) {
	began := time.Now()
	value, err := s.Store.Unswept(ctx)
	s.tell(ctx, Unswept, began, err)
	return value, err
}

// Sweep implements storage.Sweeper.
func (s *store) Sweep(ctx context.Context, r storage.Revocation, report func(storage.Swept) error) (storage.Swept, error) {
	began := time.Now()
	value, err := s.Store.Sweep(ctx, r, report)
	s.tell(ctx, Sweep, began, err)
	return value, err
}

// Survivors implements storage.Sweeper.
func (s *store) Survivors(ctx context.Context, r storage.Revocation) (int, error) {
	began := time.Now()
	value, err := s.Store.Survivors(ctx, r)
	s.tell(ctx, Survivors, began, err)
	return value, err
}

// CountGrants implements storage.Revocations.
func (s *store) CountGrants(ctx context.Context, t storage.Target) (int, error) {
	began := time.Now()
	value, err := s.Store.CountGrants(ctx, t)
	s.tell(ctx, CountGrants, began, err)
	return value, err
}

// ListGrants implements storage.Revocations.
func (s *store) ListGrants(ctx context.Context, t storage.Target, cursor string, limit int) ([]storage.Grant, string, error) {
	began := time.Now()
	grants, following, err := s.Store.ListGrants(ctx, t, cursor, limit)
	s.tell(ctx, ListGrants, began, err)
	return grants, following, err
}

// CreateReceipt implements storage.Receipts.
func (s *store) CreateReceipt(ctx context.Context, r storage.Receipt) error {
	began := time.Now()
	err := s.Store.CreateReceipt(ctx, r)
	s.tell(ctx, CreateReceipt, began, err)
	return err
}

// LoadReceipt implements storage.Receipts.
func (s *store) LoadReceipt(ctx context.Context, id string) (storage.Receipt, error) {
	began := time.Now()
	value, err := s.Store.LoadReceipt(ctx, id)
	s.tell(ctx, LoadReceipt, began, err)
	return value, err
}

// UpdateReceipt implements storage.Receipts.
func (s *store) UpdateReceipt(ctx context.Context, r storage.Receipt) error {
	began := time.Now()
	err := s.Store.UpdateReceipt(ctx, r)
	s.tell(ctx, UpdateReceipt, began, err)
	return err
}

// DeleteReceipt implements storage.Receipts.
func (s *store) DeleteReceipt(ctx context.Context, id string) error {
	began := time.Now()
	err := s.Store.DeleteReceipt(ctx, id)
	s.tell(ctx, DeleteReceipt, began, err)
	return err
}

// ListReceipts implements storage.Receipts.
func (s *store) ListReceipts(ctx context.Context, after string, limit int) ([]storage.Receipt, error) {
	began := time.Now()
	value, err := s.Store.ListReceipts(ctx, after, limit)
	s.tell(ctx, ListReceipts, began, err)
	return value, err
}
