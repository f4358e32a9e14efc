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

	worked time.Duration
}

// busyShare is how much of the time the work takes when others are busy. On a
// machine that they use to the full it is what they lose.
const busyShare = 0.15

// maxRest is the longest rest: a step that something else held up, such as a
// connection that broke, says nothing of what it cost.
const maxRest = time.Second

// Do runs a step, which should take some milliseconds, and rests after it. The step
// returns what such a one takes, roughly, when nobody is in its way: one that
// took twice as long or longer met others. Do returns the step's error, and doesn't
// rest then or when ctx ends.
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
	rest := took
	if took >= 2*usual { // it waited for others most of the time
		rest = time.Duration(float64(usual) * (1/busyShare - 1))
	}
	timer := time.NewTimer(min(rest, maxRest))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
}
