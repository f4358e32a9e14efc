package embedded

import (
	"context"

	"github.com/grantd/grantd/storage"
)

// CreateReceipt keeps r; see storage.Receipts.
func (s *Store) CreateReceipt(ctx context.Context, r storage.Receipt) error {
	return receipts.createIn(ctx, s, r)
}

// LoadReceipt returns the receipt of that id; see storage.Receipts.
func (s *Store) LoadReceipt(ctx context.Context, id string) (storage.Receipt, error) {
	return receipts.loadFrom(ctx, s, id)
}

// UpdateReceipt replaces the receipt of r.ID; see storage.Receipts.
func (s *Store) UpdateReceipt(ctx context.Context, r storage.Receipt) error {
	return receipts.updateIn(ctx, s, r)
}

// DeleteReceipt forgets the receipt; see storage.Receipts.
func (s *Store) DeleteReceipt(ctx context.Context, id string) error {
	return receipts.deleteFrom(ctx, s, id)
}

// ListReceipts returns receipts by id, the newest first; see storage.Receipts.
func (s *Store) ListReceipts(ctx context.Context, after string, limit int) ([]storage.Receipt, error) {
	return receipts.listOf(ctx, s, after, limit)
}
