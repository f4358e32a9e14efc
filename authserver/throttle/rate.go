package throttle

import "time"

// rate is how many failures a full bucket holds, and how long it takes to get
// one back. The state of a bucket is the time when it will be full again (the
// generic cell rate algorithm), so it needs no ticking clock.
type rate struct {
	burst int
	every time.Duration
}

var (
	clientRate  = rate{20, 3 * time.Second}
	clientsRate = rate{120, 500 * time.Millisecond} // of a network, over all clients
	networkRate = rate{100, 10 * time.Second}
	accountRate = rate{50, time.Minute}
)

// span returns how long an empty bucket takes to be full.
func (r rate) span() time.Duration { return time.Duration(r.burst) * r.every }

// left returns how many failures a bucket has left that will be full at that
// time.
func (r rate) left(full, now time.Time) int {
	if !full.After(now) {
		return r.burst
	}
	return max(0, int((r.span()-full.Sub(now))/r.every))
}

// wait returns how long such a bucket has nothing left. If full is too far
// ahead, because a clock was wrong, the bucket counts as empty.
func (r rate) wait(full, now time.Time) time.Duration { return r.waitFor(1, full, now) }

// waitFor returns how long such a bucket has fewer than n left.
func (r rate) waitFor(n int, full, now time.Time) time.Duration {
	if !full.After(now) {
		return 0
	}
	return max(0, min(full.Sub(now), r.span())-r.span()+time.Duration(n)*r.every)
}

// spend takes one failure out of the bucket, if there is one, and returns when
// it will be full.
func (r rate) spend(full, now time.Time) time.Time {
	if full.Before(now) {
		full = now
	}
	full = full.Add(r.every)
	if most := now.Add(r.span()); full.After(most) {
		return most
	}
	return full
}

// spendSome takes n failures out of the bucket, as spend does.
func (r rate) spendSome(n int, full, now time.Time) time.Time {
	for range n {
		full = r.spend(full, now)
	}
	return full
}
