package storagetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

var receiptChecks = []check{
	{"a receipt loads with every field, at revision 1", receiptKeepsFields},
	{"an update replaces a receipt and counts its revision up", receiptUpdate},
	{"of concurrent updates of a receipt exactly one succeeds", receiptUpdateRace},
	{"a deleted receipt is gone", receiptDelete},
	{"receipts are listed with the newest first", receiptList},
}

func newReceipt(f Fixture) storage.Receipt {
	return storage.Receipt{
		ID: storage.NewReceiptID(f.Now()), Created: f.Now(),
		Target: storage.Target{UserID: alice, Before: f.Now().Add(-time.Hour)}, Epochs: map[byte]uint32{0: 7, 255: 1<<32 - 1},
		Username: "alice", By: "admin", Cause: storage.ActRevocation, Expected: -1,
		Swept:     storage.Swept{Grants: 3, Oldest: f.Now().Add(-3 * time.Hour), Newest: f.Now().Add(-2 * time.Hour)},
		Sweeping:  f.Now().Add(time.Second),
		Completed: f.Now().Add(2 * time.Second), Verified: f.Now().Add(3 * time.Second), Survivors: 1,
	}
}

func createdReceipt(t *testing.T, f Fixture) storage.Receipt {
	t.Helper()
	r := newReceipt(f)
	wantErr(t, "CreateReceipt", f.Store.CreateReceipt(t.Context(), r), nil)
	r.Revision = 1
	return r
}

func wantReceipt(t *testing.T, f Fixture, r storage.Receipt) {
	t.Helper()
	got, err := f.Store.LoadReceipt(t.Context(), r.ID)
	wantErr(t, "LoadReceipt", err, nil)
	if d := diff(r, got); d != "" {
		t.Fatalf("receipt (-kept +loaded):\n%s", d)
	}
}

func receiptKeepsFields(t *testing.T, f Fixture) {
	r := createdReceipt(t, f)
	wantReceipt(t, f, r)
	other := r
	other.By = "another"
	wantErr(t, "CreateReceipt under a taken id", f.Store.CreateReceipt(t.Context(), other), storage.ErrExists)
	wantReceipt(t, f, r)
	bare := storage.Receipt{ID: storage.NewReceiptID(f.Now()), Created: f.Now(), Grant: storage.NewGrantID(alice).String(), Revision: 77}
	wantErr(t, "CreateReceipt", f.Store.CreateReceipt(t.Context(), bare), nil)
	bare.Revision = 1
	wantReceipt(t, f, bare)
	_, err := f.Store.LoadReceipt(t.Context(), storage.NewReceiptID(f.Now()))
	wantErr(t, "LoadReceipt of an unknown id", err, storage.ErrNotFound)
}

func receiptUpdate(t *testing.T, f Fixture) {
	r := createdReceipt(t, f)
	for revision := range uint64(3) {
		changed := r
		changed.Swept.Grants += 10
		changed.Completed = time.Time{}
		wantErr(t, "UpdateReceipt", f.Store.UpdateReceipt(t.Context(), changed), nil)
		wantErr(t, "UpdateReceipt of a stale revision", f.Store.UpdateReceipt(t.Context(), r), storage.ErrConflict)
		changed.Revision = revision + 2
		wantReceipt(t, f, changed)
		r = changed
	}
	unknown := newReceipt(f)
	unknown.Revision = 1
	wantErr(t, "UpdateReceipt of an unknown id", f.Store.UpdateReceipt(t.Context(), unknown), storage.ErrNotFound)
}

func receiptUpdateRace(t *testing.T, f Fixture) {
	r := createdReceipt(t, f)
	next := make([]storage.Receipt, 20)
	for i := range next {
		next[i] = r
		next[i].By = fmt.Sprint(i)
	}
	errs := concurrently(len(next), func(i int) error { return f.Store.UpdateReceipt(t.Context(), next[i]) })
	r = next[wantOneWinner(t, errs, storage.ErrConflict)]
	r.Revision++
	wantReceipt(t, f, r)
}

func receiptDelete(t *testing.T, f Fixture) {
	r, stays := createdReceipt(t, f), createdReceipt(t, f)
	for range 2 {
		wantErr(t, "DeleteReceipt", f.Store.DeleteReceipt(t.Context(), r.ID), nil)
	}
	_, err := f.Store.LoadReceipt(t.Context(), r.ID)
	wantErr(t, "LoadReceipt", err, storage.ErrNotFound)
	wantReceipt(t, f, stays)
	page, err := f.Store.ListReceipts(t.Context(), "", 10)
	wantErr(t, "ListReceipts", err, nil)
	if len(page) != 1 || page[0].ID != stays.ID {
		t.Errorf("listed %+v", page)
	}
}

func receiptList(t *testing.T, f Fixture) {
	var ids []string
	var half time.Time
	for i := range 20 {
		if i == 10 {
			half = f.Now()
		}
		ids = append(ids, createdReceipt(t, f).ID)
		f.Advance(time.Millisecond)
	}
	slices.Reverse(ids)
	for _, limit := range []int{1, 7, 20, 1000} {
		if d := diff(ids, receiptsAfter(t, f, "", limit)); d != "" {
			t.Fatalf("receipts in pages of %d (-want +got):\n%s", limit, d)
		}
	}
	if d := diff(ids[10:], receiptsAfter(t, f, storage.ReceiptsBefore(half), 7)); d != "" {
		t.Errorf("receipts before the tenth (-want +got):\n%s", d)
	}
}

// receiptsAfter lists all receipts after the id, page by page.
func receiptsAfter(t *testing.T, f Fixture, after string, limit int) []string {
	t.Helper()
	var ids []string
	for {
		page, err := f.Store.ListReceipts(t.Context(), after, limit)
		wantErr(t, "ListReceipts", err, nil)
		if len(page) == 0 {
			return ids
		}
		for _, r := range page {
			ids = append(ids, r.ID)
		}
		after = ids[len(ids)-1]
	}
}
