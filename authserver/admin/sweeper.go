package admin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/grantd/grantd/storage"
)

// Sweeper ends grants and clears away their records, with a receipt for each
// revocation. It is safe for concurrent use; any number of Sweepers, on any
// nodes, may work on one store.
//
// The grants are dead before there is a receipt: see storage.Revocations. The
// sweep goes on in the background and writes its progress into the receipt. If
// its process dies, [Sweeper.Resume] on any node takes the receipt over.
type Sweeper struct {
	store storage.Store
	note  func(context.Context, error)
	now   func() time.Time

	working    context.Context // of the sweeps; they outlive the requests that began them
	stop       context.CancelFunc
	background sync.WaitGroup

	looking chan struct{} // one element for each verification that is looking
	asking  sync.Mutex
	asked   map[string]*verification // those under way or waiting, by the receipt's id

	resuming sync.Mutex
	open     time.Time                 // no receipt from before this time is open; zero: not known
	strays   map[storage.Target]uint64 // see sweepStrays
}

// NewSweeper returns a sweeper. It calls note with the errors of the work in
// the background, and a context of no request. now is the clock.
func NewSweeper(store storage.Store, note func(context.Context, error), now func() time.Time) *Sweeper {
	s := &Sweeper{
		store: store, note: note, now: func() time.Time { return now().UTC() },
		looking: make(chan struct{}, maxLooking), asked: map[string]*verification{},
	}
	s.working, s.stop = context.WithCancel(context.Background())
	return s
}

const (
	maxLooking = 2  // verifications that look for survivors at the same time
	maxAsked   = 32 // verifications that look or wait for their turn
)

// Wait returns when the sweeps in the background are done. Nobody may call End
// meanwhile.
func (s *Sweeper) Wait() { s.background.Wait() }

// Close ends the sweeps in the background and waits for them. The grants are
// dead all the same, and the receipts tell what is left to do.
func (s *Sweeper) Close() {
	s.stop()
	s.background.Wait()
}

// Ending says which grants to end, and why.
type Ending struct {
	ID       string         // of the receipt
	Target   storage.Target // whose grants
	Username string         // of Target.UserID
	By       string         // the actor: see storage.Receipt
	Cause    storage.AuditAction
}

// End ends the grants. They are dead when it returns. It returns the receipt as
// it is then, and a channel that gives the receipt as it is when the sweep has
// ended, well or not. It is no error if the receipt can't be kept: the sweep
// runs without it, and tries to keep it at its end.
//
// On an error the grants may still be good: repeating the call is safe.
func (s *Sweeper) End(ctx context.Context, e Ending) (storage.Receipt, <-chan storage.Receipt, error) {
	counted := s.count(ctx, e.Target)
	revocation, err := s.store.Revoke(ctx, e.Target)
	if err != nil {
		return storage.Receipt{}, nil, fmt.Errorf("ending the grants: %w", err)
	}
	now := s.now()
	r := storage.Receipt{
		ID: e.ID, Created: now, Target: revocation.Target, Epochs: revocation.Epochs,
		Username: e.Username, By: e.By, Cause: e.Cause,
		Expected: <-counted, Sweeping: now, Revision: 1,
	}
	kept := s.keep(ctx, r)
	done := make(chan storage.Receipt, 1)
	s.background.Go(func() {
		swept, err := s.run(s.working, r)
		if err != nil {
			s.note(s.working, fmt.Errorf("clearing away ended grants: %w", err))
		}
		if !kept {
			s.keep(s.working, swept)
		}
		done <- swept
	})
	return r, done, nil
}

// keep keeps a new receipt and reports whether it could. The grants are dead
// without a receipt, so the error goes to the log only.
func (s *Sweeper) keep(ctx context.Context, r storage.Receipt) bool {
	err := s.store.CreateReceipt(ctx, r)
	if err == nil || errors.Is(err, storage.ErrExists) { // an earlier call kept it, and its answer was lost
		return true
	}
	s.note(s.working, fmt.Errorf("keeping the receipt: %w", err))
	return false
}

// count counts the target's grants while they are being revoked, so that the
// count takes no extra time. It gives -1 if that fails, and for all grants,
// which may take a while; then the sweep counts.
func (s *Sweeper) count(ctx context.Context, t storage.Target) <-chan int {
	counted := make(chan int, 1)
	if t.All {
		counted <- -1
		return counted
	}
	go func() {
		n, err := s.store.CountGrants(ctx, t)
		if err != nil {
			n = -1
		}
		counted <- n
	}()
	return counted
}

// verification is one look for survivors, shared by all who ask for it while it
// goes on.
type verification struct {
	done    chan struct{} // closed at the end; read the other fields only after that
	receipt storage.Receipt
	err     error
}

// ask starts a verification in the background, or joins the one of this receipt
// that is under way. It returns nil when too many others are under way.
func (s *Sweeper) ask(r storage.Receipt) *verification {
	s.asking.Lock()
	defer s.asking.Unlock()
	if v := s.asked[r.ID]; v != nil {
		return v
	}
	if len(s.asked) >= maxAsked {
		return nil
	}
	v := &verification{done: make(chan struct{})}
	s.asked[r.ID] = v
	s.background.Go(func() {
		v.receipt, v.err = s.verify(s.working, r)
		s.asking.Lock()
		delete(s.asked, r.ID)
		s.asking.Unlock()
		close(v.done)
	})
	return v
}

// verify counts the grants that survived the revocation, and writes the count
// into the receipt.
func (s *Sweeper) verify(ctx context.Context, r storage.Receipt) (storage.Receipt, error) {
	select {
	case s.looking <- struct{}{}:
		defer func() { <-s.looking }()
	case <-ctx.Done():
		return r, ctx.Err()
	}
	n, err := s.survivors(ctx, r)
	if err != nil {
		return r, err
	}
	w := &sweep{Sweeper: s, receipt: r}
	err = w.update(ctx, func(r *storage.Receipt) { r.Verified, r.Survivors = s.now(), n })
	if errors.Is(err, errComplete) {
		err = nil
	}
	return w.receipt, err
}

func (s *Sweeper) survivors(ctx context.Context, r storage.Receipt) (int, error) {
	if r.Grant == "" {
		return s.store.Survivors(ctx, r.Revocation())
	}
	id, err := storage.ParseGrantID(r.Grant)
	if err != nil {
		return 0, err
	}
	_, err = s.store.LoadGrant(ctx, id)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, nil
	}
	return 1, err
}

const (
	// beat is how often a sweep shows a sign of life.
	beat = 10 * time.Second

	// lease is the time without a sign of life after which a sweep counts as
	// dead. It leaves room for clocks that differ.
	lease = time.Minute

	// maxPasses is how often a sweep looks again when something survived.
	maxPasses = 3
)

// run sweeps the grants of the receipt, verifies that none survived, and
// completes the receipt. If that fails, others may take over at once.
func (s *Sweeper) run(ctx context.Context, r storage.Receipt) (storage.Receipt, error) {
	w := &sweep{Sweeper: s, receipt: r}
	alive, rest := context.WithCancel(ctx)
	var beating sync.WaitGroup
	beating.Go(func() { w.beat(alive) })
	err := w.sweep(ctx, r)
	rest()
	beating.Wait()
	if err == nil || errors.Is(err, errComplete) {
		return w.receipt, nil
	}
	const patience = time.Second
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	_ = w.update(last, func(r *storage.Receipt) { r.Sweeping = time.Time{} }) // if this fails too, the lease runs out
	return w.receipt, err
}

// sweep is one run, with the receipt as last kept.
type sweep struct {
	*Sweeper
	mu      sync.Mutex
	receipt storage.Receipt
}

// errComplete: another sweep was faster and completed the receipt.
var errComplete = errors.New("the receipt is complete")

// sweep goes through the grants, and again if some survived, which can happen
// only in a Redis Cluster that moves slots. The store counts anew for each
// pass, because it forgets the count with the floor. began is the receipt as it
// was at the beginning: its target never changes, and the beat changes the rest
// meanwhile.
func (w *sweep) sweep(ctx context.Context, began storage.Receipt) error {
	if err := w.expect(ctx, began); err != nil {
		return err
	}
	revocation := began.Revocation()
	var earlier storage.Swept
	survivors := 0
	for range maxPasses {
		swept, err := w.store.Sweep(ctx, revocation, func(swept storage.Swept) error {
			return w.tell(ctx, earlier.And(swept))
		})
		if err != nil {
			return err
		}
		earlier = earlier.And(swept)
		if survivors, err = w.store.Survivors(ctx, revocation); err != nil {
			return err
		}
		if survivors == 0 {
			break
		}
	}
	return w.update(ctx, func(r *storage.Receipt) {
		r.Completed, r.Verified, r.Survivors = w.now(), w.now(), survivors
	})
}

// expect counts the grants to end, if nobody has counted them.
func (w *sweep) expect(ctx context.Context, began storage.Receipt) error {
	if began.Expected >= 0 {
		return nil
	}
	n, err := w.store.CountGrants(ctx, began.Target)
	if err != nil || n < 0 {
		return err
	}
	return w.update(ctx, func(r *storage.Receipt) { r.Expected = n })
}

// tell writes the count into the receipt, but never lowers it: if an earlier
// sweep ended and its receipt wasn't told, the store counts from zero again.
func (w *sweep) tell(ctx context.Context, swept storage.Swept) error {
	return w.update(ctx, func(r *storage.Receipt) {
		if swept.Grants > r.Swept.Grants {
			r.Swept = swept
		}
		r.Sweeping = w.now()
	})
}

// beat shows signs of life until ctx ends. A failure matters only if all fail;
// then another sweep takes over, which does no harm.
func (w *sweep) beat(ctx context.Context) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = w.update(ctx, func(r *storage.Receipt) { r.Sweeping = w.now() })
		}
	}
}

// update changes the receipt, and tries again when another sweep or a
// verification was faster. A receipt that was deleted meanwhile needs no
// change.
func (w *sweep) update(ctx context.Context, change func(*storage.Receipt)) error {
	const tries = 5
	w.mu.Lock()
	defer w.mu.Unlock()
	var err error
	for range tries {
		next := w.receipt
		change(&next)
		err = w.store.UpdateReceipt(ctx, next)
		switch {
		case err == nil:
			next.Revision++
			w.receipt = next
			return nil
		case errors.Is(err, storage.ErrNotFound):
			w.receipt = next
			return nil
		case !errors.Is(err, storage.ErrConflict):
			return fmt.Errorf("keeping the receipt: %w", err)
		}
		was := w.receipt
		if w.receipt, err = w.store.LoadReceipt(ctx, was.ID); err != nil {
			w.receipt = was
			return fmt.Errorf("reading the receipt: %w", err)
		}
		if was.Completed.IsZero() && !w.receipt.Completed.IsZero() {
			return errComplete
		}
	}
	return fmt.Errorf("keeping the receipt: %w", err)
}
