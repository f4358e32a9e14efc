package pace_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/internal/pace"
)

// step is one that takes a time, and usually another.
func step(took, usual time.Duration) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		time.Sleep(took)
		return usual, nil
	}
}

func TestPaceRestsLongWhenOthersAreBusy(t *testing.T) {
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		p := pace.Pace{Free: 30 * ms}
		began := time.Now()
		for i, s := range []struct{ took, usual, until time.Duration }{
			{10 * ms, 10 * ms, 10 * ms}, // three steps are free
			{10 * ms, 1 * ms, 20 * ms},
			{10 * ms, 10 * ms, 30 * ms},
			{10 * ms, 10 * ms, 50 * ms},                    // as long as it worked
			{15 * ms, 10 * ms, 80 * ms},                    // a little slower says nothing
			{40 * ms, 15 * ms, 205 * ms},                   // 15 of 100
			{10 * time.Second, 10 * ms, 10262 * ms},        // however long it was held up: 10 of 67
			{5 * time.Second, 5 * time.Second, 16262 * ms}, // but not for ever
		} {
			if err := p.Do(t.Context(), step(s.took, s.usual)); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(began).Round(ms); got != s.until {
				t.Errorf("after step %d: %v, want %v", i+1, got, s.until)
			}
		}
	})
}

func TestPaceRestsForNobodyWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace.Pace
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		if err := p.Do(ctx, step(time.Second, time.Second)); err != nil || time.Since(began) != time.Second {
			t.Errorf("after the context ended: %v after %v", err, time.Since(began))
		}
		fault := errors.New("fault")
		began = time.Now()
		err := p.Do(t.Context(), func() (time.Duration, error) { return time.Second, fault })
		if !errors.Is(err, fault) || time.Since(began) != 0 {
			t.Errorf("a step that failed: %v after %v", err, time.Since(began))
		}
	})
}
