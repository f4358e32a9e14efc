package pace_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/internal/pace"
)

const ms = time.Millisecond

// step returns a step that takes the time took, and says that it usually takes
// usual.
func step(took, usual time.Duration) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		time.Sleep(took)
		return usual, nil
	}
}

// others returns a count of others' work that grows by rate each second.
func others(rate float64) func(context.Context) (int64, bool) {
	began := time.Now()
	return func(context.Context) (int64, bool) { return int64(rate * time.Since(began).Seconds()), true }
}

func unknown(context.Context) (int64, bool) { return 0, false }

func TestPaceRestsLongWhenOthersAreBusy(t *testing.T) {
	for name, tt := range map[string]struct {
		rate        float64 // of others; negative if unknown
		took, usual time.Duration
		least, most time.Duration // for 20 steps
	}{
		"nobody":                        {0, 10 * ms, 10 * ms, 400 * ms, 400 * ms},
		"hardly anybody":                {10, 10 * ms, 10 * ms, 400 * ms, 400 * ms},
		"some":                          {100, 10 * ms, 10 * ms, 3600 * ms, 4000 * ms},
		"many":                          {10_000, 10 * ms, 10 * ms, 3900 * ms, 4000 * ms},
		"many, in the way of the steps": {10_000, 30 * ms, 10 * ms, 4350 * ms, 4450 * ms},
		"who can't be seen":             {-1, 10 * ms, 10 * ms, 3900 * ms, 4000 * ms},
		"a step that was held up":       {-1, 10 * time.Second, 10 * ms, 220 * time.Second, 221 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pace.Pace{Others: others(tt.rate)}
				if tt.rate < 0 {
					p.Others = unknown
				}
				began := time.Now()
				for range 20 {
					if err := p.Do(t.Context(), step(tt.took, tt.usual)); err != nil {
						t.Fatal(err)
					}
				}
				if took := time.Since(began); took < tt.least || took > tt.most {
					t.Errorf("20 steps take %v, want %v to %v", took, tt.least, tt.most)
				}
			})
		})
	}
}

func TestPaceBeginsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace.Pace{Free: 30 * ms, Others: unknown}
		began := time.Now()
		for i, want := range []time.Duration{10 * ms, 20 * ms, 30 * ms} {
			if err := p.Do(t.Context(), step(10*ms, ms)); err != nil || time.Since(began) != want {
				t.Errorf("after step %d: %v, %v, want %v", i+1, time.Since(began), err, want)
			}
		}
	})
}

func TestPaceRestsForNobodyWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace.Pace{Others: unknown}
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

// After a failover another node counts, and its count may be lower.
func TestPaceTakesACountThatWentDownForBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := int64(1000)
		p := pace.Pace{Others: func(context.Context) (int64, bool) { n -= 10; return n, true }}
		began := time.Now()
		if err := p.Do(t.Context(), step(10*ms, 10*ms)); err != nil || time.Since(began) < 160*ms {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
