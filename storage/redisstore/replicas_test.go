package redisstore

import (
	"context"
	"errors"
	"slices"
	"strconv"
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

func openConfirmed(t testing.TB, url string, replicas int) (*Store, *storagetest.Clock) {
	t.Helper()
	c := storagetest.NewClock()
	s, err := Open(url, WithClock(c.Now), WithReplicas(replicas))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, c
}

// replicated are the deployments with replicas. replicas is the number that
// calls wait for.
var replicated = []struct {
	name     string
	replicas int
	start    func(*testing.T) (url string, replicas []*redistest.Server)
}{
	{"single", 1, func(t *testing.T) (string, []*redistest.Server) {
		master := redistest.Single(t)
		_, port, _ := strings.Cut(master.Addr(), ":")
		replica := redistest.Single(t, "--replicaof", "127.0.0.1 "+port)
		await(t, "a replica in step", func() bool { return info(t, master.Client(), "replication", "connected_slaves") == 1 })
		return master.URL(), []*redistest.Server{replica}
	}},
	{"sentinel", 2, func(t *testing.T) (string, []*redistest.Server) {
		trio := redistest.Sentinel(t)
		return trio.URL(), trio.Replicas()
	}},
	{"cluster", 1, func(t *testing.T) (string, []*redistest.Server) {
		cluster := redistest.Cluster(t)
		var replicas []*redistest.Server
		for _, n := range cluster.Nodes {
			replicas = append(replicas, cluster.AddReplica(n))
		}
		return cluster.URL(), replicas
	}},
}

// act is a call that waits for replicas. done reports whether the store is as
// it should be after the call wasn't confirmed: the call took place, except a
// swap, which would be lost to its client.
type act struct {
	name string
	do   func() error
	done func() bool
}

// confirmedActs returns every kind of such a call, each on records of its own.
func confirmedActs(t *testing.T, s *Store, clock *storagetest.Clock) []act {
	t.Helper()
	grant := func(user, client string) storage.Grant {
		g := newGrant(clock.Now(), user, time.Hour)
		g.ClientID = client
		return mustCreate(t, s, g)
	}
	ended := func(g storage.Grant) func() bool {
		return func() bool { _, err := s.LoadGrant(t.Context(), g.ID); return errors.Is(err, storage.ErrNotFound) }
	}
	swapped, deleted, floored, clients := grant("u1", "demo"), grant("u2", "demo"), grant("u3", "demo"), grant("u4", "other")
	successor := next(swapped)
	user, client := storage.User{Name: "alice", ID: "usr_1"}, storage.Client{ID: "web"}
	if err := errors.Join(s.CreateUser(t.Context(), user), s.CreateClient(t.Context(), client), s.CreateKey(t.Context(), storage.Key{ID: 7})); err != nil {
		t.Fatal(err)
	}
	return []act{
		{"swap", func() error { return s.SwapGrant(t.Context(), swapped, successor, retry(successor)) },
			func() bool { g, err := s.LoadGrant(t.Context(), swapped.ID); return err == nil && g.Generation == 1 }},
		{"load of a retry", func() error { _, err := s.LoadRetry(t.Context(), swapped.ID); return ignore(err) }, func() bool { return true }},
		{"delete", func() error { return s.DeleteGrant(t.Context(), deleted.ID) }, ended(deleted)},
		{"revoke a user", func() error { _, err := s.Revoke(t.Context(), storage.Target{UserID: "u3"}); return err }, ended(floored)},
		{"revoke a client", func() error { _, err := s.Revoke(t.Context(), storage.Target{ClientID: "other"}); return err }, ended(clients)},
		{"update of a user", func() error {
			err := s.UpdateUser(t.Context(), storage.User{Name: "alice", ID: "usr_1", Disabled: true, Revision: 1})
			if errors.Is(err, storage.ErrConflict) { // done by an earlier call
				return nil
			}
			return err
		}, func() bool { u, err := s.LoadUser(t.Context(), "alice"); return err == nil && u.Disabled }},
		{"update of a user who is gone", func() error { return ignore(s.UpdateUser(t.Context(), storage.User{Name: "bob"})) },
			func() bool { _, err := s.LoadUser(t.Context(), "bob"); return errors.Is(err, storage.ErrNotFound) }},
		{"update of a client that is gone", func() error { return ignore(s.UpdateClient(t.Context(), storage.Client{ID: "none"})) },
			func() bool { _, err := s.LoadClient(t.Context(), "none"); return errors.Is(err, storage.ErrNotFound) }},
		{"deletion of a client", func() error { return s.DeleteClient(t.Context(), "web") },
			func() bool { _, err := s.LoadClient(t.Context(), "web"); return errors.Is(err, storage.ErrNotFound) }},
		{"deletion of a key", func() error { return s.DeleteKey(t.Context(), 7) },
			func() bool { k, err := s.ListKeys(t.Context()); return err == nil && len(k) == 0 }},
	}
}

// Without replicas an act takes place, unless it is a swap, but isn't acknowledged,
// however often it is repeated. Once the replicas are back it is acknowledged.
func TestActsWaitForReplicas(t *testing.T) {
	for _, tt := range replicated {
		t.Run(tt.name, func(t *testing.T) {
			url, replicas := tt.start(t)
			s, clock := openConfirmed(t, url, tt.replicas)
			acts := confirmedActs(t, s, clock)
			// Replicas that follow the master confirm. One that has just begun to follow
			// may take a second.
			expectRecovery(t, 5*time.Second, func() error { return s.DeleteGrant(t.Context(), storage.NewGrantID("")) })
			for _, r := range replicas {
				r.Stop()
			}
			for _, round := range []string{"first", "repeated"} {
				for _, a := range acts {
					began := time.Now()
					if err := a.do(); !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, errUnconfirmed) {
						t.Errorf("%s, %s: %v, want ErrUnavailable", a.name, round, err)
					}
					if took := time.Since(began); took > tolerable {
						t.Errorf("%s, %s took %v", a.name, round, took)
					}
					if !a.done() {
						t.Errorf("%s, %s, left something else", a.name, round)
					}
				}
			}
			if tripped(s) {
				t.Error("the circuit is open, though the master answers")
			}
			for _, r := range replicas {
				r.Cont()
			}
			for _, a := range acts {
				expectRecovery(t, 5*time.Second, a.do)
			}
		})
	}
}

// Replicas that confirmed everything before they went away don't confirm calls that find
// nothing to do: an earlier call may have done it, unconfirmed.
func TestCallsThatFindNothingToDoNeedReplicasThatAreThereNow(t *testing.T) {
	for _, tt := range replicated {
		t.Run(tt.name, func(t *testing.T) {
			url, replicas := tt.start(t)
			s, clock := openConfirmed(t, url, tt.replicas)
			await(t, "replicas that confirmed everything", func() bool { return confirmedAll(t, s) })
			for _, r := range replicas {
				r.Stop()
			}
			none := newGrant(clock.Now(), "u1", time.Hour)
			for name, do := range map[string]func() error{
				"deletion of a grant":  func() error { return s.DeleteGrant(t.Context(), none.ID) },
				"load of a retry":      func() error { _, err := s.LoadRetry(t.Context(), none.ID); return err },
				"deletion of a user":   func() error { return s.DeleteUser(t.Context(), "nobody") },
				"update of a client":   func() error { return s.UpdateClient(t.Context(), storage.Client{ID: "none"}) },
				"deletion of a key":    func() error { return s.DeleteKey(t.Context(), 7) },
				"swap of an old grant": func() error { return s.SwapGrant(t.Context(), none, next(none), storage.Retry{}) },
			} {
				if err := do(); !errors.Is(err, errUnconfirmed) {
					t.Errorf("%s: %v, want it unconfirmed", name, err)
				}
			}
		})
	}
}

// Waiting for replicas leaves nothing behind, and works when memory is full.
func TestWaitingForReplicasLeavesNothing(t *testing.T) {
	ctx := t.Context()
	url, replicas := replicated[0].start(t)
	s, _ := openConfirmed(t, url, len(replicas))
	s.client.ConfigSet(ctx, "maxmemory", "1")
	expectRecovery(t, 5*time.Second, func() error { return s.confirm(ctx, "k") })
	if keys, err := s.client.Keys(ctx, "*").Result(); err != nil || len(keys) > 0 {
		t.Errorf("%q, %v", keys, err)
	}
}

// moving is a Cluster whose first master is giving a slot to the second. Each master has
// a replica.
type moving struct {
	*redistest.ThreeMasters
	t       *testing.T
	s       *Store            // waits for one replica
	replica *redistest.Server // of the first master
}

// startMoving starts a Cluster with these users, where the slot of the key, which has to be
// at the first master, is moving. The keys of the slot are where they were.
func startMoving(t *testing.T, key string, users ...string) moving {
	t.Helper()
	ctx := t.Context()
	m := moving{ThreeMasters: redistest.Cluster(t), t: t}
	from, to := m.Nodes[0], m.Nodes[1]
	m.replica = m.AddReplica(from)
	for _, n := range m.Nodes[1:] {
		m.AddReplica(n)
	}
	m.s, _ = openConfirmed(t, m.URL(), 1)
	expectRecovery(t, 5*time.Second, m.revokeAll)
	for _, name := range users {
		if err := m.s.CreateUser(ctx, storage.User{Name: name, ID: "usr_" + name}); err != nil {
			t.Fatal(err)
		}
	}
	slot := from.Client().ClusterKeySlot(ctx, key).Val()
	if err := errors.Join(
		to.Client().Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", from.Client().ClusterMyID(ctx).Val()).Err(),
		from.Client().Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", to.Client().ClusterMyID(ctx).Val()).Err(),
	); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m moving) revokeAll() error {
	_, err := m.s.Revoke(m.t.Context(), storage.Target{All: true})
	return err
}

// move moves a key of the slot.
func (m moving) move(key string) {
	m.t.Helper()
	_, port, _ := strings.Cut(m.Nodes[1].Addr(), ":")
	if told, err := m.Nodes[0].Client().Do(m.t.Context(), "MIGRATE", "127.0.0.1", port, key, 0, 5000).Text(); told != "OK" {
		m.t.Fatalf("%s: %q, %v", key, told, err)
	}
}

// The record of the user bob is at the first master, and isn't where the list of names is.
const bobKey = "grantd:user:bob"

// What the key of a call does while its slot moves doesn't keep replicas from confirming
// the call, nor the others that share its pipeline.
func TestReplicasConfirmWhileASlotMoves(t *testing.T) {
	t.Run("key that moved", func(t *testing.T) {
		m := startMoving(t, bobKey, "bob")
		m.move(bobKey)
		expectRecovery(t, 5*time.Second, func() error { return m.s.DeleteUser(t.Context(), "bob") })
	})
	t.Run("keys that are deleted before they move", func(t *testing.T) {
		var names []string
		for i := range 20 {
			names = append(names, "{fd}"+strconv.Itoa(i)) // in the slot of that partition
		}
		m := startMoving(t, floorsKey(0xfd), names...)
		expectRecovery(t, 5*time.Second, func() error { // each try with another one
			name := names[0]
			names = names[1:]
			return m.s.DeleteUser(t.Context(), name)
		})
	})
	t.Run("last key of a pipeline", func(t *testing.T) {
		const last = 0xfd // partition of the first master
		m := startMoving(t, floorsKey(last))
		m.move(floorsKey(last))
		expectRecovery(t, 5*time.Second, m.revokeAll)
		m.Move(int(m.Nodes[0].Client().ClusterKeySlot(t.Context(), floorsKey(last)).Val()), m.Nodes[0], m.Nodes[1])
		expectRecovery(t, 5*time.Second, m.revokeAll)
	})
}

// A key that was deleted before it moved can come back while its slot moves, by a failover of
// the master where it was. So what the other master's replicas say isn't enough.
func TestADeletionIsConfirmedWhereTheKeyWas(t *testing.T) {
	m := startMoving(t, bobKey, "bob")
	m.replica.Stop()
	another, _ := openConfirmed(t, m.URL(), 1)
	for i, s := range []*Store{m.s, another, another} {
		if err := s.DeleteUser(t.Context(), "bob"); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("call %d: %v, want ErrUnavailable", i, err)
		}
	}
	m.replica.Cont()
	expectRecovery(t, 5*time.Second, func() error { return another.DeleteUser(t.Context(), "bob") })
}

// Replicas that confirmed everything before they went away don't confirm what comes next.
func TestASwapNeedsReplicasThatAreThereNow(t *testing.T) {
	for _, tt := range replicated {
		t.Run(tt.name, func(t *testing.T) {
			url, replicas := tt.start(t)
			s, clock := openConfirmed(t, url, tt.replicas)
			g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
			life := s.client.PExpireTime(t.Context(), grantKey(g.ID)).Val()
			await(t, "replicas that confirmed everything", func() bool { return confirmedAll(t, s) })
			for _, r := range replicas {
				r.Stop()
			}
			if err := s.SwapGrant(t.Context(), g, next(g), retry(next(g))); !errors.Is(err, errUnconfirmed) {
				t.Errorf("without replicas: %v", err)
			}
			if now, err := s.LoadGrant(t.Context(), g.ID); err != nil || now.Generation != g.Generation {
				t.Errorf("the grant was swapped: %v, %v", now, err)
			}
			for _, r := range replicas {
				r.Cont()
			}
			expectRecovery(t, 5*time.Second, func() error { return s.confirm(t.Context(), grantKey(g.ID)) })
			if now := s.client.PExpireTime(t.Context(), grantKey(g.ID)).Val(); now-life < 0 || now-life > time.Second {
				t.Errorf("the life of the record changed by %v", now-life)
			}
			expectRecovery(t, 5*time.Second, func() error { return s.SwapGrant(t.Context(), g, next(g), retry(next(g))) })
		})
	}
}

// confirmedAll reports whether each master knows that its replicas have all of its changes.
func confirmedAll(t *testing.T, s *Store) bool {
	t.Helper()
	var behind atomic.Bool
	err := s.eachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
		told := node.Info(ctx, "replication").Val()
		_, offset, _ := strings.Cut(told, "master_repl_offset:")
		offset, _, _ = strings.Cut(offset, "\r")
		if n := strings.Count(told, ",offset="+offset+","); n == 0 || n != strings.Count(told, ",state=online,") {
			behind.Store(true)
		}
		return nil
	})
	return err == nil && !behind.Load()
}

// However long replicas are missing, and though memory is full, a client that keeps
// repeating a refresh gets its answer once they are back. A client that doesn't repeat
// it gets no more time than usual.
func TestARefreshThatIsRepeatedOutlivesMissingReplicas(t *testing.T) {
	for _, tt := range replicated {
		t.Run(tt.name, func(t *testing.T) {
			url, replicas := tt.start(t)
			s, clock := openConfirmed(t, url, tt.replicas)
			swap := func() (storage.Grant, storage.Retry) {
				g := mustCreate(t, s, newGrant(clock.Now(), userID(), time.Hour))
				r := retry(next(g))
				expectRecovery(t, 5*time.Second, func() error { return s.SwapGrant(t.Context(), g, next(g), r) })
				return g, r
			}
			repeated, want := swap()
			left, _ := swap()
			revoked, _ := swap()
			for _, r := range replicas {
				r.Stop()
			}
			if err := s.eachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
				return node.ConfigSet(ctx, "maxmemory", "1").Err()
			}); err != nil {
				t.Fatal(err)
			}
			if err := s.DeleteGrant(t.Context(), revoked.ID); !errors.Is(err, errUnconfirmed) {
				t.Errorf("a revocation: %v", err)
			}
			for range 5 {
				clock.Advance(maxLateness - time.Second)
				for _, g := range []storage.Grant{repeated, revoked} {
					if _, err := s.LoadRetry(t.Context(), g.ID); !errors.Is(err, storage.ErrUnavailable) {
						t.Errorf("without replicas: %v, want ErrUnavailable", err)
					}
				}
			}
			for _, r := range replicas {
				r.Cont()
			}
			var got storage.Retry
			expectRecovery(t, 5*time.Second, func() (err error) { got, err = s.LoadRetry(t.Context(), repeated.ID); return err })
			want.Until = got.Until
			if ahead := got.Until.Sub(clock.Now()); got != want || ahead != maxLateness {
				t.Errorf("%+v for %v, want %+v for %v", got, ahead, want, maxLateness)
			}
			for name, g := range map[string]storage.Grant{"not repeated": left, "revoked": revoked} {
				if _, err := s.LoadRetry(t.Context(), g.ID); !errors.Is(err, storage.ErrNotFound) {
					t.Errorf("%s: %v, want ErrNotFound", name, err)
				}
			}
		})
	}
}

// A refresh keeps its place even when so many calls wait for replicas that its repetition is
// turned away.
func TestARefreshThatIsRepeatedInACrowdOutlivesMissingReplicas(t *testing.T) {
	url, replicas := replicated[0].start(t)
	s, clock := openConfirmed(t, url, replicated[0].replicas)
	g := mustCreate(t, s, newGrant(clock.Now(), userID(), time.Hour))
	expectRecovery(t, 5*time.Second, func() error { return s.SwapGrant(t.Context(), g, next(g), retry(next(g))) })
	replicas[0].Stop()
	stop := make(chan struct{})
	var crowd sync.WaitGroup
	for range 100 {
		crowd.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = s.LoadRetry(t.Context(), storage.NewGrantID(g.UserID))
				}
			}
		})
	}
	for range 3 {
		await(t, "a crowd", func() bool {
			_, err := s.LoadRetry(t.Context(), g.ID)
			if !errors.Is(err, storage.ErrUnavailable) {
				t.Fatalf("without a replica: %v", err)
			}
			return errors.Is(err, errCrowded)
		})
		clock.Advance(maxLateness - time.Second)
	}
	close(stop)
	crowd.Wait()
	replicas[0].Cont()
	expectRecovery(t, 5*time.Second, func() error { _, err := s.LoadRetry(t.Context(), g.ID); return err })
}

// A Redis that no longer accepts the password answers neither MGET nor WAIT.
func TestARefreshIsNotRepeatedWhereRedisLetsNobodyIn(t *testing.T) {
	server := redistest.Single(t, "--requirepass", "right")
	s, _ := openConfirmed(t, "redis://:right@"+server.Addr(), 1)
	admin := redis.NewClient(&redis.Options{Addr: server.Addr(), Password: "right"})
	defer admin.Close()
	if _, err := s.LoadRetry(t.Context(), storage.NewGrantID("")); !errors.Is(err, errUnconfirmed) {
		t.Errorf("without a replica: %v", err)
	}
	admin.ConfigSet(t.Context(), "requirepass", "another")
	admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal")
	for range 3 {
		if _, err := s.LoadRetry(t.Context(), storage.NewGrantID("")); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("with another password: %v", err)
		}
	}
}

// A store that waits for no replicas sends Redis no additional commands.
func TestNoReplicasCostNothing(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	count := &trips{}
	s.client.AddHook(count)
	if err := s.SwapGrant(t.Context(), g, next(g), storage.Retry{}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteGrant(t.Context(), storage.NewGrantID("")); err != nil {
		t.Fatal(err)
	}
	// A script that Redis doesn't know yet takes two round trips.
	if n := count.n.Load(); n > 3 {
		t.Errorf("%d round trips", n)
	}
	if stats := server.Client().Info(t.Context(), "commandstats").Val(); strings.Contains(stats, "cmdstat_wait") {
		t.Error("WAIT was sent")
	}
}

// An acknowledged revocation survives a failover, though the replicas lagged
// behind when the master died. Without waiting for replicas, revoked grants
// come back.
func TestNoAcknowledgedRevocationComesBackByAFailover(t *testing.T) {
	for name, tt := range map[string]struct {
		replicas int
		back     bool // whether acknowledged revocations are undone
	}{"waiting for replicas": {2, false}, "not waiting": {0, true}} {
		t.Run(name, func(t *testing.T) {
			trio := redistest.Sentinel(t)
			s, clock := openConfirmed(t, trio.URL(), tt.replicas)
			var grants []storage.Grant
			for range 40 {
				grants = append(grants, mustCreate(t, s, newGrant(clock.Now(), userID(), time.Hour)))
			}
			witness := grants[0]
			master := trio.Master()
			master.AwaitReplicas(trio.Replicas()...)
			acknowledged := endAll(t, s, grants[1:11])
			if len(acknowledged) != 10 {
				t.Errorf("%d of 10 revocations acknowledged while replicas follow", len(acknowledged))
			}
			master.AwaitReplicas(trio.Replicas()...)
			cutOff(t, master, trio.Replicas())
			acknowledged = append(acknowledged, endAll(t, s, grants[11:])...)

			trio.KillMaster()
			expectRecovery(t, 10*time.Second, func() error { _, err := s.LoadGrant(t.Context(), witness.ID); return err })
			back := 0
			for _, g := range acknowledged {
				if _, err := s.LoadGrant(t.Context(), g.ID); err == nil {
					back++
				}
			}
			t.Logf("%d of 39 revocations acknowledged, %d of them came back", len(acknowledged), back)
			if (back > 0) != tt.back {
				t.Errorf("%d acknowledged revocations came back", back)
			}
		})
	}
}

// cutOff cuts the replicas off from the master; they run on.
func cutOff(t *testing.T, master *redistest.Server, replicas []*redistest.Server) {
	t.Helper()
	for _, r := range replicas {
		r.Client().ConfigSet(t.Context(), "masterauth", "none that is right")
	}
	if err := master.Client().Do(t.Context(), "CLIENT", "KILL", "TYPE", "replica").Err(); err != nil {
		t.Fatal(err)
	}
	for _, r := range replicas { // they need the right one after the failover
		t.Cleanup(func() { r.Client().ConfigSet(context.Background(), "masterauth", "") })
	}
}

// endAll ends the grants, every second one by revoking its user, and returns
// those whose end was acknowledged.
func endAll(t *testing.T, s *Store, grants []storage.Grant) (acknowledged []storage.Grant) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, g := range grants {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				err = s.DeleteGrant(t.Context(), g.ID)
			} else {
				_, err = s.Revoke(t.Context(), storage.Target{UserID: g.UserID})
			}
			switch {
			case err == nil:
				mu.Lock()
				defer mu.Unlock()
				acknowledged = append(acknowledged, g)
			case !errors.Is(err, storage.ErrUnavailable):
				t.Errorf("revocation: %v", err)
			}
		})
	}
	wg.Wait()
	return slices.Clone(acknowledged)
}

// Calls that wait for no replicas are answered, however many others wait for
// replicas in vain. So logouts while a replica is gone don't keep tokens from
// being checked.
func TestCallsThatWaitForReplicasLeaveConnectionsToOthers(t *testing.T) {
	s, clock := openConfirmed(t, redistest.Single(t).URL(), 1) // it has no replica
	g := mustCreate(t, s, newGrant(clock.Now(), "u", time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := s.DeleteGrant(ctx, storage.GrantID{g.ID.Partition()}); !errors.Is(err, storage.ErrUnavailable) {
					t.Errorf("deleted without a replica: %v", err)
				}
			}
		})
	}
	time.Sleep(waitTimeout)
	for range 20 {
		began := time.Now()
		if _, err := s.LoadGrant(t.Context(), g.ID); err != nil {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	}
	cancel()
	wg.Wait()
}

// A slow master without a confirming replica still answers, though later than for either
// reason alone. So the circuit stays closed, and tokens are checked.
func TestWaitingForReplicasAtASlowMasterIsNoSilence(t *testing.T) {
	for name, patience := range map[string]time.Duration{"who waits": time.Minute, "who gives up": 450 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			proxy := redistest.Slow(t, redistest.Single(t)) // it has no replica
			s, clock := openConfirmed(t, proxy.URL(), 1)
			g := mustCreate(t, s, newGrant(clock.Now(), "u", time.Hour))
			_ = s.UpdateUser(t.Context(), storage.User{Name: "nobody"}) // makes the connection for the next call
			proxy.Delay(250 * time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := s.UpdateUser(ctx, storage.User{Name: "nobody"}); !errors.Is(err, storage.ErrUnavailable) || tripped(s) {
				t.Errorf("%v, circuit open: %t", err, tripped(s))
			}
			if _, err := s.LoadGrant(t.Context(), g.ID); err != nil {
				t.Error(err)
			}
		})
	}
}
