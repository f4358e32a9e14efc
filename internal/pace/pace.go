// Package pace makes long work that can wait leave room for work that can't.
package pace

import (
	"context"
	"time"
)

// Pace rests between the steps of some work: long when others are busy, and
// otherwise as long as the step took. It is for one goroutine.
type Pace struct {
	Free time.Duration // work before the first rest, so that a little of it is done at once

	// Others counts, in any unit, how much others have used so far of what the work
	// needs. It returns false if it can't tell; then others count as busy. It is
	// called only while the work rests.
	Others func(ctx context.Context) (n int64, ok bool)

	worked time.Duration
	seen   float64 // count of others lately, in the rested seconds
	rested float64
}

const (
	// busyShare is the share of the time that the work takes when others are busy.
	// They lose about that share of a machine that they use fully.
	busyShare = 0.05

	// quiet is how much others may use in a second and still count as idle.
	quiet = 20

	// maxRest is the longest rest. A step that was held up, for example by a
	// broken connection, says nothing about its cost.
	maxRest = time.Second
)

// Do runs a step, which should take some milliseconds, and rests after it. The
// step returns roughly how long such a step takes when nobody is in its way. Do
// returns the step's error. It doesn't rest after an error, nor when ctx ends.
func (p *Pace) Do(ctx context.Context, step func() (usual time.Duration, err error)) error {
	began := time.Now()
	usual, err := step()
	if err != nil {
		return err
	}
	took := time.Since(began)
	if p.worked += took; p.worked <= p.Free {
		return nil
	}
	short := min(took, maxRest)
	if p.othersWhile(ctx, short) {
		long := min(time.Duration(float64(min(took, usual))*(1/busyShare-1)), maxRest)
		sleep(ctx, long-short)
	}
	return nil
}

// othersWhile rests for a while and reports whether others are busy.
func (p *Pace) othersWhile(ctx context.Context, rest time.Duration) bool {
	before, ok := p.Others(ctx)
	sleep(ctx, rest)
	if !ok {
		return true
	}
	after, ok := p.Others(ctx)
	if !ok || after < before { // another server counts now, after a failover
		return true
	}
	const kept = 0.8 // share of the earlier count: rests are short, and others come in bursts
	p.seen = kept*p.seen + float64(after-before)
	p.rested = kept*p.rested + rest.Seconds()
	return p.seen > quiet*p.rested+1
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
