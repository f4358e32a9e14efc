package throttle

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/grantd/grantd/storage"
)

// turn is held by one at a time.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// enter waits for the caller's turn; leave ends it. Who has it waits for the store, so
// this is a wait for the store too.
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

// enterLater is enter for whoever waits for a while already, at a store that isn't slow: so
// long the turn of another may take, and it's no wait for the store.
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

// desk is where the guesses at one user queue in this process: one at a time reads
// and writes the record, so that only nodes compete for it, and not requests.
type desk struct {
	turn                  // of who may touch what follows
	record  []byte        // as it was last seen
	seen    time.Time     // or later
	took    time.Duration // to see it
	changed chan struct{} // closed when a guess of this process has ended

	hashing stopwatch // runs while a password is hashed, or waits for that
	users   int       // guarded by desks.mu
}

// fresh is how long a record that was seen is good enough to wait by. A change is made
// by compare and swap, and doesn't depend on it.
const fresh = 50 * time.Millisecond

// slow is how long a store takes that the guesses under way wait for more than for
// their passwords to be hashed. Whoever waits for them then waits for the store, but
// while one is hashed.
const slow = 50 * time.Millisecond

// saw remembers what the store answered to a question that was asked then.
func (d *desk) saw(record []byte, asked time.Time) {
	d.record, d.seen, d.took = record, asked, time.Since(asked)
}

// wake lets those try again who wait for a guess to end.
func (d *desk) wake() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// stopwatch runs while one of those that started it hasn't stopped it. It is safe for
// concurrent use.
type stopwatch struct {
	mu      sync.Mutex
	running int
	since   time.Time     // it runs
	before  time.Duration // it ran
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

// read returns how long it ran, and whether it runs.
func (w *stopwatch) read() (ran time.Duration, runs bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running == 0 {
		return w.before, false
	}
	return w.before + time.Since(w.since), true
}

// maxDesks bounds the memory. One that is in use stays.
const maxDesks = 4096

// desks remember users that were guessed at, or signed in, lately. It is safe for
// concurrent use.
type desks struct {
	mu    sync.Mutex
	known map[storage.GuessKey]*desk
}

// open returns the desk of that key, which must be closed.
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
	for key, other := range t.known { // any: the map begins somewhere
		if other.users == 0 {
			delete(t.known, key)
			return
		}
	}
}
