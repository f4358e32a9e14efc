package throttle

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// Limiter limits guesses. It is safe for concurrent use. A nil Limiter limits
// nothing.
type Limiter struct {
	store   storage.Guesses
	keys    opaque.Source
	now     func() time.Time
	buckets buckets
	desks   desks
	waiting atomic.Int64

	background storage.Background // outcomes that are being told
	unsettled  atomic.Int64       // those of them that the store couldn't be told at first
	ending     chan struct{}      // closed when the unsettled aren't tried again any more
	end        sync.Once          // closes ending
}

// New returns a limiter that shares its counts with all others on the same
// store under the same deployment keys. now is the clock of the limits.
func New(store storage.Guesses, keys opaque.Source, now func() time.Time) *Limiter {
	return &Limiter{store: store, keys: keys, now: now, ending: make(chan struct{})}
}

// Wait waits until the store was told the outcomes of the guesses, or returns the error
// of ctx when that ends first. From the call on, an outcome that the store can't be told
// isn't tried again. After Wait, once nobody guesses any more, the store may be closed.
func (l *Limiter) Wait(ctx context.Context) error {
	if l == nil {
		return nil
	}
	l.end.Do(func() { close(l.ending) })
	return l.background.Wait(ctx)
}

// Refusal is the error for a guess whose outcome isn't told. Right and wrong
// guesses get it alike, or it would be one guess more.
type Refusal struct {
	Wait time.Duration // until the next may be judged; more than zero

	// Crowded: too many guesses are under way to wait for. None of them need have
	// failed.
	Crowded bool
}

// Error tells the kind of refusal.
func (r *Refusal) Error() string {
	if r.Crowded {
		return "throttle: too many passwords at the same time"
	}
	return "throttle: too many wrong passwords"
}

// Attempt is a password that somebody gave for a user.
type Attempt struct {
	Username string       // as passhash.Username returns it; as typed if Nobody
	Nobody   bool         // no user can have the name
	Password string       // as typed
	Network  netip.Prefix // from NetworkOf; invalid without an address
}

// Begin returns a place for the attempt, with which its password may be judged.
// It returns a [Refusal] when the password may not be judged. While other
// guesses under way leave no room it waits for them, up to four seconds. Any
// other error comes from the store or the keys. The caller has to tell the
// place the outcome of the attempt, and always has to call [Place.Leave].
func (l *Limiter) Begin(ctx context.Context, a Attempt) (*Place, error) {
	if l == nil {
		return nil, nil
	}
	if err := l.refusal(ofNetwork(a.Network)); err != nil {
		return nil, err
	}
	p, err := l.approach(ctx, a)
	if err != nil {
		return nil, err
	}
	if err := p.await(ctx); err != nil {
		p.giveUp(ctx, err)
		return nil, err
	}
	return p, nil
}

// approach returns a place that isn't taken yet.
func (l *Limiter) approach(ctx context.Context, a Attempt) (*Place, error) {
	key, err := l.userKey(ctx, a.Username, a.Nobody)
	if err != nil {
		return nil, err
	}
	digest, err := l.key(ctx, kindPassword, string(key[:])+a.Password)
	if err != nil {
		return nil, err
	}
	return &Place{
		limiter: l, key: key, network: a.Network, desk: l.desks.open(key),
		id: rand.Uint64(), digest: binary.BigEndian.Uint64(digest[:]), //nolint:gosec // a place only has to be told from others
	}, nil
}

// ofNetwork returns what a failure costs the network: nothing without an address.
func ofNetwork(network netip.Prefix) []charge {
	if !network.IsValid() {
		return nil
	}
	return []charge{{bucket{kind: kindNetwork, network: network}, 1}}
}

// userKey returns the key of a user's record.
func (l *Limiter) userKey(ctx context.Context, name string, nobody bool) (storage.GuessKey, error) {
	kind := byte(kindUser)
	if nobody {
		kind = kindNobody
	}
	return l.key(ctx, kind, name)
}

func (l *Limiter) key(ctx context.Context, kind byte, text string) (storage.GuessKey, error) {
	keys, err := l.keys.Keyring(ctx)
	if err != nil {
		return storage.GuessKey{}, err
	}
	sum := keys.Blind(kind, text)
	return storage.GuessKey(sum[:len(storage.GuessKey{})]), nil
}

// NetworkOf returns the network that one guesser surely controls alone: the
// IPv4 address, or the /64 of the IPv6 address. It is invalid if a is.
func NetworkOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
