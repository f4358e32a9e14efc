package storagetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

var raceChecks = []check{
	{"revoking a user while sign-ins and refreshes go on", raceCheck(storage.Target{UserID: alice}, 1)},
	{"revoking a client while sign-ins and refreshes go on", raceCheck(storage.Target{ClientID: web}, 1)},
	{"revoking everybody while sign-ins and refreshes go on", raceCheck(storage.Target{All: true}, 1)},
	{"revoking and sweeping by several at once", raceCheck(storage.Target{UserID: alice}, 4)},
	{"revoking and sweeping everybody by several at once", raceCheck(storage.Target{All: true}, 3)},
}

const (
	raceWriters  = 8    // half of them refresh their grants
	raceRounds   = 4    // revocations of each revoker
	raceProgress = 40   // sign-ins between two revocations
	raceLead     = 2000 // most sign-ins since the last end of a sweep: on a busy machine, a sweep might never catch up with the writers
	raceRecent   = 80   // the latest sign-ins, which are checked right after a revocation; all are checked at the end
)

// race lets writers sign in as alice at web while revokers end their grants. A
// shared counter orders the events. A sign-in that knew its epoch before a
// revocation drew its number must not survive it. A sign-in that drew its number
// after all revocations must live. If its call of Epoch overlaps a revocation,
// both are right.
type race struct {
	t      *testing.T
	f      Fixture
	target storage.Target
	order  atomic.Int64
	stop   atomic.Bool
	over   int64 // the number drawn when all revocations had returned

	mu      sync.Mutex
	signIns []signIn
	swept   int   // the number of signIns when a sweep last ended
	cut     int64 // the number of the latest revocation that has returned
}

// signIn is a grant that CreateGrant kept.
type signIn struct {
	grant storage.Grant
	began int64 // the number drawn before it read the epoch
	knew  int64 // the number drawn once it had the epoch
}

func raceCheck(target storage.Target, revokers int) func(*testing.T, Fixture) {
	return func(t *testing.T, f Fixture) {
		r := &race{t: t, f: f, target: target}
		bystanders := r.bystanders()
		var writers, ends sync.WaitGroup
		for i := range raceWriters {
			writers.Go(func() { r.write(i%2 == 0) })
		}
		for range revokers {
			ends.Go(func() {
				for range raceRounds {
					r.revokeAndSweep()
				}
			})
		}
		ends.Wait()
		r.over = r.order.Add(1)
		r.stop.Store(true)
		writers.Wait()
		if t.Failed() {
			return
		}
		r.verdict()
		for _, g := range bystanders {
			wantLive(t.Context(), t, f, g)
		}
		wantNoFloors(t, f)
		r.leavesNothing()
	}
}

// bystanders are grants that the revocations must leave alone.
func (r *race) bystanders() []storage.Grant {
	switch {
	case r.target.UserID != "":
		return []storage.Grant{created(r.t, r.f, bob, web), created(r.t, r.f, "", web)}
	case r.target.ClientID != "":
		return []storage.Grant{created(r.t, r.f, alice, cli), created(r.t, r.f, "", cli)}
	}
	return nil
}

// write signs in again and again, and once more after the last revocation.
func (r *race) write(refreshes bool) {
	for last := false; !last; {
		r.awaitSweep()
		last = r.stop.Load()
		g, err := r.signIn()
		if err == nil && refreshes && !last {
			err = r.refresh(g)
		}
		if err != nil {
			r.t.Errorf("writer: %v", err)
			r.stop.Store(true)
			return
		}
	}
}

// awaitSweep waits while the writers are too far ahead of the sweeps.
func (r *race) awaitSweep() {
	ahead := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.signIns)-r.swept > raceLead
	}
	for ahead() && !r.stop.Load() {
		time.Sleep(time.Millisecond)
	}
}

// signIn does what the token endpoint does from reading the epoch on.
func (r *race) signIn() (storage.Grant, error) {
	ctx := r.t.Context()
	for {
		g := newGrant(r.f, alice, web)
		began := r.order.Add(1)
		err := persist(func() (err error) { g.Epoch, err = r.f.Store.Epoch(ctx, g.ID); return err })
		if err != nil {
			return g, err
		}
		knew := r.order.Add(1)
		err = persist(func() error { return r.f.Store.CreateGrant(ctx, g) })
		if errors.Is(err, storage.ErrRevoked) {
			continue
		}
		if err == nil {
			r.mu.Lock()
			r.signIns = append(r.signIns, signIn{g, began, knew})
			r.mu.Unlock()
		}
		return g, err
	}
}

// refresh refreshes g until it is revoked, or for a while, so that swaps coincide
// with revocations and sweeps.
func (r *race) refresh(g storage.Grant) error {
	for range 12 {
		next := successor(r.f, g)
		err := persist(func() error { return r.f.Store.SwapGrant(r.t.Context(), g, next, retryOf(r.f, g, time.Minute)) })
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		g = next
	}
	return nil
}

func (r *race) snapshot() []signIn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.signIns[:len(r.signIns):len(r.signIns)]
}

// revokeAndSweep waits for sign-ins that it can end, revokes them, and checks that
// earlier sign-ins are dead at once, and after the sweep.
func (r *race) revokeAndSweep() {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.swept = len(r.signIns)
	}()
	for seen := len(r.snapshot()); len(r.snapshot()) < seen+raceProgress && !r.stop.Load(); {
		time.Sleep(time.Millisecond)
	}
	ctx, cut := r.t.Context(), r.order.Add(1)
	var revocation storage.Revocation
	err := persist(func() (err error) { revocation, err = r.f.Store.Revoke(ctx, r.target); return err })
	if err != nil {
		r.t.Errorf("Revoke: %v", err)
		return
	}
	r.mu.Lock()
	r.cut = max(r.cut, cut)
	r.mu.Unlock()
	known := r.snapshot()
	known = known[max(0, len(known)-raceRecent):]
	r.wantDead(known, cut)
	if err := persist(func() error { _, err := r.f.Store.Sweep(ctx, revocation, nil); return err }); err != nil {
		r.t.Errorf("Sweep: %v", err)
		return
	}
	r.wantDead(known, cut)
}

// persist repeats a call while the store can't answer in time: the machine may be too
// slow for so many calls at once. Every call is safe to repeat.
func persist(call func() error) error {
	const tries, pause = 50, 20 * time.Millisecond
	err := call()
	for n := 1; n < tries && errors.Is(err, storage.ErrUnavailable); n++ {
		time.Sleep(pause)
		err = call()
	}
	return err
}

// wantDead reports the sign-ins that had their epoch before cut and still load.
func (r *race) wantDead(signIns []signIn, cut int64) {
	for _, s := range signIns {
		if s.knew > cut {
			continue
		}
		var g storage.Grant
		err := persist(func() (err error) { g, err = r.f.Store.LoadGrant(r.t.Context(), s.grant.ID); return err })
		if !errors.Is(err, storage.ErrNotFound) {
			r.t.Errorf("sign-in %d had its epoch before revocation %d, which returned, but loads as %+v, %v", s.knew, cut, g, err)
			return
		}
	}
}

// verdict checks all sign-ins once the race is over. The last sign-in of each
// writer began after the last revocation returned and must live.
func (r *race) verdict() {
	r.t.Helper()
	if last := r.signIns[len(r.signIns)-1]; last.knew < r.over {
		r.t.Fatal("nobody signed in after the revocations")
	}
	r.wantDead(r.signIns, r.cut)
	live := listAll(r.t.Context(), r.t, r.f, storage.Target{UserID: alice}, 50)
	for _, s := range r.signIns {
		_, listed := live[s.grant.ID]
		if listed && s.knew < r.cut {
			r.t.Errorf("sign-in %d had its epoch before revocation %d and is listed", s.knew, r.cut)
		}
		if !listed && s.began > r.over {
			r.t.Errorf("sign-in %d began after all revocations and isn't listed", s.began)
		}
	}
}

// leavesNothing ends the remaining grants and checks that nothing is left of them.
func (r *race) leavesNothing() {
	r.t.Helper()
	sweep(r.t, r.f, revoke(r.t, r.f, storage.Target{All: true}))
	wantNoFloors(r.t, r.f)
	wantNoResidue(r.t, r.f)
}
