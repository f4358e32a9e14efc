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
