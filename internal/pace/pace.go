// Package pace makes long work that can wait leave room for the work that can't.
package pace

import (
	"context"
	"time"
)

// Pace rests between the steps of some work. The zero Pace never rests. It is for
// one goroutine.
type Pace struct {
	Free  time.Duration // work before the first rest, so that a little of it is done at once
	Share float64       // of the time, for the work after that; over 0 and up to 1

	worked time.Duration
}

// maxRest is the longest rest: a step that something else held up, such as a
// connection that broke, says nothing of what it cost.
const maxRest = time.Second

// Do runs a step, which should take some milliseconds, and rests after it. It returns
// the step's error, and doesn't rest then or when ctx ends.
func (p *Pace) Do(ctx context.Context, step func() error) error {
	began := time.Now()
	if err := step(); err != nil {
		return err
	}
	took := time.Since(began)
	if p.worked += took; p.worked <= p.Free || p.Share <= 0 {
		return nil
	}
	rest := time.NewTimer(min(time.Duration(float64(took)*(1/p.Share-1)), maxRest))
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
	}
	return nil
}
