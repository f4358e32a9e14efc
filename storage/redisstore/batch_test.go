package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore/redistest"
	"github.com/grantd/grantd/storage/storagetest"
)

func TestConcurrentLoadsShareRoundTripsAndGetTheirOwnGrant(t *testing.T) {
	for name, server := range map[string]func() string{
		"single":  func() string { return redistest.Single(t).URL() },
		"cluster": func() string { return redistest.Cluster(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			s, clock := open(t, server())
			const callers, each = 64, 50
			grants := mustCreateAll(t, s, clock, callers)
			count := &trips{}
			s.client.AddHook(count)
			var wg sync.WaitGroup
			for _, g := range grants {
				wg.Go(func() {
					for range each {
						loadsOwn(t, s, g)
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
			for _, b := range s.shared.batchers() {
				settled(t, b)
			}
		})
	}
}

func mustCreateAll(t *testing.T, s *Store, clock *storagetest.Clock, n int) (grants []storage.Grant) {
	t.Helper()
	for range n {
		grants = append(grants, mustCreate(t, s, newGrant(clock.Now(), userID(), time.Hour)))
	}
	return grants
}

func loadsOwn(t *testing.T, s *Store, g storage.Grant) {
	t.Helper()
	got, err := s.LoadGrant(t.Context(), g.ID)
	if err != nil || got.ID != g.ID || got.Access != g.Access {
		t.Errorf("another's grant or none: %v", err)
	}
}

// When a crowd never fits in one flight, a late caller isn't refused because of the
// time that others have waited.
func TestACrowdThatOneFlightNeverHoldsIsServed(t *testing.T) {
	proxy := redistest.Slow(t, redistest.Single(t))
	s, clock := open(t, proxy.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), userID(), time.Hour))
	proxy.Delay(callTimeout / 20)
	var wg sync.WaitGroup
	end := time.Now().Add(2 * callTimeout)
	for range 2 * pipelined {
		wg.Go(func() {
			for time.Now().Before(end) && !t.Failed() {
				loadsOwn(t, s, g)
			}
		})
	}
	wg.Wait()
}

// A flight that can't be back in time isn't sent, since that would cost its connection.
// On a busy machine a flight may be late all the same, so the test has several tries.
func TestACrowdThatASlowRedisCantServeIsRefusedInTime(t *testing.T) {
	var err error
	for range 5 {
		if err = refuseSlowCrowd(t); err == nil {
			return
		}
		t.Log(err)
	}
	t.Error(err)
}

func refuseSlowCrowd(t *testing.T) error {
	proxy := redistest.Slow(t, redistest.Single(t))
	s, clock := open(t, proxy.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), userID(), time.Hour))
	proxy.Delay(callTimeout / 5) // so that the third flight still leaves in time
	var served, refused atomic.Int32
	var other atomic.Pointer[error]
	var wg sync.WaitGroup
	for range 5 * pipelined {
		wg.Go(func() {
			switch _, err := s.LoadGrant(t.Context(), g.ID); {
			case err == nil:
				served.Add(1)
			case errors.Is(err, errCrowded) && errors.Is(err, storage.ErrUnavailable):
				refused.Add(1)
			default:
				other.Store(&err)
			}
		})
	}
	wg.Wait()
	if err := other.Load(); err != nil {
		return *err
	}
	if s, r := served.Load(), refused.Load(); s < pipelined || r < pipelined {
		return fmt.Errorf("%d were served and %d refused", s, r)
	}
	if stats := s.client.PoolStats(); stats.StaleConns != 0 {
		return fmt.Errorf("%d connections were given up", stats.StaleConns)
	}
	return nil
}

// The number of commands that wait is bounded, however slow the server is.
func TestTheCommandsThatWaitAreBounded(t *testing.T) {
	b := &batcher{crowd: few + 1, leading: true} // a flight that never lands
	for i := range maxWaiting {
		if s, err := b.seat(redis.NewStatusCmd(t.Context())); s == nil || err != nil {
			t.Fatalf("command %d: %v, %v", i, s, err)
		}
	}
	if s, err := b.seat(redis.NewStatusCmd(t.Context())); s != nil || !errors.Is(err, errCrowded) {
		t.Errorf("one more than %d: %v, %v", maxWaiting, s, err)
	}
}

// An answer is due callTimeout after its command came, not after the flight left.
func TestAFlightIsDueWhenItsFirstCommandIs(t *testing.T) {
	b := &batcher{crowd: few + 1, leading: true}
	first, err := b.seat(redis.NewStatusCmd(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	first.came = first.came.Add(-callTimeout / 4)
	if _, err := b.seat(redis.NewStatusCmd(t.Context())); err != nil {
		t.Fatal(err)
	}
	batch, late := b.next()
	if len(batch) != 2 || !late.Equal(first.came.Add(callTimeout)) {
		t.Errorf("%d commands, due %v after the first came", len(batch), late.Sub(first.came))
	}
}

// batchers returns all batchers of the store.
func (s *sharing) batchers() []*batcher {
	if s.one != nil {
		return []*batcher{s.one}
	}
	var all []*batcher
	for _, b := range s.masters.Range {
		all = append(all, b.(*batcher))
	}
	return all
}

// While slots move, a node answers some commands of a pipeline with a
// redirection, or with a request to try again.
func TestACrowdFollowsTheSlotsOfACluster(t *testing.T) {
	cluster := redistest.Cluster(t)
	s, clock := open(t, cluster.URL())
	grants := mustCreateAll(t, s, clock, 64)
	moved := make(chan struct{})
	var wg sync.WaitGroup
	for _, g := range grants {
		wg.Go(func() {
			for {
				loadsOwn(t, s, g)
				select {
				case <-moved:
					return
				default:
				}
			}
		})
	}
	for _, slot := range cluster.UsedSlots(cluster.Nodes[0]) {
		cluster.Move(slot, cluster.Nodes[0], cluster.Nodes[1])
	}
	close(moved)
	wg.Wait()
}

// A stalled node holds up only the callers that ask for its own keys.
func TestACrowdWaitsForNoOtherNodeOfACluster(t *testing.T) {
	cluster, s, grants := spread(t)
	stalled := cluster.Nodes[1]
	stalled.Stop()
	defer stalled.Cont()
	var wg sync.WaitGroup
	there := 0
	for _, g := range grants {
		master, err := s.shared.cluster.MasterForKey(t.Context(), grantKey(g.ID))
		if err != nil {
			t.Fatal(err)
		}
		if master.Options().Addr == stalled.Addr() {
			there++
			wg.Go(func() {
				if _, err := s.LoadGrant(t.Context(), g.ID); !errors.Is(err, storage.ErrUnavailable) {
					t.Errorf("a grant on the node that stalls: %v", err)
				}
			})
			continue
		}
		wg.Go(func() {
			for range 20 {
				began := time.Now()
				loadsOwn(t, s, g)
				if took := time.Since(began); took >= ioTimeout {
					t.Errorf("a grant on another node took %v", took)
				}
			}
		})
	}
	wg.Wait()
	if there == 0 || there == len(grants) {
		t.Errorf("%d of %d grants are on the node that stalls", there, len(grants))
	}
}

// settled waits until the batcher has nothing left to do, and returns the size
// of the crowd that it remembers.
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

// When a crowd has gone, the few callers that stay don't wait for each other.
func TestACrowdIsForgotten(t *testing.T) {
	s, _ := open(t, redistest.Single(t).URL())
	b := s.shared.one
	b.crowd = 64
	for range 64 {
		if err := s.shared.Get(t.Context(), "k").Err(); !isNil(err) {
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
		if i%2 == 0 { // a caller that gives up must not make the others fail
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
	b := s.shared.one
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

// A client of a Cluster that knows no master yet asks one node after the other.
func TestTheFirstCallToAClusterIsBounded(t *testing.T) {
	var silent []string
	for range 6 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		silent = append(silent, ln.Addr().String())
	}
	s, clock := open(t, "redis+cluster://"+strings.Join(silent, ","))
	for range 2 {
		began := time.Now()
		if _, err := s.LoadGrant(t.Context(), newGrant(clock.Now(), "u", time.Hour).ID); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
		if took := time.Since(began); took > tolerable {
			t.Errorf("took %v", took)
		}
	}
}
