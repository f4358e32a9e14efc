package admin_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/storage"
)

// dying makes sweeps fail half-way, as in a process that is killed: after the
// grants were deleted, but before anything is reported.
type dying struct {
	storage.Store
	dies  atomic.Bool
	swept atomic.Int64
}

var errKilled = errors.New("killed")

func (d *dying) Sweep(ctx context.Context, r storage.Revocation, report func(storage.Swept) error) (storage.Swept, error) {
	d.swept.Add(1)
	return d.Store.Sweep(ctx, r, func(s storage.Swept) error {
		if d.dies.Load() {
			return errKilled
		}
		return report(s)
	})
}

// UpdateReceipt fails too once the process died.
func (d *dying) UpdateReceipt(ctx context.Context, r storage.Receipt) error {
	if d.dies.Load() {
		return errKilled
	}
	return d.Store.UpdateReceipt(ctx, r)
}

// sweepers are two nodes on one store, the first of which may die.
type sweepers struct {
	*world
	dying      *dying
	one, other *admin.Sweeper
	notes      atomic.Int64
}

func newSweepers(t *testing.T) *sweepers {
	t.Helper()
	s := &sweepers{world: newWorld(t)}
	s.dying = &dying{Store: s.store}
	note := func(context.Context, error) { s.notes.Add(1) }
	now := s.now
	s.one, s.other = admin.NewSweeper(s.dying, note, now), admin.NewSweeper(s.store, note, now)
	t.Cleanup(func() {
		s.one.Close()
		s.other.Close()
	})
	return s
}

// end ends the grants of alice on the first node.
func (s *sweepers) end(t *testing.T) storage.Receipt {
	t.Helper()
	r, done, err := s.one.End(t.Context(), admin.Ending{
		ID: storage.NewReceiptID(s.now()), Target: storage.Target{UserID: s.ids["alice"]}, Username: "alice", By: "root", Cause: storage.ActRevocation,
	})
	if err != nil {
		t.Fatal(err)
	}
	<-done
	s.one.Wait()
	r, err = s.store.LoadReceipt(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *sweepers) resume(t *testing.T, sweepers ...*admin.Sweeper) {
	t.Helper()
	for _, sweeper := range sweepers {
		if err := sweeper.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// When the process of a sweep died, another one completes the receipt. It
// counts the grants that either of them ended.
func TestASweepThatDiedIsTakenOver(t *testing.T) {
	s := newSweepers(t)
	s.dying.dies.Store(true)
	r := s.end(t)
	if !r.Completed.IsZero() || r.Swept.Grants != 0 || s.notes.Load() != 1 {
		t.Fatalf("it didn't die: %+v", r)
	}
	s.setClock(s.now().Add(59 * time.Second))
	s.resume(t, s.other)
	if again, _ := s.store.LoadReceipt(t.Context(), r.ID); again.Revision != r.Revision {
		t.Errorf("taken over though it may yet live: %+v", again)
	}
	s.setClock(s.now().Add(time.Second))
	s.resume(t, s.other)
	done, err := s.store.LoadReceipt(t.Context(), r.ID)
	if err != nil || !done.Completed.Equal(s.now()) || !done.Verified.Equal(s.now()) || done.Swept.Grants != 3 || done.Survivors != 0 {
		t.Errorf("the receipt: %+v, %v", done, err)
	}
	if unswept, err := s.store.Unswept(t.Context()); err != nil || len(unswept) != 0 {
		t.Errorf("unswept: %+v, %v", unswept, err)
	}
	s.resume(t, s.other, s.one)
	if again, _ := s.store.LoadReceipt(t.Context(), r.ID); again.Revision != done.Revision {
		t.Errorf("a complete receipt was changed: %+v", again)
	}
}

// A sweep that fails and can say so is taken over at once.
func TestASweepThatFailedIsTakenOverAtOnce(t *testing.T) {
	s := newSweepers(t)
	fails := func() error { return errKilled }
	s.store.sweep.Store(&fails)
	if r := s.end(t); !r.Sweeping.IsZero() || !r.Completed.IsZero() {
		t.Fatalf("the receipt: %+v", r)
	}
	if err := s.other.Resume(t.Context()); !errors.Is(err, errKilled) {
		t.Errorf("resumed: %v", err)
	}
	s.store.sweep.Store(nil)
	s.resume(t, s.other)
	s.wantComplete(t, 3)
}

// wantComplete fails the test unless there is one receipt, which is complete.
func (s *sweepers) wantComplete(t *testing.T, ended int) {
	t.Helper()
	all, err := s.store.ListReceipts(t.Context(), "", 10)
	if err != nil || len(all) != 1 || all[0].Completed.IsZero() || all[0].Swept.Grants != ended {
		t.Errorf("receipts: %+v, %v", all, err)
	}
}

// Of several nodes exactly one takes over.
func TestOneNodeTakesOver(t *testing.T) {
	s := newSweepers(t)
	s.dying.dies.Store(true)
	s.end(t)
	s.dying.dies.Store(false)
	s.dying.swept.Store(0)
	s.setClock(s.now().Add(time.Hour))
	var nodes []*admin.Sweeper
	for range 6 {
		n := admin.NewSweeper(s.dying, func(context.Context, error) {}, s.now)
		t.Cleanup(n.Close)
		nodes = append(nodes, n)
	}
	var all sync.WaitGroup
	for _, n := range nodes {
		all.Go(func() {
			if err := n.Resume(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := s.dying.swept.Load(); n != 1 {
		t.Errorf("%d nodes swept", n)
	}
	s.wantComplete(t, 3)
}

// A sweep that had ended may die before it can say so. The one that takes over
// then finds nothing, but the count stays.
func TestACountIsNeverTakenBack(t *testing.T) {
	s := newSweepers(t)
	r := s.end(t)
	r.Completed, r.Verified, r.Sweeping = time.Time{}, time.Time{}, time.Time{} // as it was before its last change
	if err := s.store.UpdateReceipt(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.resume(t, s.other)
	s.wantComplete(t, 3)
}

// Floors without a receipt are swept too, but only after a time in which they
// may get one.
func TestStraysAreSwept(t *testing.T) {
	s := newSweepers(t)
	if _, err := s.store.Revoke(t.Context(), storage.Target{UserID: s.ids["alice"]}); err != nil {
		t.Fatal(err)
	}
	floors := func() int {
		unswept, err := s.store.Unswept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(unswept)
	}
	s.resume(t, s.other)
	if floors() != 1 {
		t.Error("swept at once")
	}
	if _, err := s.store.Revoke(t.Context(), storage.Target{UserID: s.ids["alice"]}); err != nil { // a new floor in place of the old one
		t.Fatal(err)
	}
	s.resume(t, s.other)
	if floors() != 1 {
		t.Error("another was swept at once")
	}
	s.resume(t, s.other)
	if floors() != 0 {
		t.Error("not swept")
	}
}

// A floor whose receipt shows a sweep under way is left to that sweep.
func TestAFloorWithAReceiptIsNoStray(t *testing.T) {
	s := newSweepers(t)
	s.dying.dies.Store(true)
	s.end(t)
	s.setClock(s.now().Add(30 * time.Second))
	s.resume(t, s.other, s.other, s.other)
	if unswept, err := s.store.Unswept(t.Context()); err != nil || len(unswept) != 1 {
		t.Errorf("unswept: %+v, %v", unswept, err)
	}
}

func TestOldReceiptsExpire(t *testing.T) {
	s := newSweepers(t)
	var ids []string
	began := s.now()
	for day := range 5 {
		s.setClock(began.Add(time.Duration(day) * 24 * time.Hour))
		ids = append(ids, s.end(t).ID)
	}
	n, err := s.other.Expire(t.Context(), began.Add(2*24*time.Hour))
	if err != nil || n != 2 {
		t.Errorf("expired: %d, %v", n, err)
	}
	all, err := s.store.ListReceipts(t.Context(), "", 10)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, r := range all {
		left = append(left, r.ID)
	}
	if d := cmp.Diff([]string{ids[4], ids[3], ids[2]}, left); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
}
