package throttle

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// plain is the obvious form of a bucket: the number of failures left, which
// grows by one after each rate.every while the bucket isn't full.
type plain struct {
	rate rate
	left int
	next time.Time // when the next failure comes back, unless the bucket is full
}

func (p *plain) advance(now time.Time) {
	for p.left < p.rate.burst && !p.next.After(now) {
		p.left++
		p.next = p.next.Add(p.rate.every)
	}
}

func (p *plain) spend(now time.Time) {
	switch p.left {
	case p.rate.burst:
		p.next = now.Add(p.rate.every)
	case 0: // as if the failure that was about to come back had been spent
		p.next = now.Add(p.rate.every)
		return
	}
	p.left--
}

func TestRateIsABucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rate{rapid.IntRange(1, 5).Draw(t, "burst"), time.Duration(rapid.IntRange(1, 20).Draw(t, "every")) * time.Second}
		now, full := start, time.Time{}
		p := plain{rate: r, left: r.burst}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "pause")) * time.Second)
			p.advance(now)
			if got := r.left(full, now); got != p.left {
				t.Fatalf("%d left, want %d", got, p.left)
			}
			wait := r.wait(full, now)
			if want := p.next.Sub(now); p.left == 0 && wait != want || p.left > 0 && wait != 0 {
				t.Fatalf("waits %s with %d left, want %s", wait, p.left, want)
			}
			if rapid.Bool().Draw(t, "fails") {
				full = r.spend(full, now)
				p.spend(now)
			}
		}
	})
}

func TestAWrongClockShutsNobodyOutForGood(t *testing.T) {
	if wait := networkRate.wait(start.AddDate(10, 0, 0), start); wait != networkRate.every {
		t.Errorf("wait is %s", wait)
	}
	full := networkRate.spend(start.AddDate(10, 0, 0), start)
	if full.Sub(start) != networkRate.span() {
		t.Errorf("the bucket is full in %s", full.Sub(start))
	}
}
