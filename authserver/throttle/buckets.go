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

// bucket names what failures are counted for, in a network. Without a client it is
// all of that kind.
type bucket struct {
	kind    byte
	network netip.Prefix
	client  string
}

// The kinds of what is blinded: see opaque.Keyring.Blind.
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

// maxBuckets bounds the memory: of more, those that are nearest to full go.
const maxBuckets = 8192

// buckets are those that this node knows of. It is safe for concurrent use.
type buckets struct {
	mu    sync.Mutex
	known map[bucket]level
}

// level is a bucket's state, and the record that the store had of it.
type level struct {
	full   time.Time
	record []byte
}

func (t *buckets) at(b bucket) level {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known[b]
}

func (t *buckets) wait(b bucket, now time.Time) time.Duration {
	return b.rate().wait(t.at(b).full, now)
}

// adopt takes over what the store has, unless more is known already.
func (t *buckets) adopt(b bucket, l level) {
	t.mu.Lock()
	defer t.mu.Unlock()
	had, known := t.known[b]
	switch {
	case t.known == nil:
		t.known = make(map[bucket]level)
	case !known && len(t.known) >= maxBuckets:
		t.forgetOne()
	}
	if !had.full.After(l.full) {
		t.known[b] = l
	}
}

// forgetOne forgets the bucket nearest to full among some that the map happens
// to begin with: so the buckets of one who guesses a lot stay.
func (t *buckets) forgetOne() {
	const sample = 8
	var oldest bucket
	looked := 0
	for b, l := range t.known {
		if looked == 0 || l.full.Before(t.known[oldest].full) {
			oldest = b
		}
		if looked++; looked == sample {
			break
		}
	}
	delete(t.known, oldest)
}

// ClientWait returns how long the network has to wait before it may authenticate
// as that client, or as one that can't exist, ""; zero: not at all. It asks no
// store, and knows what other nodes counted up to the last failure here.
func (l *Limiter) ClientWait(network netip.Prefix, client string) time.Duration {
	if l == nil || !network.IsValid() {
		return 0
	}
	now := l.now()
	wait := l.buckets.wait(bucket{kind: kindClients, network: network}, now)
	if client != "" {
		wait = max(wait, l.buckets.wait(bucket{kindClient, network, client}, now))
	}
	return wait
}

// ClientFailed counts that the network brought a wrong secret for that client, and
// reports whether no more will be looked at for now. Requests that are under way
// at the same time may overdraw a bucket by as many as they are.
func (l *Limiter) ClientFailed(ctx context.Context, network netip.Prefix, client string) (last bool, err error) {
	if l == nil || !network.IsValid() {
		return false, nil
	}
	ctx, done := settling(ctx)
	defer done()
	last, err = l.spend(ctx, bucket{kind: kindClients, network: network})
	if client != "" {
		lastOfClient, errOfClient := l.spend(ctx, bucket{kindClient, network, client})
		last, err = last || lastOfClient, errors.Join(err, errOfClient)
	}
	return last, err
}

// spend counts a failure, here and in the store, and reports whether it emptied the
// bucket: of all nodes only one is told so. What the store can't count is counted
// here.
func (l *Limiter) spend(ctx context.Context, b bucket) (emptied bool, err error) {
	r, now, had := b.rate(), l.now(), l.buckets.at(b)
	defer func() {
		if err != nil {
			l.buckets.adopt(b, level{full: r.spend(had.full, now), record: had.record})
		}
	}()
	key, err := l.key(ctx, b.kind, b.network.String()+" "+b.client)
	if err != nil {
		return false, err
	}
	record := had.record
	for range maxSwaps {
		before := decodeFull(record)
		after := level{full: r.spend(before, now)}
		after.record = encodeFull(after.full)
		kept, err := l.store.SwapGuesses(ctx, key, record, after.record, after.full)
		if err == nil {
			l.buckets.adopt(b, after)
			return r.wait(before, now) == 0 && r.wait(after.full, now) > 0, nil
		}
		if !errors.Is(err, storage.ErrConflict) {
			return false, err
		}
		record = kept
	}
	return false, errContended
}

// errContended: others were faster for too long.
var errContended = fmt.Errorf("throttle: %w: too many change the same record", storage.ErrUnavailable)

// A bucket's record is when it will be full, in milliseconds since 1970, and some
// random bytes, so that two nodes that count at once don't write the same.
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
