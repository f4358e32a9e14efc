package redisstore

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

const tolerable = time.Second // for an answer when Redis can't give one

// calls has one call of every method.
func calls(s *Store, g storage.Grant) map[string]func(context.Context) error {
	user := storage.User{Name: "alice", Revision: 1}
	client := storage.Client{ID: "demo", Revision: 1}
	target := storage.Target{UserID: g.UserID}
	revocation := storage.Revocation{Target: target, Epochs: map[byte]uint32{g.ID.Partition(): 1}}
	elsewhere := storage.GrantID{g.ID.Partition() + 1}
	return map[string]func(context.Context) error{
		"Ping":         s.Ping,
		"CreateGrant":  func(ctx context.Context) error { return s.CreateGrant(ctx, g) },
		"LoadGrant":    func(ctx context.Context) error { _, err := s.LoadGrant(ctx, g.ID); return err },
		"SwapGrant":    func(ctx context.Context) error { return s.SwapGrant(ctx, g, next(g), retry(g)) },
		"LoadRetry":    func(ctx context.Context) error { _, err := s.LoadRetry(ctx, g.ID); return err },
		"DeleteGrant":  func(ctx context.Context) error { return s.DeleteGrant(ctx, g.ID) },
		"Epoch":        func(ctx context.Context) error { _, err := s.Epoch(ctx, elsewhere); return err },
		"Revoke":       func(ctx context.Context) error { _, err := s.Revoke(ctx, target); return err },
		"Revoke all":   func(ctx context.Context) error { _, err := s.Revoke(ctx, storage.Target{All: true}); return err },
		"Sweep":        func(ctx context.Context) error { _, err := s.Sweep(ctx, revocation, nil); return err },
		"Survivors":    func(ctx context.Context) error { _, err := s.Survivors(ctx, revocation); return err },
		"CountGrants":  func(ctx context.Context) error { _, err := s.CountGrants(ctx, target); return err },
		"Unswept":      func(ctx context.Context) error { _, err := s.Unswept(ctx); return err },
		"ListGrants":   func(ctx context.Context) error { _, _, err := s.ListGrants(ctx, target, "", 10); return err },
		"CreateUser":   func(ctx context.Context) error { return s.CreateUser(ctx, user) },
		"LoadUser":     func(ctx context.Context) error { _, err := s.LoadUser(ctx, "alice"); return err },
		"UpdateUser":   func(ctx context.Context) error { return s.UpdateUser(ctx, user) },
		"DeleteUser":   func(ctx context.Context) error { return s.DeleteUser(ctx, "alice") },
		"ListUsers":    func(ctx context.Context) error { _, err := s.ListUsers(ctx, "", 10); return err },
		"CreateClient": func(ctx context.Context) error { return s.CreateClient(ctx, client) },
		"LoadClient":   func(ctx context.Context) error { _, err := s.LoadClient(ctx, "demo"); return err },
		"UpdateClient": func(ctx context.Context) error { return s.UpdateClient(ctx, client) },
		"DeleteClient": func(ctx context.Context) error { return s.DeleteClient(ctx, "demo") },
		"ListClients":  func(ctx context.Context) error { _, err := s.ListClients(ctx, "", 10); return err },
		"CreateKey":    func(ctx context.Context) error { return s.CreateKey(ctx, storage.Key{ID: 1}) },
		"ListKeys":     func(ctx context.Context) error { _, err := s.ListKeys(ctx); return err },
		"DeleteKey":    func(ctx context.Context) error { return s.DeleteKey(ctx, 1) },
		"AppendAudit":  func(ctx context.Context) error { return s.AppendAudit(ctx, storage.AuditEvent{}) },
		"ListAudit":    func(ctx context.Context) error { _, err := s.ListAudit(ctx, storage.AuditQuery{}, 1); return err },
		"TrimAudit":    func(ctx context.Context) error { return s.TrimAudit(ctx, time.Time{}, 1) },
	}
}

// expectUnavailable makes all calls at once, with a context that has no
// deadline. Each must fail in time.
func expectUnavailable(t *testing.T, s *Store, g storage.Grant) {
	t.Helper()
	var wg sync.WaitGroup
	for name, call := range calls(s, g) {
		wg.Go(func() {
			began := time.Now()
			err := call(context.Background())
			if !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("%s: %v, want ErrUnavailable", name, err)
			}
			if took := time.Since(began); took > tolerable {
				t.Errorf("%s took %v", name, took)
			}
		})
	}
	wg.Wait()
}

// expectRecovery repeats the call until it succeeds, and fails the test after
// the time within.
func expectRecovery(t *testing.T, within time.Duration, call func() error) {
	t.Helper()
	began := time.Now()
	for {
		err := call()
		took := time.Since(began)
		if err == nil {
			t.Logf("recovered after %v", took.Round(time.Millisecond))
			return
		}
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("while unavailable: %v", err)
		}
		if took > within {
			t.Fatalf("not recovered after %v: %v", took, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAKilledRedisIsUnavailableAndNothingAcknowledgedIsLost(t *testing.T) {
	server := redistest.Single(t, "--appendonly", "yes", "--appendfsync", "always")
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	dead := mustCreate(t, s, newGrant(clock.Now(), "u2", time.Hour))
	if _, err := s.Revoke(t.Context(), storage.Target{UserID: "u2"}); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	expectUnavailable(t, s, g)
	server.Restart()
	expectRecovery(t, 2*time.Second, func() error { _, err := s.LoadGrant(t.Context(), g.ID); return err })
	if _, err := s.LoadGrant(t.Context(), dead.ID); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a revoked grant after the restart: %v", err)
	}
	// The script cache was lost with the process.
	if err := s.SwapGrant(t.Context(), g, next(g), storage.Retry{}); err != nil {
		t.Errorf("swap after the restart: %v", err)
	}
	if _, err := s.Revoke(t.Context(), storage.Target{ClientID: "demo"}); err != nil {
		t.Errorf("revocation after the restart: %v", err)
	}
}

func TestAStoppedRedisIsUnavailableWithinASecond(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	server.Stop()
	expectUnavailable(t, s, g) // includes calls that need a new connection
	expectUnavailable(t, s, g)
	server.Cont()
	expectRecovery(t, time.Second, func() error { return s.Ping(t.Context()) })
}

func TestNoAnswerOfRedisPassesForAnAnswerOfTheStore(t *testing.T) {
	password := redistest.Single(t, "--requirepass", "hunter2")
	full := redistest.Single(t)
	full.Client().ConfigSet(t.Context(), "maxmemory", "1")
	replica := redistest.Single(t, "--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "no")

	t.Run("wrong password", func(t *testing.T) {
		for _, url := range []string{
			strings.Replace(password.URL(), ":hunter2@", "", 1),
			strings.Replace(password.URL(), ":hunter2@", ":wr0ng@", 1),
		} {
			s, clock := open(t, url)
			expectUnavailable(t, s, newGrant(clock.Now(), "u1", time.Hour))
			if err := s.Ping(t.Context()); strings.Contains(err.Error(), "wr0ng") {
				t.Errorf("%q quotes the password", err)
			}
		}
	})
	t.Run("right password", func(t *testing.T) {
		s, _ := open(t, password.URL())
		if err := s.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("replica without its master", func(t *testing.T) {
		s, clock := open(t, replica.URL())
		expectUnavailable(t, s, newGrant(clock.Now(), "u1", time.Hour))
	})
	t.Run("memory is full", func(t *testing.T) {
		s, clock := open(t, full.URL())
		g := newGrant(clock.Now(), "u1", time.Hour)
		if err := s.CreateGrant(t.Context(), g); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("create: %v", err)
		}
		if _, err := s.LoadGrant(t.Context(), g.ID); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("load: %v", err)
		}
		// Ending grants must work even then.
		revokeAndSweep(t, s, storage.Target{UserID: "u1"})
		if err := s.DeleteGrant(t.Context(), g.ID); err != nil {
			t.Errorf("delete: %v", err)
		}
		// So must the audit trail, which an act of an admin needs.
		if err := s.AppendAudit(t.Context(), storage.AuditEvent{Action: storage.ActGrantEnd}); err != nil {
			t.Errorf("append to the audit trail: %v", err)
		}
		if err := s.TrimAudit(t.Context(), time.Time{}, 0); err != nil {
			t.Errorf("trim the audit trail: %v", err)
		}
	})
}

// When no node has memory left, a revocation still gets its receipt, and a user
// or a client can be deleted.
func TestReceiptsWhenMemoryIsFull(t *testing.T) {
	single, cluster := redistest.Single(t), redistest.Cluster(t)
	for name, r := range map[string]struct {
		url   string
		nodes []*redistest.Server
	}{"single": {single.URL(), []*redistest.Server{single}}, "cluster": {cluster.URL(), cluster.Nodes}} {
		t.Run(name, func(t *testing.T) {
			s, clock := open(t, r.url)
			user, client := storage.User{ID: "usr_1", Name: "alice"}, storage.Client{ID: "web"}
			if err := errors.Join(s.CreateUser(t.Context(), user), s.CreateClient(t.Context(), client)); err != nil {
				t.Fatal(err)
			}
			for _, node := range r.nodes {
				node.Client().ConfigSet(t.Context(), "maxmemory", "1")
			}
			if err := s.CreateUser(t.Context(), storage.User{ID: "usr_2", Name: "bob"}); !errors.Is(err, storage.ErrUnavailable) {
				t.Fatalf("it isn't full: %v", err)
			}
			receipt := storage.Receipt{ID: storage.NewReceiptID(clock.Now()), By: "root", Revision: 1}
			gone := storage.Receipt{ID: storage.NewReceiptID(clock.Now()), By: "root"}
			for name, err := range map[string]error{
				"create": s.CreateReceipt(t.Context(), receipt), "again": s.CreateReceipt(t.Context(), receipt),
				"update": s.UpdateReceipt(t.Context(), receipt), "another": s.CreateReceipt(t.Context(), gone),
				"delete": s.DeleteReceipt(t.Context(), gone.ID),
				"user":   s.DeleteUser(t.Context(), user.Name), "client": s.DeleteClient(t.Context(), client.ID),
			} {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			found, err := s.ListReceipts(t.Context(), "", 10)
			if err != nil || len(found) != 1 || found[0].ID != receipt.ID || found[0].Revision != 2 {
				t.Errorf("listed: %+v, %v", found, err)
			}
			if users, err := s.ListUsers(t.Context(), "", 10); err != nil || len(users) != 0 {
				t.Errorf("the users: %+v, %v", users, err)
			}
		})
	}
}

func TestACallerThatGaveUpIsToldSo(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range calls(s, g) {
		if err := call(ctx); !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want ErrUnavailable and context.Canceled", name, err)
		}
	}
	server.Stop()
	defer server.Cont()
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := s.LoadGrant(ctx, g.ID); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("deadline: %v", err)
	}
	if took := time.Since(began); took > 200*time.Millisecond {
		t.Errorf("a deadline of 50ms took %v", took)
	}
}

func TestAFailoverOfSentinelIsSurvived(t *testing.T) {
	trio := redistest.Sentinel(t)
	s, clock := open(t, trio.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	for _, failover := range []func(){trio.Failover, trio.KillMaster} {
		trio.Master().AwaitReplicas(trio.Replicas()...)
		failover()
		master := trio.Master()
		// Until the client has heard of the new master, it may still write to
		// the old one.
		expectRecovery(t, 5*time.Second, func() error {
			fresh := newGrant(clock.Now(), "u1", time.Hour)
			if err := s.CreateGrant(t.Context(), fresh); err != nil {
				return err
			}
			if master.Client().Exists(t.Context(), grantKey(fresh.ID)).Val() == 0 {
				return storage.ErrUnavailable
			}
			return nil
		})
		if _, err := s.LoadGrant(t.Context(), g.ID); err != nil {
			t.Errorf("a grant of before the failover: %v", err)
		}
	}
}

// spread returns a Cluster that serves the remaining slots when nodes are gone,
// and grants on all nodes.
func spread(t *testing.T) (cluster *redistest.ThreeMasters, s *Store, grants []storage.Grant) {
	t.Helper()
	cluster = redistest.Cluster(t)
	for _, n := range cluster.Nodes {
		n.Client().ConfigSet(t.Context(), "cluster-require-full-coverage", "no")
	}
	s, clock := open(t, cluster.URL())
	for range 30 {
		grants = append(grants, mustCreate(t, s, newGrant(clock.Now(), userID(), time.Hour)))
	}
	return cluster, s, grants
}

func TestAClusterServesOnWithoutOneOfItsMasters(t *testing.T) {
	cluster, s, grants := spread(t)
	cluster.Nodes[1].Kill()
	var lost, served int
	for _, g := range grants {
		began := time.Now()
		_, err := s.LoadGrant(t.Context(), g.ID)
		switch {
		case err == nil:
			served++
		case errors.Is(err, storage.ErrUnavailable):
			lost++
		default:
			t.Errorf("load: %v", err)
		}
		if took := time.Since(began); took > tolerable {
			t.Errorf("load took %v", took)
		}
	}
	if served == 0 || lost == 0 {
		t.Errorf("%d served, %d unavailable", served, lost)
	}
	if _, err := s.Revoke(t.Context(), storage.Target{All: true}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a revocation that can't be complete: %v", err)
	}
}
