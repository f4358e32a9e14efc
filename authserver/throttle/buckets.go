package throttle

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/grantd/grantd/storage"
)

// bucket names a counter of failures in a network. Without a client it counts
// all failures of its kind.
type bucket struct {
	kind    byte
	network netip.Prefix
	client  string
}

// The kinds of blinded texts: see opaque.Keyring.Blind.
const (
	kindUser     = 'u'
	kindNobody   = 'n' // a name that no user can have
	kindPassword = 'p'
	kindNetwork  = 'w'
	kindClient   = 'c'
	kindClients  = 'a'
)

func (b bucket) rate() rate {
	switch b.kind {
	case kindClient:
		return clientRate
	case kindClients:
		return clientsRate
	}
	return networkRate
}

// charge is how many failures an attempt costs a bucket if the attempt fails.
type charge struct {
	bucket
	n int
}

// maxBuckets bounds the memory: beyond it, buckets that are nearest to full are
// forgotten.
const maxBuckets = 8192

// buckets are the buckets that this node knows of. It is safe for concurrent
// use.
type buckets struct {
	mu    sync.Mutex
	known map[bucket]*gauge
}

// gauge counts the failures of one bucket in this process. They are counted one
// after another, so that only nodes compete for the record, and so that each
// count is known before the next guess is answered.
type gauge struct {
	turn

	users int // guarded by buckets.mu
	level     // guarded by buckets.mu
}

// level is a bucket's state, with the record of it that the store last had.
type level struct {
	full   time.Time
	record []byte
}

// open returns the gauge of the bucket, making it if need be. The caller must
// close it.
func (t *buckets) open(b bucket) *gauge {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.known[b]
	if g == nil {
		if len(t.known) >= maxBuckets {
			t.forgetOne()
		}
		if t.known == nil {
			t.known = make(map[bucket]*gauge)
		}
		g = &gauge{turn: newTurn()}
		t.known[b] = g
	}
	g.users++
	return g
}

// find is open for a known bucket. It returns nil for others.
func (t *buckets) find(b bucket) *gauge {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.known[b]
	if g != nil {
		g.users++
	}
	return g
}

func (t *buckets) close(g *gauge) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g.users--
}

func (t *buckets) at(g *gauge) level {
	t.mu.Lock()
	defer t.mu.Unlock()
	return g.level
}

// wait returns how long it takes until every bucket has enough left for its
// charge.
func (t *buckets) wait(charges []charge, now time.Time) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range charges {
		if g := t.known[c.bucket]; g != nil {
			wait = max(wait, c.rate().waitFor(c.n, g.full, now))
		}
	}
	return wait
}

// adopt takes over the level, unless the gauge knows of more failures already.
func (t *buckets) adopt(g *gauge, l level) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !g.full.After(l.full) {
		g.level = l
	}
}

// forgetOne forgets the bucket nearest to full in a random sample of the map,
// but none that is in use. So the buckets of somebody who guesses a lot stay.
func (t *buckets) forgetOne() {
	const sample = 8
	var (
		nearest bucket
		least   *gauge
		looked  int
	)
	for b, g := range t.known {
		if g.users == 0 && (least == nil || g.full.Before(least.full)) {
			nearest, least = b, g
		}
		if looked++; looked >= sample && least != nil {
			break
		}
	}
	if least != nil {
		delete(t.known, nearest)
	}
}

// room returns a [Refusal] when the failures up to now leave too little for the
// charges. It waits for failures that are just being counted. Without any
// failures it costs nothing.
//
// It is called again when a guess turns out right; a wrong guess is refused too
// when nothing is left to count it in. So of many guesses judged at once, no
// more are answered than if they had come one after another, and a refusal
// doesn't tell whether the guess was right. As long as all are right, none
// waits for another.
func (l *Limiter) room(ctx context.Context, charges []charge) error {
	for _, c := range charges {
		g := l.buckets.find(c.bucket)
		if g == nil {
			continue
		}
		err := g.enter(ctx)
		if err == nil {
			g.leave()
		}
		l.buckets.close(g)
		if err != nil {
			return err
		}
	}
	return l.refusal(charges)
}

// refusal is room by the failures that are counted already.
func (l *Limiter) refusal(charges []charge) error {
	if wait := l.buckets.wait(charges, l.now()); wait > 0 {
		return &Refusal{Wait: wait}
	}
	return nil
}

// spend counts failures, here and in the store, and reports whether they emptied the
// bucket; of all nodes only one gets true. When the bucket has too few left it returns a
// [Refusal] and counts nothing. If the store fails, spend counts here alone. isNew,
// which may be nil, tells whether the failures count at all; later calls for the bucket
// wait for isNew too.
func (l *Limiter) spend(ctx context.Context, c charge, isNew func() (bool, error)) (emptied bool, err error) {
	g := l.buckets.open(c.bucket)
	defer l.buckets.close(g)
	if err := g.enter(ctx); err != nil {
		l.countHere(g, c)
		return false, err
	}
	defer g.leave()
	if err := l.refusal([]charge{c}); err != nil {
		return false, err
	}
	if isNew != nil {
		if counts, err := isNew(); !counts || err != nil {
			return false, err
		}
	}
	emptied, err = l.count(ctx, g, c)
	if err != nil && !errors.As(err, new(*Refusal)) {
		l.countHere(g, c)
	}
	return emptied, err
}

func (l *Limiter) countHere(g *gauge, c charge) {
	had := l.buckets.at(g)
	l.buckets.adopt(g, level{c.rate().spendSome(c.n, had.full, l.now()), had.record})
}

// count is spend in the store. The caller must hold the turn of g.
func (l *Limiter) count(ctx context.Context, g *gauge, c charge) (emptied bool, err error) {
	key, err := l.key(ctx, c.kind, c.network.String()+" "+c.client)
	if err != nil {
		return false, err
	}
	r, now, had := c.rate(), l.now(), l.buckets.at(g)
	record := had.record
	for range maxSwaps {
		before := decodeFull(record)
		if wait := r.waitFor(c.n, before, now); wait > 0 { // other nodes emptied it
			l.buckets.adopt(g, level{before, record})
			return false, &Refusal{Wait: wait}
		}
		if before.Before(had.full) { // failures that the store couldn't be told
			before = had.full
		}
		after := level{full: r.spendSome(c.n, before, now)}
		after.record = encodeFull(after.full)
		kept, err := l.store.SwapGuesses(ctx, key, record, after.record, after.full)
		if err == nil {
			l.buckets.adopt(g, after)
			return r.wait(before, now) == 0 && r.wait(after.full, now) > 0, nil
		}
		if !errors.Is(err, storage.ErrConflict) {
			return false, err
		}
		record = kept
	}
	return false, errContended
}

// errContended: other changes were faster, too many times.
var errContended = fmt.Errorf("throttle: %w: too many requests change the same record", storage.ErrUnavailable)

// A bucket's record is the time when it will be full, in milliseconds since
// 1970, and some random bytes, so that two nodes that count at once write
// different records.
const fullLen = 8

func encodeFull(full time.Time) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 2*fullLen), uint64(full.UnixMilli()))
	b = b[:2*fullLen]
	rand.Read(b[fullLen:]) // never fails since Go 1.24
	return b
}

func decodeFull(record []byte) time.Time {
	if len(record) != 2*fullLen {
		return time.Time{}
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(record)))
}
