// Package pace makes long work that can wait leave room for the work that can't.
package pace

import (
	"context"
	"time"
)

// Pace rests between the steps of some work: long when others are at it too, and
// else as long as it worked. It is for one goroutine.
type Pace struct {
	Free time.Duration // work before the first rest, so that a little of it is done at once

	// Others counts what others have had done so far by what the work needs, in
	// whatever unit, or reports that it can't tell. It is asked only while the work
	// rests. Who can't tell is taken to be busy.
	Others func(ctx context.Context) (n int64, ok bool)

	worked time.Duration
	seen   float64 // of others lately, in rested seconds
	rested float64
}

const (
	// busyShare is how much of the time the work takes when others are busy. It is
	// about what they lose of a machine that they use to the full.
	busyShare = 0.05

	// quiet is what others may have had done in a second when they count as idle.
	quiet = 20

	// maxRest is the longest rest: a step that something else held up, such as a
	// connection that broke, says nothing of what it cost.
	maxRest = time.Second
)

// Do runs a step, which should take some milliseconds, and rests after it. The step
// returns what such a one takes, roughly, when nobody is in its way. Do returns
// the step's error, and doesn't rest then or when ctx ends.
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
	if !ok || after < before { // another counts now, after a failover
		return true
	}
	const kept = 0.8 // of what was seen before: rests are short, and others come in bursts
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
