package redisstore

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// atOnce is the longest time of a call that isn't sent.
const atOnce = 50 * time.Millisecond

func tripped(s *Store) bool { return s.tripped.Load() > 0 }

// stalledStore returns a store whose Redis has stalled, and one call of which
// has failed because of that.
func stalledStore(t *testing.T) (*Store, *redistest.Server, storage.Grant) {
	t.Helper()
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	server.Stop()
	began := time.Now()
	if _, err := s.LoadGrant(context.Background(), g.ID); !errors.Is(err, storage.ErrUnavailable) {
		t.Fatalf("load: %v", err)
	}
	if took := time.Since(began); took > tolerable {
		t.Errorf("the first call took %v", took)
	}
	return s, server, g
}

// After the first call that Redis doesn't answer, no other call waits. So even
// a request of many calls is answered within a second.
func TestAnOpenCircuitFailsEveryCallAtOnceAndClosesByItself(t *testing.T) {
	s, server, g := stalledStore(t)
	if got := s.Health(t.Context()); got != (storage.Health{State: storage.Down, Open: true}) {
		t.Errorf("health %+v", got)
	}
	for name, call := range calls(s, g) {
		began := time.Now()
		if err := call(context.Background()); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
		if took := time.Since(began); took > atOnce {
			t.Errorf("%s took %v", name, took)
		}
	}
	server.Cont()
	expectRecovery(t, time.Second, func() error { _, err := s.LoadGrant(t.Context(), g.ID); return err })
	if got := s.Health(t.Context()); got != (storage.Health{State: storage.Healthy}) {
		t.Errorf("health %+v when Redis is back", got)
	}
}

// The error of an open circuit names the cause, even to a caller whose own call
// wasn't the one that failed.
func TestAnOpenCircuitTellsWhyItOpened(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	server.Kill()
	for _, err := s.LoadGrant(t.Context(), g.ID); !tripped(s); _, err = s.LoadGrant(t.Context(), g.ID) {
		if err == nil {
			t.Fatal("a Redis that was killed answers")
		}
	}
	_, err := s.LoadGrant(t.Context(), g.ID)
	if !errors.Is(err, errOpen) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("refused with %v", err)
	}
}

// The circuit closes without further calls, and no probe is left after Close.
func TestAnOpenCircuitIsProbedOneAtATime(t *testing.T) {
	s, server, _ := stalledStore(t)
	server.Restart()
	await(t, "closed circuit", func() bool { return !tripped(s) })
	before := info(t, server.Client(), "stats", "total_connections_received")
	for range 20 {
		if err := s.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if after := info(t, server.Client(), "stats", "total_connections_received"); after > before+1 {
		t.Errorf("%d connections for 20 calls one after another", after-before)
	}

	server.Stop()
	_ = s.Ping(t.Context())
	if !tripped(s) {
		t.Fatal("closed")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "no probe of a closed store", func() bool { return !tripped(s) })
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("%s: not within 20s", what)
}

// When Redis is slow, the flights of a crowd leave with less time than a call may
// take. If they don't come back, that still counts as silence of Redis.
func TestAStallAfterSlownessOpensTheCircuitOfACrowd(t *testing.T) {
	proxy := redistest.Slow(t, redistest.Single(t))
	s, clock := open(t, proxy.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), userID(), time.Hour))
	proxy.Delay(callTimeout * 7 / 15)
	began := time.Now()
	var wg sync.WaitGroup
	defer wg.Wait()
	await(t, "an open circuit", func() bool {
		wg.Go(func() { _, _ = s.LoadGrant(t.Context(), g.ID) }) // the results don't matter, only that calls come evenly
		if time.Since(began) > 2*callTimeout {
			proxy.Delay(time.Hour)
		}
		return tripped(s) || t.Failed()
	})
	if opened := time.Since(began); opened < 2*callTimeout || opened > 2*callTimeout+5*time.Second {
		t.Errorf("the circuit opened after %v, and Redis stalled after %v", opened, 2*callTimeout)
	}
}

// A caller that gives up is no sign that Redis is down.
func TestCallersWhoGiveUpOpenNoCircuit(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	server.Stop()
	for range 2 * maxBroken {
		hasty, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		for name, ctx := range map[string]context.Context{"cancelled": gone, "hasty": hasty} {
			if _, err := s.LoadRetry(ctx, g.ID); !errors.Is(err, ctx.Err()) || !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
		}
		cancel()
	}
	if tripped(s) {
		t.Error("the circuit is open")
	}
	server.Cont()
	if _, err := s.LoadGrant(t.Context(), g.ID); err != nil {
		t.Error(err)
	}
}

// unaware is a context whose deadline is over, but which isn't done yet.
type unaware struct{ context.Context }

func (unaware) Deadline() (time.Time, bool) { return time.Now().Add(-time.Microsecond), true }

// A caller's deadline also applies to the connection, which may notice it
// first.
func TestACallersDeadlineOpensNoCircuit(t *testing.T) {
	client := redis.NewClient(&redis.Options{})
	defer client.Close()
	c := newCircuit(client, 0, new(atomic.Int32), func() {})
	timeout := func(context.Context) error { return os.ErrDeadlineExceeded }
	_ = c.call(unaware{t.Context()}, timeout)
	if c.open.Load() {
		t.Error("the circuit is open")
	}
	if _ = c.call(t.Context(), timeout); !c.open.Load() {
		t.Error("the circuit is closed when Redis didn't answer a caller without a deadline")
	}
}

// Connections break for many reasons. While new ones work, the circuit stays
// closed.
func TestBrokenConnectionsOpenNoCircuit(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := s.LoadGrant(t.Context(), g.ID); err != nil && strings.Contains(err.Error(), errOpen.Error()) {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 20 {
		if err := server.Client().Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
}

// A refusal is an answer too, however often it comes.
func TestRefusalsOpenNoCircuit(t *testing.T) {
	password := redistest.Single(t, "--requirepass", "hunter2")
	s, clock := open(t, strings.Replace(password.URL(), "hunter2", "wr0ng", 1))
	for range 2 * maxBroken {
		if _, err := s.LoadGrant(t.Context(), newGrant(clock.Now(), "u1", time.Hour).ID); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("load: %v", err)
		}
	}
	if tripped(s) {
		t.Error("the circuit is open")
	}
	if got := s.Health(t.Context()); got != (storage.Health{State: storage.Down}) {
		t.Errorf("health %+v", got)
	}
}

// During a stall no more requests pile up than arrive within a second.
func TestAStallPilesUpNothing(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	const rate, seconds = 1000, 3
	server.Stop()
	idle := runtime.NumGoroutine()
	var wg sync.WaitGroup
	var slowest atomic.Int64
	most, late := 0, 0 // goroutines: the maximum over the whole time, and from the second second on
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for i := range rate * seconds {
		<-tick.C
		wg.Go(func() {
			began := time.Now()
			var err error
			if i%2 == 0 {
				_, err = s.LoadGrant(context.Background(), g.ID)
			} else {
				_, err = s.LoadRetry(context.Background(), g.ID)
			}
			if !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("load: %v", err)
			}
			for took := int64(time.Since(began)); ; {
				if was := slowest.Load(); took <= was || slowest.CompareAndSwap(was, took) {
					break
				}
			}
		})
		n := runtime.NumGoroutine() - idle
		if most = max(most, n); i > rate {
			late = max(late, n)
		}
	}
	wg.Wait()
	t.Logf("%d goroutines at most, %d after a second; the slowest call took %v", most, late, time.Duration(slowest.Load()))
	if time.Duration(slowest.Load()) > tolerable || most > rate+100 || late > 100 {
		t.Error("they pile up")
	}
	server.Cont()
	expectRecovery(t, time.Second, func() error { _, err := s.LoadGrant(t.Context(), g.ID); return err })
}

// Calls beyond the bound fail at once, though the circuit is closed.
func TestABoundedNumberOfCallsWaits(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	server.Stop()
	var wg sync.WaitGroup
	var crowded atomic.Int64
	start := make(chan struct{})
	for range 2 * maxFlying {
		wg.Go(func() {
			<-start
			began := time.Now()
			_, err := s.LoadRetry(context.Background(), g.ID)
			if err != nil && strings.Contains(err.Error(), errCrowded.Error()) && time.Since(began) < callTimeout/2 {
				crowded.Add(1)
			}
		})
	}
	close(start)
	wg.Wait()
	const greetings = 100 // of new connections, which count as calls too
	if n := crowded.Load(); n == 0 || n > maxFlying+greetings {
		t.Errorf("%d of %d calls failed at once, want about %d", n, 2*maxFlying, maxFlying)
	}
	server.Cont()
	expectRecovery(t, time.Second, func() error { _, err := s.LoadRetry(t.Context(), g.ID); return ignore(err) })
}

// ignore returns err, but nil for ErrNotFound.
func ignore(err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

func TestAStalledNodeOfAClusterTakesNoOtherAlong(t *testing.T) {
	cluster, s, grants := spread(t)
	cluster.Nodes[1].Stop()
	served := 0
	var slow []time.Duration
	for range 3 {
		for _, g := range grants {
			began := time.Now()
			_, err := s.LoadGrant(context.Background(), g.ID)
			took := time.Since(began)
			switch {
			case err == nil:
				served++
			case !errors.Is(err, storage.ErrUnavailable):
				t.Errorf("load: %v", err)
			}
			if took > atOnce {
				slow = append(slow, took)
			}
		}
	}
	if served == 0 || served == 3*len(grants) {
		t.Errorf("%d of %d served", served, 3*len(grants))
	}
	if len(slow) > 3 || slices.Max(append(slow, 0)) > tolerable { // more than one, since go-redis sometimes asks another node
		t.Errorf("%d calls were slow: %v", len(slow), slow)
	}
	if got := s.Health(t.Context()); got != (storage.Health{State: storage.Partial, Open: true}) {
		t.Errorf("health %+v", got)
	}
	cluster.Nodes[1].Cont()
	for _, g := range grants {
		expectRecovery(t, 2*time.Second, func() error { _, err := s.LoadGrant(t.Context(), g.ID); return err })
	}
}

// The probes of an open circuit notice that a replica has replaced its master.
func TestAReplicaOfAClusterTakesOver(t *testing.T) {
	cluster := redistest.Cluster(t)
	replica := cluster.AddReplica(cluster.Nodes[1])
	s, clock := open(t, cluster.URL())
	var grants []storage.Grant
	for range 10 {
		grants = append(grants, mustCreate(t, s, newGrant(clock.Now(), userID(), time.Hour)))
	}
	cluster.Nodes[1].AwaitReplicas(replica)
	cluster.Nodes[1].Kill()
	for _, g := range grants { // opens the circuit
		_, _ = s.LoadGrant(t.Context(), g.ID)
	}
	await(t, "the replica is a master", func() bool {
		return strings.Contains(replica.Client().Info(t.Context(), "replication").Val(), "role:master") &&
			strings.Contains(cluster.Nodes[0].Client().ClusterInfo(t.Context()).Val(), "cluster_state:ok")
	})
	for _, g := range grants {
		expectRecovery(t, time.Second, func() error { _, err := s.LoadGrant(t.Context(), g.ID); return err })
	}
}

// A flight whose time was over before it left, because this process stood still, is no
// sign that the server is down.
func TestAFlightWithoutTimeOpensNoCircuit(t *testing.T) {
	for name, tt := range map[string]struct {
		waits time.Duration
		opens bool
	}{"no time": {0, false}, "time enough": {callTimeout / 3, true}} {
		t.Run(name, func(t *testing.T) {
			client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
			defer client.Close()
			var tripped atomic.Int32
			c := newCircuit(client, 0, &tripped, func() {})
			ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), flight{}, true), tt.waits)
			defer cancel()
			err := c.call(ctx, func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			})
			if opened := tripped.Load() > 0; !errors.Is(err, context.DeadlineExceeded) || opened != tt.opens {
				t.Errorf("%v, the circuit is open: %t", err, opened)
			}
		})
	}
}

func TestHealthTellsWhatRedisRefuses(t *testing.T) {
	master := redistest.Single(t)
	full := redistest.Single(t)
	_, port, _ := strings.Cut(master.Addr(), ":")
	replica := redistest.Single(t, "--replicaof", "127.0.0.1 "+port)
	orphan := redistest.Single(t, "--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "no")
	lonely := redistest.Single(t, "--min-replicas-to-write", "1")
	full.Client().ConfigSet(t.Context(), "maxmemory", "1")
	forgetful := redistest.Single(t, "--maxmemory", "1gb", "--maxmemory-policy", "volatile-lru")
	boundless := redistest.Single(t, "--maxmemory-policy", "allkeys-lru")
	for name, tt := range map[string]struct {
		server *redistest.Server
		want   storage.HealthState
	}{
		"a master":                  {master, storage.Healthy},
		"memory is full":            {full, storage.Full},
		"memory that is made free":  {forgetful, storage.Evicting},
		"memory without an end":     {boundless, storage.Healthy},
		"a replica":                 {replica, storage.ReadOnly},
		"a replica with no master":  {orphan, storage.Down},
		"a master without replicas": {lonely, storage.Refusing},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := open(t, tt.server.URL())
			if got := s.Health(t.Context()); got != (storage.Health{State: tt.want}) {
				t.Errorf("health %+v, want %s", got, tt.want)
			}
		})
	}
	t.Run("a master without the replicas that are waited for", func(t *testing.T) {
		_, port, _ := strings.Cut(full.Addr(), ":")
		full.Client().ConfigSet(t.Context(), "maxmemory", "0")
		s, _ := openConfirmed(t, full.URL(), 1)
		if got := s.Health(t.Context()); got != (storage.Health{State: storage.Refusing}) {
			t.Errorf("health %+v", got)
		}
		replica := redistest.Single(t, "--replicaof", "127.0.0.1 "+port)
		await(t, "a replica that is enough", func() bool { return s.Health(t.Context()).State == storage.Healthy })
		replica.Stop() // it stays connected for another minute
		await(t, "a replica that hangs", func() bool { return s.Health(t.Context()).State == storage.Refusing })
		replica.Cont()
	})
	t.Run("a node of a cluster is full", func(t *testing.T) {
		cluster := redistest.Cluster(t)
		s, _ := open(t, cluster.URL())
		cluster.Nodes[2].Client().ConfigSet(t.Context(), "maxmemory", "1")
		if got := s.Health(t.Context()); got != (storage.Health{State: storage.Full}) {
			t.Errorf("health %+v", got)
		}
	})
}

// The lines are those with which the releases of the servers describe a
// replica.
func TestAReplicaIsKnownByItsLine(t *testing.T) {
	for line, want := range map[string]bool{
		"slave0:ip=127.0.0.1,port=6380,state=online,offset=42,lag=0":              true, // Redis 7
		"slave0:ip=127.0.0.1,port=6380,state=online,offset=42,lag=0,io-thread=0":  true, // Redis 8
		"slave0:ip=127.0.0.1,port=6380,state=online,offset=42,lag=3,type=replica": true, // Valkey 8
		"slave12:ip=::1,port=6380,state=online,offset=42,lag=1":                   true,
		"slave0:ip=127.0.0.1,port=6380,state=online,offset=42,lag=4":              false,
		"slave0:ip=127.0.0.1,port=6380,state=online,offset=42,lag=30,io-thread=0": false,
		"slave0:ip=127.0.0.1,port=6380,state=wait_bgsave,offset=0,lag=0":          false,
	} {
		if got := follows.MatchString("role:master\r\n" + line + "\r\nmaster_replid:8\r\n"); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

var _ redis.Hook = (*circuit)(nil)
