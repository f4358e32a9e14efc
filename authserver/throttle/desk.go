package throttle

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/grantd/grantd/storage"
)

// turn is a lock whose holder may wait for the store.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// enter waits for the caller's turn; leave ends it. The holder of the turn waits for
// the store, so this counts as a wait for the store too.
func (t turn) enter(ctx context.Context) error {
	if t.enterAtOnce() {
		return nil
	}
	return t.await(ctx)
}

func (t turn) enterAtOnce() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

// enterLater is enter for a guess that has waited before, at a store that isn't slow:
// only what it waits beyond slow counts as a wait for the store.
func (t turn) enterLater(ctx context.Context) error {
	if t.enterAtOnce() {
		return nil
	}
	timer := time.NewTimer(slow)
	defer timer.Stop()
	select {
	case t <- struct{}{}:
		return nil
	case <-timer.C:
		return t.await(ctx)
	case <-ctx.Done():
		return fmt.Errorf("throttle: %w: %w", storage.ErrUnavailable, context.Cause(ctx))
	}
}

func (t turn) await(ctx context.Context) error {
	ctx, done := storage.Wait(ctx)
	defer done()
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("throttle: %w: %w", storage.ErrUnavailable, context.Cause(ctx))
	}
}

func (t turn) leave() { <-t }

// desk is where the guesses at one user queue in this process. One at a time
// reads and writes the record, so that only nodes compete for it, not requests.
type desk struct {
	turn                  // its holder may use record, seen, took and changed
	record  []byte        // as last seen
	seen    time.Time     // at this time or later
	took    time.Duration // to see it
	changed chan struct{} // closed when a guess of this process has ended

	hashing stopwatch // runs while a password is hashed, or waits for that
	users   int       // guarded by desks.mu
}

// fresh is how old a record may be for a guess to wait on its account. Changes compare
// and swap, and don't depend on it.
const fresh = 50 * time.Millisecond

// slow is the time of a look-up from which on a store counts as slow. Guesses
// under way then wait mostly for the store, and so do the guesses that wait for
// them, except while a password is being hashed.
const slow = 50 * time.Millisecond

// saw remembers the store's answer to a call that began at asked.
func (d *desk) saw(record []byte, asked time.Time) {
	d.record, d.seen, d.took = record, asked, time.Since(asked)
}

// wake makes the guesses that wait for another to end try again.
func (d *desk) wake() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// stopwatch runs while it was started more often than stopped. It is safe for
// concurrent use.
type stopwatch struct {
	mu      sync.Mutex
	running int
	since   time.Time     // start of the current run
	before  time.Duration // time of the earlier runs
}

func (w *stopwatch) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running++; w.running == 1 {
		w.since = time.Now()
	}
}

func (w *stopwatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running--; w.running == 0 {
		w.before += time.Since(w.since)
	}
}

// read returns how long the stopwatch ran in all, and whether it runs.
func (w *stopwatch) read() (ran time.Duration, runs bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running == 0 {
		return w.before, false
	}
	return w.before + time.Since(w.since), true
}

// maxDesks bounds the memory. Desks in use stay beyond it.
const maxDesks = 4096

// desks remember the users that lately signed in or were guessed at. It is safe
// for concurrent use.
type desks struct {
	mu    sync.Mutex
	known map[storage.GuessKey]*desk
}

// open returns the desk of the key, making it if need be. The caller must close
// it.
func (t *desks) open(key storage.GuessKey) *desk {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.known[key]
	if d == nil {
		d = &desk{turn: newTurn(), changed: make(chan struct{})}
		if t.known == nil {
			t.known = make(map[storage.GuessKey]*desk)
		}
		t.known[key] = d
	}
	d.users++
	return d
}

func (t *desks) close(d *desk) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.users--
	if len(t.known) <= maxDesks {
		return
	}
	for key, other := range t.known { // any one
		if other.users == 0 {
			delete(t.known, key)
			return
		}
	}
}
