package redisstore

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// A sweep hardly rests on a Redis that nobody else uses, and rests most of the time
// when others do.
func TestASweepMakesRoomForOthers(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	fill := func(user string) {
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for range 500 {
					mustCreate(t, s, newGrant(clock.Now(), user, time.Hour))
				}
			})
		}
		all.Wait()
	}
	// share returns the part of its time that a sweep spends in commands.
	share := func(user string) float64 {
		fill(user)
		busy := &stopwatch{}
		other, _ := open(t, server.URL())
		other.client.AddHook(busy)
		r, err := other.Revoke(t.Context(), storage.Target{UserID: user})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := other.Sweep(t.Context(), r, nil); err != nil {
			t.Fatal(err)
		}
		return busy.total.Seconds() / time.Since(began).Seconds()
	}
	alone := share("u1")
	ctx, stop := context.WithCancel(t.Context())
	var traffic sync.WaitGroup
	for range 4 {
		traffic.Go(func() {
			for ctx.Err() == nil {
				server.Client().Get(ctx, "x")
			}
		})
	}
	crowded := share("u2")
	stop()
	traffic.Wait()
	if alone < 0.3 || crowded > 0.3 {
		t.Errorf("of its time a sweep works %.2f alone and %.2f beside others, want half and hardly any", alone, crowded)
	}
}

// stopwatch is a hook that adds up how long commands take.
type stopwatch struct{ total time.Duration }

func (s *stopwatch) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *stopwatch) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		defer s.add(time.Now())
		return next(ctx, cmd)
	}
}

func (s *stopwatch) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		defer s.add(time.Now())
		return next(ctx, cmds)
	}
}

func (s *stopwatch) add(began time.Time) { s.total += time.Since(began) }
