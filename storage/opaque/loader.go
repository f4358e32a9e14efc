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
	// Activation is how long after it was made a deployment key begins to mint:
	// by then every node accepts what is minted under it.
	Activation = 15 * time.Second

	// MaxAge bounds how old a keyring is when it is used, at a node that
	// reaches the store: so long the tokens of a deleted key may still be
	// recognised. It is less than Activation by what clocks may differ.
	MaxAge = 10 * time.Second

	reloadAfter = 5 * time.Second // from then on the keyring is loaded anew, in the background
	loadTimeout = 3 * time.Second
	retryAfter  = time.Second // after a failure
)

// ErrLost says that the store has no deployment key any more, though it had some.
var ErrLost = errors.New("opaque: the store lost its deployment keys")

// ErrNoKey says to a loader that is ReadOnly that the store has no deployment key yet.
// It wraps storage.ErrUnavailable.
var ErrNoKey = fmt.Errorf("%w: opaque: it has no deployment key yet, which the authorization server makes", storage.ErrUnavailable)

// Loader is a Source that loads the keyring from a store when it is first
// asked, and again until it succeeds: a server may start before its store. It
// is safe for concurrent use.
//
// From then on it loads the keyring anew, now and then, so that keys can be
// added and deleted while servers run. No request waits for that, unless the
// node was idle for MaxAge. And none fails by it: while the store can't answer,
// or holds a key that the deployment secret doesn't open (ErrSealed), the
// keyring that is there is used. After MaxAge it says of tokens under a key that
// it doesn't know that nobody can tell now (storage.ErrUnavailable), since they
// may be of a new one.
//
// A store that has no keys any more lost them, since Keys deletes none that is in
// use: the loader puts back those that it has. So grants that weren't lost with
// them, as on another shard, live on, and all nodes go on agreeing. A store that
// was restored from a backup counts as it is: what was minted under later keys
// has no grant there.
//
// A new key mints only Activation after this node first saw it. A node that has
// just started, or has seen nothing for MaxAge, goes by when the key was made: so all
// mint under it before the one before it may be deleted, see Keys.Delete.
type Loader struct {
	keys   storage.Keys
	sealer *Sealer
	now    func() time.Time
	note   func(error)
	reads  bool // and makes no key

	have       atomic.Pointer[loaded]
	background storage.Background // somebody loads
	turn       chan struct{}      // full meanwhile; all below is theirs
	told       string             // the failure that was noted last
}

// loaded is what the store held. Only due changes.
type loaded struct {
	ring   *Keyring
	stored []storage.Key
	mints  map[byte]time.Time // when each may mint, from
	at     time.Time          // when it was asked for
	failed time.Time          // when asking again failed last, zero if it didn't: for reloadAfter nobody waits for it again
	due    atomic.Bool        // it is time to ask again; requests don't look at a clock for it
}

// LoaderOption is an option of NewLoader.
type LoaderOption func(*Loader)

// WithClock replaces time.Now as the clock that keys begin to mint by and the
// keyring grows old by.
func WithClock(now func() time.Time) LoaderOption {
	return func(l *Loader) { l.now = now }
}

// WithNote has f told why the keyring couldn't be loaded anew, once in a row for
// each reason, and of keys that were put back (ErrLost).
func WithNote(f func(error)) LoaderOption {
	return func(l *Loader) { l.note = f }
}

// ReadOnly has the loader make no key and put none back: what it asks of the store is
// ListKeys. It is for resource servers, which may be given another store than they
// should, and mustn't make a key there that the authorization server's secret doesn't
// open. While the store has no key, there is none to tell tokens by: Keyring returns
// ErrNoKey.
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

// Wait returns when nobody loads the keyring any more, and an error when ctx ends first.
// Whoever closes the store calls it before, when no requests come any more.
func (l *Loader) Wait(ctx context.Context) error { return l.background.Wait(ctx) }

func (l *Loader) leave() { <-l.turn }

func (have *loaded) old(now time.Time) bool { return !now.Before(have.at.Add(MaxAge)) }

// past reports whether the keyring isn't to be used any more where there can be a newer one:
// it is old, or another key mints by now, and the one that did may be deleted soon.
func (have *loaded) past(now time.Time) bool {
	for _, from := range have.mints {
		if from.After(have.at) && !from.After(now) {
			return true
		}
	}
	return have.old(now)
}

// wait loads the keyring, unless somebody else has done so meanwhile. All of it is a
// wait for the store.
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

// renew loads the keyring if there is none or it is due, and then leaves the turn to the
// next. It is for all requests, so it doesn't end with the one that it began with.
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

// reload loads the keyring anew. When it fails, what is there stays; if that is too
// old, it doesn't know any more which keys there are.
func (l *Loader) reload(ctx context.Context) {
	err := l.load(ctx)
	if err == nil {
		l.told = ""
		return
	}
	l.tell(fmt.Errorf("loading the deployment keys anew: %w", err))
	have := l.have.Load()
	kept := &loaded{ring: have.ring, stored: have.stored, mints: have.mints, at: have.at, failed: l.now()}
	if kept.old(l.now()) {
		kept.ring = kept.ring.outdated()
	}
	l.keep(kept, retryAfter)
}

// keep makes that what there is, for so long.
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

// load replaces the keyring by what the store has now.
func (l *Loader) load(ctx context.Context) error {
	if l.sealer == nil {
		return ErrNoSecret
	}
	had, now := l.have.Load(), l.now() // before the store is asked: what it says later is newer than that
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

// furnish gives a store without keys those that it lost, or its first one. When
// another process was faster, its keys count.
func (l *Loader) furnish(ctx context.Context, had *loaded) ([]storage.Key, error) {
	switch {
	case l.reads && had != nil:
		return nil, ErrLost
	case l.reads:
		return nil, ErrNoKey
	}
	const firstID = 1
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
		l.note(fmt.Errorf("%w; those that this process has are put back", ErrLost))
	}
	stored, err := l.keys.ListKeys(ctx)
	if err == nil && len(stored) == 0 {
		err = ErrLost
	}
	return stored, err
}

// mintTimes tells when each key may mint. One that appeared while this node looked now
// and then was seen by no node before the last look, whatever the clock of the one that
// made it, and however late the store wrote it.
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

// ring makes the keyring, unless it is the one that there was.
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
