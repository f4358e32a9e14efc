package authserver

import (
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// throttle slows down the guessing of client secrets, in this process. It
// counts client authentications that brought a secret and failed, in two token
// buckets: one for the network and the client id that was claimed, and a larger
// one for the network whoever was claimed. A request that finds either of them
// empty is refused before its secret is looked at, whether right or wrong: else
// it would be one guess more. It is safe for concurrent use.
//
// Successes cost nothing, and neither do refusals, so a client that keeps trying
// a wrong secret locks itself out of its network, but not its neighbours behind
// the same address, unless somebody there tries many ids at once. No other
// network is ever touched. A request without a secret guesses none: it doesn't
// count and isn't refused, which is how public clients pass. Requests that are
// under way at the same time may overdraw a bucket by as many as they are.
//
// Tokens aren't counted, at /introspect neither: the tag of a token stops what
// is made up, whoever sends it, without asking the store, so scanning finds
// nothing; and a stranger who sends garbage to a resource server, which asks
// here about it, must not have it locked out.
type throttle struct {
	mu      sync.Mutex
	buckets map[bucket]time.Time // when the bucket will be full again
}

// bucket names a bucket: without a client it is the network's own.
type bucket struct {
	network netip.Prefix
	client  string
}

// rate is how many failures a bucket holds when it is full, and how long it
// takes to get one back.
type rate struct {
	burst int
	every time.Duration
}

var (
	clientRate  = rate{20, 3 * time.Second}
	networkRate = rate{120, 500 * time.Millisecond}
)

// maxBuckets bounds the memory: of more, those that are nearest to full go.
const maxBuckets = 8192

// wait returns how long the network has to wait before it may authenticate as
// that client, or as one that can't exist, ""; zero: not at all.
func (t *throttle) wait(network netip.Prefix, client string, now time.Time) time.Duration {
	if !network.IsValid() {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.longest(network, client, now)
}

// longest is the longer wait of the two buckets.
func (t *throttle) longest(network netip.Prefix, client string, now time.Time) time.Duration {
	wait := networkRate.wait(t.buckets[bucket{network: network}], now)
	if client != "" {
		wait = max(wait, clientRate.wait(t.buckets[bucket{network, client}], now))
	}
	return wait
}

// failed counts a failure, and reports whether it emptied a bucket.
func (t *throttle) failed(network netip.Prefix, client string, now time.Time) bool {
	if !network.IsValid() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.longest(network, client, now)
	t.spend(bucket{network: network}, networkRate, now)
	if client != "" {
		t.spend(bucket{network, client}, clientRate, now)
	}
	return before == 0 && t.longest(network, client, now) > 0
}

func (t *throttle) spend(b bucket, r rate, now time.Time) {
	full, known := t.buckets[b]
	switch {
	case t.buckets == nil:
		t.buckets = make(map[bucket]time.Time)
	case !known && len(t.buckets) >= maxBuckets:
		t.forgetOne()
	}
	t.buckets[b] = earlier(latest(full, now).Add(r.every), now.Add(r.span()))
}

// forgetOne forgets the bucket nearest to full among some that the map happens
// to begin with: so the buckets of one who guesses a lot stay.
func (t *throttle) forgetOne() {
	const sample = 8
	var oldest bucket
	looked := 0
	for b, full := range t.buckets {
		if looked == 0 || full.Before(t.buckets[oldest]) {
			oldest = b
		}
		if looked++; looked == sample {
			break
		}
	}
	delete(t.buckets, oldest)
}

// span is how long an empty bucket takes to be full.
func (r rate) span() time.Duration { return time.Duration(r.burst) * r.every }

// wait is how long a bucket that will be full then has nothing left.
func (r rate) wait(full, now time.Time) time.Duration {
	if !full.After(now) {
		return 0
	}
	return max(0, full.Sub(now)-r.span()+r.every)
}

// networkOf is what one guesser surely has for itself: an IPv4 address, or the
// /64 of an IPv6 one. It is invalid without an address.
func networkOf(a netip.Addr) netip.Prefix {
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

// errThrottled is a 429 (RFC 6585 section 4), for which RFC 6749 has no code.
var errThrottled = &Error{
	Status: http.StatusTooManyRequests, Code: "temporarily_unavailable",
	Description: "Too many client authentications from this network failed.",
}

// throttled returns errThrottled with the seconds to wait, rounded up.
func throttled(wait time.Duration) *Error {
	e := errThrottled.reason("too many failed client authentications from the network")
	e.retryAfter = int((wait + time.Second - 1) / time.Second)
	return e
}
