package redisstore

import (
	"context"

	"github.com/grantd/grantd/storage"
)

// CreateReceipt implements storage.Receipts.
func (s *Store) CreateReceipt(ctx context.Context, r storage.Receipt) error {
	r.Revision = 1
	return s.receipts.add(ctx, r.ID, r)
}

// LoadReceipt implements storage.Receipts.
func (s *Store) LoadReceipt(ctx context.Context, id string) (storage.Receipt, error) {
	return s.receipts.load(ctx, id)
}

// UpdateReceipt implements storage.Receipts.
func (s *Store) UpdateReceipt(ctx context.Context, r storage.Receipt) error {
	replaced := r.Revision
	r.Revision++
	return s.receipts.update(ctx, r.ID, r, replaced)
}

// DeleteReceipt implements storage.Receipts.
func (s *Store) DeleteReceipt(ctx context.Context, id string) error {
	return s.receipts.remove(ctx, id)
}

// ListReceipts implements storage.Receipts.
func (s *Store) ListReceipts(ctx context.Context, after string, limit int) ([]storage.Receipt, error) {
	return s.receipts.page(ctx, after, limit)
}
