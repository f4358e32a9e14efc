package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grantd/grantd/storage"
)

// Resume finishes the sweeps whose processes died, one after the other, until ctx
// ends. Call it every minute on every node: one node takes over each sweep.
func (s *Sweeper) Resume(ctx context.Context) error {
	s.resuming.Lock()
	defer s.resuming.Unlock()
	open, err := s.openReceipts(ctx)
	if err != nil {
		return fmt.Errorf("looking for open receipts: %w", err)
	}
	for _, r := range open {
		if s.now().Sub(r.Sweeping) < lease {
			continue // another sweep is alive
		}
		if err := s.takeOver(ctx, r); err != nil {
			return fmt.Errorf("clearing away ended grants: %w", err)
		}
	}
	return s.sweepStrays(ctx, open)
}

// Expire deletes the receipts from before that time, and returns how many it
// deleted.
func (s *Sweeper) Expire(ctx context.Context, before time.Time) (int, error) {
	n := 0
	for {
		old, err := s.store.ListReceipts(ctx, storage.ReceiptsBefore(before), maxLimit)
		if err != nil || len(old) == 0 {
			return n, err
		}
		for _, r := range old {
			if err := s.store.DeleteReceipt(ctx, r.ID); err != nil {
				return n, err
			}
			n++
		}
	}
}

// takeOver sweeps for a receipt whose sweep died, unless another node was faster.
func (s *Sweeper) takeOver(ctx context.Context, r storage.Receipt) error {
	r.Sweeping = s.now()
	err := s.store.UpdateReceipt(ctx, r)
	if errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	r.Revision++
	_, err = s.run(ctx, r)
	return err
}

// skew is how much the clocks of nodes may differ when they make ids of
// receipts.
const skew = 10 * time.Minute

// openReceipts returns the receipts that aren't complete. A complete receipt
// stays complete, so only the first call reads all of them; later calls read
// those since the oldest that was open.
func (s *Sweeper) openReceipts(ctx context.Context) ([]storage.Receipt, error) {
	var open []storage.Receipt
	last := ""
	if !s.open.IsZero() {
		last = storage.ReceiptsBefore(s.open)
	}
	oldest := s.now()
	for after := ""; ; {
		page, err := s.store.ListReceipts(ctx, after, maxLimit)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			if last != "" && r.ID > last {
				s.open = oldest.Add(-skew)
				return open, nil
			}
			if r.Completed.IsZero() {
				open, oldest = append(open, r), r.Created
			}
			after = r.ID
		}
		if len(page) < maxLimit {
			s.open = oldest.Add(-skew)
			return open, nil
		}
	}
}

// sweepStrays sweeps floors without an open receipt: their process died before
// it kept the receipt, or was an older grantd without receipts. A new floor may
// still get its receipt, so a call sweeps only floors that the call before saw
// too.
func (s *Sweeper) sweepStrays(ctx context.Context, open []storage.Receipt) error {
	unswept, err := s.store.Unswept(ctx)
	if err != nil {
		return fmt.Errorf("looking for unfinished sweeps: %w", err)
	}
	known := s.strays
	s.strays = map[storage.Target]uint64{}
	for _, r := range unswept {
		if told(open, r) {
			continue
		}
		mark := epochs(r)
		s.strays[r.Target] = mark
		if known[r.Target] != mark {
			continue
		}
		if _, err := s.store.Sweep(ctx, r, nil); err != nil {
			return fmt.Errorf("clearing away ended grants: %w", err)
		}
	}
	return nil
}

// told reports whether a receipt covers the floors of r: it has the same target
// and floors as high.
func told(open []storage.Receipt, r storage.Revocation) bool {
	for _, receipt := range open {
		if receipt.Target == r.Target && epochs(receipt.Revocation()) >= epochs(r) {
			return true
		}
	}
	return false
}

// epochs returns a number that grows with each revocation of a target.
func epochs(r storage.Revocation) uint64 {
	var sum uint64
	for _, epoch := range r.Epochs {
		sum += uint64(epoch)
	}
	return sum
}
