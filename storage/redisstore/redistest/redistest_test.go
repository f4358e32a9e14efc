package redistest

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestSingle(t *testing.T) {
	s := Single(t)
	c := s.Client()
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}

	t.Run("flush leaves nothing", func(t *testing.T) {
		s.Flush()
		if n := c.DBSize(t.Context()).Val(); n != 0 {
			t.Errorf("%d keys", n)
		}
	})
	t.Run("stopped doesn't answer until continued", func(t *testing.T) {
		s.Stop()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if answers := c.WithTimeout(100*time.Millisecond).Ping(ctx).Err() == nil; answers {
			t.Error("answers while stopped")
		}
		s.Cont()
		if err := c.Ping(t.Context()).Err(); err != nil {
			t.Errorf("after Cont: %v", err)
		}
	})
	t.Run("killed is gone, restarted answers on the same address", func(t *testing.T) {
		before := s.Addr()
		s.Kill()
		if answers(before) {
			t.Error("answers after Kill")
		}
		s.Restart()
		if s.Addr() != before || !answers(before) {
			t.Error("doesn't answer after Restart")
		}
	})
}

func TestSingleWithPasswordAndAppendOnlyFile(t *testing.T) {
	s := Single(t, "--requirepass", "x-pass", "--appendonly", "yes", "--appendfsync", "always")
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := u.User.Password(); p != "x-pass" {
		t.Errorf("URL has password %q", p)
	}
	if err := s.Client().Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	s.Restart()
	if v := s.Client().Get(t.Context(), "k").Val(); v != "v" {
		t.Errorf("after kill and restart: %q", v)
	}
}

func TestSentinelReplacesAMaster(t *testing.T) {
	s := Sentinel(t)
	first := s.Master()
	s.Failover()
	second := s.Master()
	if second == first {
		t.Fatal("Failover left the master in place")
	}
	s.KillMaster()
	if s.Master() == second {
		t.Fatal("KillMaster left the master in place")
	}
}

func TestAPartedReplicaMissesWhatItsMasterIsTold(t *testing.T) {
	master := Single(t)
	host, port, _ := strings.Cut(master.Addr(), ":")
	replica := Single(t, "--replicaof", host+" "+port)
	ctx := t.Context()
	master.Client().Set(ctx, "k", "old", 0)
	await(t, "replica in step", func() bool { return replica.Client().Get(ctx, "k").Val() == "old" })
	replica.Part()
	await(t, "replica alone", func() bool { return master.Client().Wait(ctx, 0, time.Millisecond).Val() == 0 })
	master.Client().Set(ctx, "k", "new", 0)
	if n := master.Client().Wait(ctx, 1, 200*time.Millisecond).Val(); n != 0 || replica.Client().Get(ctx, "k").Val() != "old" {
		t.Error("it follows")
	}
	replica.Rejoin()
	await(t, "replica in step again", func() bool { return replica.Client().Get(ctx, "k").Val() == "new" })
}

func TestClusterServesEverySlot(t *testing.T) {
	c := Cluster(t)
	for key := range strings.SplitSeq("a b c d e f g h", " ") {
		if err := c.Client().Set(t.Context(), key, key, 0).Err(); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	c.Flush()
	for _, n := range c.Nodes {
		if n.Client().DBSize(t.Context()).Val() != 0 {
			t.Error("Flush left a key")
		}
	}
}

func TestClusterReplacesAMasterAndMovesSlots(t *testing.T) {
	c := Cluster(t)
	replica := c.AddReplica(c.Nodes[1])
	keys := strings.Fields("a b c d e f g h")
	for _, key := range keys {
		if err := c.Client().Set(t.Context(), key, key, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	slots := c.UsedSlots(c.Nodes[0])
	if len(slots) == 0 {
		t.Fatal("the first master has no key")
	}
	for _, slot := range slots {
		c.Move(slot, c.Nodes[0], c.Nodes[1])
	}
	if n := c.Nodes[0].Client().DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys stayed", n)
	}
	c.Nodes[1].AwaitReplicas(replica)
	c.Nodes[1].Kill()
	if c.AwaitFailover(replica) != replica {
		t.Fatal("another took its place")
	}
	await(t, "every key", func() bool {
		for _, key := range keys {
			if c.Client().Get(t.Context(), key).Val() != key {
				return false
			}
		}
		return true
	})
}
