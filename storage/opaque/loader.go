package opaque

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/storage"
)

const (
	// Activation is the time between the making of a deployment key and its first
	// use for minting. By then every node accepts the tokens that are minted under it.
	Activation = 15 * time.Second

	// MaxAge bounds the age of a keyring in use at a node that reaches the store.
	// So it also bounds how long the tokens of a deleted key may still be
	// recognised. It is less than Activation by the difference that clocks may have.
	MaxAge = 10 * time.Second

	reloadAfter = 5 * time.Second // a keyring of this age is loaded anew, in the background
	loadTimeout = 3 * time.Second
	retryAfter  = time.Second // after a failure

	firstID = 1 // of the first key of a store
)

// ErrLost says that the store has lost all of its deployment keys.
var ErrLost = errors.New("opaque: the store lost its deployment keys")

// ErrNoKey is the error of a loader that is ReadOnly while the store has no deployment
// key yet. It wraps storage.ErrUnavailable.
var ErrNoKey = fmt.Errorf("%w: opaque: there is no deployment key yet; the authorization server makes it", storage.ErrUnavailable)

// Loader is a Source that loads the keyring from a store. The first call loads
// it, and so does every further call until one succeeds, so a server may start
// before its store. A Loader is safe for concurrent use.
//
// After that it loads the keyring anew from time to time, so that keys can be
// added and deleted while servers run. A request waits for this only if the node
// was idle for MaxAge, or since the store failed to answer. No request fails by
// it: while the store doesn't answer, or holds a key that the deployment secret
// doesn't open (ErrSealed), the loader goes on with the keyring that it has.
// After MaxAge that keyring answers storage.ErrUnavailable for tokens under a key
// that it doesn't know, since the key may be new.
//
// A store without any key has lost its keys, since Keys deletes none that is in
// use. The loader then puts back the keys that it has. So the grants that weren't
// lost with them, as on another shard, live on, and all nodes go on with the same
// keys. A store that was restored from a backup is taken as it is: it has no
// grants of the keys that came later.
//
// A new key mints only Activation after this node first saw it. A node that has
// just started, or has loaded nothing for MaxAge, goes by the time at which the
// key was made. So every node mints under the new key before the previous one may
// be deleted; see Keys.Delete.
type Loader struct {
	keys   storage.Keys
	sealer *Sealer
	now    func() time.Time
	note   func(error)
	reads  bool // ReadOnly: makes no key

	have       atomic.Pointer[loaded]
	background storage.Background // the loading
	turn       chan struct{}      // full while somebody loads, who alone may use the fields below
	told       string             // the failure that was noted last
}

// loaded is the content of the store at one time. Only due changes.
type loaded struct {
	ring   *Keyring
	stored []storage.Key
	mints  map[byte]time.Time // the time from which each key may mint
	at     time.Time          // when the store was asked
	failed time.Time          // the last failure to load it anew, zero without one: for reloadAfter no request waits for the next attempt
	due    atomic.Bool        // it is time to load anew; a flag, so that requests needn't read the clock
}

// LoaderOption is an option of NewLoader.
type LoaderOption func(*Loader)

// WithClock replaces time.Now as the clock for the activation of keys and for the
// age of the keyring.
func WithClock(now func() time.Time) LoaderOption {
	return func(l *Loader) { l.now = now }
}

// WithNote makes the loader call f with the reason why it couldn't load the keyring
// anew, once for the same reason in a row, and with ErrLost when it put keys back.
func WithNote(f func(error)) LoaderOption {
	return func(l *Loader) { l.note = f }
}

// ReadOnly makes the loader create no key and put none back; of the store it only calls
// ListKeys. It is for resource servers: one that was given the wrong store must not make
// a key there that the authorization server's secret doesn't open. While the store has
// no key, Keyring returns ErrNoKey.
func ReadOnly() LoaderOption {
	return func(l *Loader) { l.reads = true }
}

// NewLoader returns a source of the store's deployment keys. The first process
// to ask an empty store makes its first key, unless it is ReadOnly.
func NewLoader(keys storage.Keys, sealer *Sealer, options ...LoaderOption) *Loader {
	l := &Loader{keys: keys, sealer: sealer, now: time.Now, note: func(error) {}, turn: make(chan struct{}, 1)}
	for _, set := range options {
		set(l)
	}
	return l
}

// Keyring returns the store's keyring. It returns ErrSealed when the deployment
// secret isn't the one that the keys were sealed under, and ErrNoSecret without a sealer.
func (l *Loader) Keyring(ctx context.Context) (*Keyring, error) {
	have := l.have.Load()
	switch {
	case have == nil:
		return l.wait(ctx)
	case !have.due.Load():
		return have.ring, nil
	case have.past(l.now()) && l.now().Sub(have.failed) >= reloadAfter:
		return l.wait(ctx)
	}
	select {
	case l.turn <- struct{}{}:
		l.background.Go(ctx, loadTimeout, l.renew)
	default: // somebody does it already
	}
	return have.ring, nil
}

// Wait waits until the loading in the background has ended, or returns an error when ctx
// ends first. Call it after the last request and before the store is closed.
func (l *Loader) Wait(ctx context.Context) error { return l.background.Wait(ctx) }

func (l *Loader) leave() { <-l.turn }

func (have *loaded) old(now time.Time) bool { return !now.Before(have.at.Add(MaxAge)) }

// past reports whether a request should wait for a newer keyring: this one is old, or
// another key mints by now, so that the one that minted before may be deleted soon.
func (have *loaded) past(now time.Time) bool {
	for _, from := range have.mints {
		if from.After(have.at) && !from.After(now) {
			return true
		}
	}
	return have.old(now)
}

// wait loads the keyring, unless somebody else has done so meanwhile. All of its time
// counts as time spent waiting for the store.
func (l *Loader) wait(ctx context.Context) (*Keyring, error) {
	err := l.await(ctx)
	if err == nil {
		err = l.background.Finish(ctx, loadTimeout, l.renew)
	}
	if err != nil {
		return nil, fmt.Errorf("loading the deployment keys: %w", err)
	}
	return l.have.Load().ring, nil
}

// await waits for the turn.
func (l *Loader) await(ctx context.Context) error {
	waiting, done := storage.Wait(ctx)
	defer done()
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-waiting.Done():
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, context.Cause(waiting))
	}
}

// renew loads the keyring if there is none or it is due, and then gives up the turn. It
// serves all requests, so it doesn't end with the request that started it.
func (l *Loader) renew(ctx context.Context) error {
	defer l.leave()
	have := l.have.Load()
	switch {
	case have == nil:
		return l.load(ctx)
	case have.due.Load():
		l.reload(ctx)
	}
	return nil
}

// reload loads the keyring anew. When that fails, the present keyring stays; if it is too
// old, it no longer claims to know all keys (see Keyring.outdated).
func (l *Loader) reload(ctx context.Context) {
	err := l.load(ctx)
	if err == nil {
		l.told = ""
		return
	}
	l.tell(fmt.Errorf("reloading the deployment keys: %w", err))
	have := l.have.Load()
	kept := &loaded{ring: have.ring, stored: have.stored, mints: have.mints, at: have.at, failed: l.now()}
	if kept.old(l.now()) {
		kept.ring = kept.ring.outdated()
	}
	l.keep(kept, retryAfter)
}

// keep makes next the present state, which is due for loading after d.
func (l *Loader) keep(next *loaded, d time.Duration) {
	time.AfterFunc(d, func() { next.due.Store(true) })
	l.have.Store(next)
}

func (l *Loader) tell(err error) {
	if text := err.Error(); text != l.told {
		l.told = text
		l.note(err)
	}
}

// load replaces the keyring by one with the keys that the store has now.
func (l *Loader) load(ctx context.Context) error {
	if l.sealer == nil {
		return ErrNoSecret
	}
	had, now := l.have.Load(), l.now() // read before the store is asked, so that the answer is never older than now
	stored, err := l.keys.ListKeys(ctx)
	if err == nil && len(stored) == 0 {
		stored, err = l.furnish(ctx, had)
	}
	if err != nil {
		return err
	}
	next := &loaded{stored: stored, mints: mintTimes(stored, had, now), at: now}
	if next.ring, err = l.ring(next, had); err != nil {
		return err
	}
	wait := reloadAfter
	for _, from := range next.mints {
		if left := from.Sub(now); left > 0 {
			wait = min(wait, left)
		}
	}
	l.keep(next, wait)
	return nil
}

// furnish gives a store without keys the keys that it lost, or its first one. If another
// process was faster, its keys count.
func (l *Loader) furnish(ctx context.Context, had *loaded) ([]storage.Key, error) {
	switch {
	case l.reads && had != nil:
		return nil, ErrLost
	case l.reads:
		return nil, ErrNoKey
	}
	lost := []storage.Key{{ID: firstID, Sealed: l.sealer.Seal(NewKey(firstID)), Created: l.now().UTC()}}
	if had != nil {
		lost = had.stored
	}
	for _, k := range lost {
		if err := l.keys.CreateKey(ctx, k); err != nil && !errors.Is(err, storage.ErrExists) {
			return nil, err
		}
	}
	if had != nil {
		l.note(fmt.Errorf("%w; this process stores the ones that it has again", ErrLost))
	}
	stored, err := l.keys.ListKeys(ctx)
	if err == nil && len(stored) == 0 {
		err = ErrLost
	}
	return stored, err
}

// mintTimes returns the time from which each key may mint. If a key is new to a node that
// has looked regularly, no node saw it before that node's last look, whatever the clock of
// its maker says and however late the store wrote it.
func mintTimes(stored []storage.Key, had *loaded, now time.Time) map[byte]time.Time {
	mints := make(map[byte]time.Time, len(stored))
	for _, k := range stored {
		from := k.Created
		if had != nil {
			if had.holds(k) {
				mints[k.ID] = had.mints[k.ID]
				continue
			}
			if !had.old(now) {
				from = latest(from, now)
			}
		}
		mints[k.ID] = from.Add(Activation)
	}
	return mints
}

func (have *loaded) holds(k storage.Key) bool {
	return slices.ContainsFunc(have.stored, func(kept storage.Key) bool { return sameKey(kept, k) })
}

func sameKey(a, b storage.Key) bool {
	return a.ID == b.ID && bytes.Equal(a.Sealed, b.Sealed) && a.Created.Equal(b.Created)
}

// ring returns the keyring of next, which is that of had if nothing has changed.
func (l *Loader) ring(next, had *loaded) (*Keyring, error) {
	byAge := oldestFirst(next.stored)
	mint := byAge[0]
	for _, k := range byAge {
		if !next.mints[k.ID].After(next.at) {
			mint = k
		}
	}
	if had != nil && had.ring.mintID == mint.ID && !had.ring.old && slices.EqualFunc(next.stored, had.stored, sameKey) {
		return had.ring, nil
	}
	var first Key
	var more []Key
	for _, k := range next.stored {
		open, err := l.sealer.Unseal(k.ID, k.Sealed)
		switch {
		case err != nil:
			return nil, err
		case k.ID == mint.ID:
			first = open
		default:
			more = append(more, open)
		}
	}
	return NewKeyring(first, more...)
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
