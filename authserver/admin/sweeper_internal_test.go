package admin

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

// held is a store whose counts of survivors end only when hold is closed.
type held struct {
	storage.Store
	counts atomic.Int64
	hold   chan struct{}
}

func (h *held) Survivors(context.Context, storage.Revocation) (int, error) {
	h.counts.Add(1)
	<-h.hold
	return 7, nil
}

func (h *held) UpdateReceipt(context.Context, storage.Receipt) error { return nil }

// A request for a verification that is under way joins it, and the number of
// receipts that are verified or wait is bounded.
func TestVerificationsAreJoinedAndBounded(t *testing.T) {
	store := &held{hold: make(chan struct{})}
	s := NewSweeper(store, func(_ context.Context, err error) { t.Error(err) }, time.Now)
	defer s.Close()
	api := &API{sweeper: s}
	receipts := make([]storage.Receipt, maxAsked+1)
	var asked []*verification
	for i := range receipts {
		receipts[i].ID = storage.NewReceiptID(time.Now())
		if i == maxAsked {
			break
		}
		v := s.ask(receipts[i])
		if v == nil || s.ask(receipts[i]) != v {
			t.Fatalf("receipt %d: another verification of it, or none", i)
		}
		asked = append(asked, v)
	}
	beyond := receipts[maxAsked]
	_, err := api.verify(t.Context(), beyond)
	var p *problem
	if !errors.As(err, &p) || p.status != 503 || p.retryAfter == 0 {
		t.Errorf("beyond the bound: %v, want a 503 that says when to ask again", err)
	}
	close(store.hold)
	for i, v := range asked {
		<-v.done
		if v.err != nil || v.receipt.ID != receipts[i].ID || v.receipt.Survivors != 7 || v.receipt.Verified.IsZero() {
			t.Errorf("receipt %d: %+v, %v", i, v.receipt, v.err)
		}
	}
	if n := store.counts.Load(); n != maxAsked {
		t.Errorf("counted %d times, want %d", n, maxAsked)
	}
	if r, err := api.verify(t.Context(), beyond); err != nil || r.Survivors != 7 {
		t.Errorf("when there is room again: %+v, %v", r, err)
	}
}
