package pace_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/internal/pace"
)

func TestPaceKeepsToItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace.Pace{Free: 30 * time.Millisecond, Share: 0.25}
		step := func() error {
			time.Sleep(10 * time.Millisecond)
			return nil
		}
		began := time.Now()
		for i, want := range []time.Duration{10, 20, 30, 70, 110} { // three steps are free, then each rests for three more
			if err := p.Do(t.Context(), step); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(began); got != want*time.Millisecond {
				t.Errorf("after step %d: %v, want %v", i+1, got, want*time.Millisecond)
			}
		}
	})
}

func TestPaceRestsNoLongerThanNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace.Pace{Share: 0.01}
		began := time.Now()
		stalled := func() error {
			time.Sleep(10 * time.Second)
			return nil
		}
		if err := p.Do(t.Context(), stalled); err != nil || time.Since(began) != 11*time.Second {
			t.Errorf("a step that stalled: %v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began = time.Now()
		if err := p.Do(ctx, stalled); err != nil || time.Since(began) != 10*time.Second {
			t.Errorf("after the context ended: %v after %v", err, time.Since(began))
		}
		fault := errors.New("fault")
		began = time.Now()
		if err := p.Do(t.Context(), func() error { return fault }); !errors.Is(err, fault) || time.Since(began) != 0 {
			t.Errorf("a step that failed: %v after %v", err, time.Since(began))
		}
	})
}
