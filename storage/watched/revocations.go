package watched

import (
	"context"

	"github.com/grantd/grantd/storage"
)

// Epoch implements storage.Revocations.
func (s *store) Epoch(ctx context.Context, id storage.GrantID) (uint32, error) {
	w := begin(ctx)
	value, err := s.Store.Epoch(w.ctx, id)
	return value, s.end(ctx, Epoch, w, err)
}

// Revoke implements storage.Revocations.
func (s *store) Revoke(ctx context.Context, t storage.Target) (storage.Revocation, error) {
	w := beginLong(ctx)
	value, err := s.Store.Revoke(w.ctx, t)
	return value, s.end(ctx, Revoke, w, err)
}

// Unswept implements storage.Revocations.
func (s *store) Unswept(ctx context.Context) ([]storage.Revocation, error) {
	w := begin(ctx)
	value, err := s.Store.Unswept(w.ctx)
	return value, s.end(ctx, Unswept, w, err)
}

// Sweep implements storage.Sweeper.
func (s *store) Sweep(ctx context.Context, r storage.Revocation, report func(storage.Swept) error) (storage.Swept, error) {
	w := begin(ctx)
	value, err := s.Store.Sweep(w.ctx, r, report)
	return value, s.end(ctx, Sweep, w, err)
}

// Survivors implements storage.Sweeper.
func (s *store) Survivors(ctx context.Context, r storage.Revocation) (int, error) {
	w := begin(ctx)
	value, err := s.Store.Survivors(w.ctx, r)
	return value, s.end(ctx, Survivors, w, err)
}

// CountGrants implements storage.Revocations.
func (s *store) CountGrants(ctx context.Context, t storage.Target) (int, error) {
	w := beginLong(ctx)
	value, err := s.Store.CountGrants(w.ctx, t)
	return value, s.end(ctx, CountGrants, w, err)
}

// ListGrants implements storage.Revocations.
func (s *store) ListGrants(ctx context.Context, t storage.Target, cursor string, limit int) ([]storage.Grant, string, error) {
	w := beginLong(ctx)
	grants, following, err := s.Store.ListGrants(w.ctx, t, cursor, limit)
	return grants, following, s.end(ctx, ListGrants, w, err)
}

// CreateReceipt implements storage.Receipts.
func (s *store) CreateReceipt(ctx context.Context, r storage.Receipt) error {
	w := beginLong(ctx)
	err := s.Store.CreateReceipt(w.ctx, r)
	return s.end(ctx, CreateReceipt, w, err)
}

// LoadReceipt implements storage.Receipts.
func (s *store) LoadReceipt(ctx context.Context, id string) (storage.Receipt, error) {
	w := begin(ctx)
	value, err := s.Store.LoadReceipt(w.ctx, id)
	return value, s.end(ctx, LoadReceipt, w, err)
}

// UpdateReceipt implements storage.Receipts.
func (s *store) UpdateReceipt(ctx context.Context, r storage.Receipt) error {
	w := begin(ctx)
	err := s.Store.UpdateReceipt(w.ctx, r)
	return s.end(ctx, UpdateReceipt, w, err)
}

// DeleteReceipt implements storage.Receipts.
func (s *store) DeleteReceipt(ctx context.Context, id string) error {
	w := beginLong(ctx)
	err := s.Store.DeleteReceipt(w.ctx, id)
	return s.end(ctx, DeleteReceipt, w, err)
}

// ListReceipts implements storage.Receipts.
func (s *store) ListReceipts(ctx context.Context, after string, limit int) ([]storage.Receipt, error) {
	w := beginLong(ctx)
	value, err := s.Store.ListReceipts(w.ctx, after, limit)
	return value, s.end(ctx, ListReceipts, w, err)
}
