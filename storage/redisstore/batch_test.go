package redisstore

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

func TestConcurrentLoadsShareRoundTripsAndGetTheirOwnGrant(t *testing.T) {
	s, clock := open(t, redistest.Single(t).URL())
	const callers, each = 64, 50
	var grants []storage.Grant
	for range callers {
		grants = append(grants, mustCreate(t, s, newGrant(clock.Now(), userID(), time.Hour)))
	}
	count := &trips{}
	s.client.AddHook(count)
	var wg sync.WaitGroup
	for _, g := range grants {
		wg.Go(func() {
			for range each {
				got, err := s.LoadGrant(t.Context(), g.ID)
				if err != nil || got.ID != g.ID || got.Access != g.Access {
					t.Errorf("another's grant or none: %v", err)
				}
				if _, err := s.LoadGrant(t.Context(), storage.NewGrantID("")); !errors.Is(err, storage.ErrNotFound) {
					t.Errorf("unknown grant: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if n := count.n.Load(); n > callers*each {
		t.Errorf("%d round trips for %d loads", n, 2*callers*each)
	}
	settled(t, s.shared.(*batcher))
}

// settled waits until the batcher has nothing left to do, and returns how large
// a crowd it remembers.
func settled(t *testing.T, b *batcher) (crowd int) {
	t.Helper()
	for range 200 {
		b.mu.Lock()
		left, leading := b.alone+b.flying+len(b.waiting), b.leading
		crowd = b.crowd
		b.mu.Unlock()
		if left == 0 && !leading {
			return crowd
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("commands are left when all are answered")
	return crowd
}

// A crowd that has gone doesn't make the few who stay wait for each other.
func TestACrowdIsForgotten(t *testing.T) {
	s, _ := open(t, redistest.Single(t).URL())
	b := s.shared.(*batcher)
	b.crowd = 64
	for range 64 {
		if err := b.Get(t.Context(), "k").Err(); !isNil(err) {
			t.Fatal(err)
		}
	}
	if crowd := settled(t, b); crowd > few {
		t.Errorf("%d callers are remembered after 64 commands of one", crowd)
	}
}

func TestSharedLoadsFailInTimeAndRecover(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	load := func(ctx context.Context) error { _, err := s.LoadGrant(ctx, g.ID); return err }
	server.Stop()
	var wg sync.WaitGroup
	for i := range 100 {
		ctx, want := context.Background(), storage.ErrUnavailable
		if i%2 == 0 { // one that gives up doesn't take the others along
			impatient, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			ctx, want = impatient, context.DeadlineExceeded
		}
		wg.Go(func() {
			began := time.Now()
			err := load(ctx)
			if !errors.Is(err, want) || !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("%v, want %v", err, want)
			}
			if took := time.Since(began); took > tolerable {
				t.Errorf("took %v", took)
			}
		})
	}
	wg.Wait()
	server.Cont()
	expectRecovery(t, time.Second, func() error { return load(t.Context()) })
}

// A caller who gives up on a slow Redis leaves the connection to the next one.
func TestACallersDeadlineCostsNoConnection(t *testing.T) {
	server := redistest.Single(t)
	proxy := redistest.Slow(t, server)
	s, clock := open(t, proxy.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), userID(), time.Hour))
	b := s.shared.(*batcher)
	settled(t, b)
	had := s.client.PoolStats().TotalConns
	const delay = 150 * time.Millisecond
	proxy.Delay(delay)
	for range 3 {
		hasty, cancel := context.WithTimeout(t.Context(), delay/3)
		_, err := s.LoadGrant(hasty, g.ID)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%v, want the caller's deadline", err)
		}
		settled(t, b)
	}
	if got, err := s.LoadGrant(t.Context(), g.ID); err != nil || got.ID != g.ID {
		t.Errorf("afterwards: %v", err)
	}
	if stats := s.client.PoolStats(); stats.TotalConns != had || stats.StaleConns != 0 || stats.Misses != had {
		t.Errorf("%d connections, %d made, %d given up; there were %d", stats.TotalConns, stats.Misses, stats.StaleConns, had)
	}
	if tripped(s) {
		t.Error("the circuit is open")
	}
}
