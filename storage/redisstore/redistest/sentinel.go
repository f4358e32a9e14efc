package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	masterName    = "mymaster"
	replicaCount  = 2
	sentinelCount = 3
)

// SentinelTrio is a master, two replicas, and three sentinels that watch them.
// A master that doesn't answer for half a second is replaced.
type SentinelTrio struct {
	t         testing.TB
	servers   []*Server
	sentinels []*redis.SentinelClient
	addrs     []string // of the sentinels
}

// Sentinel starts a trio and returns when every sentinel knows all the others.
func Sentinel(t testing.TB) *SentinelTrio {
	t.Helper()
	master := Single(t)
	return trio(t, master, master.Addr(), 500*time.Millisecond)
}

// SlowSentinel starts a trio whose sentinels name a proxy in front of the master. It
// returns that proxy and those in front of the sentinels, and the URL of the latter. The
// master is replaced only when it doesn't answer for 30 s, the default of Redis.
func SlowSentinel(t testing.TB) (all SlowProxies, url string, master *Server) {
	t.Helper()
	master = Single(t)
	all = SlowProxies{Slow(t, master)}
	var addrs []string
	for _, sentinel := range trio(t, master, all[0].Addr(), 30*time.Second).addrs {
		p := slow(t, sentinel)
		all, addrs = append(all, p), append(addrs, p.Addr())
	}
	return all, sentinelURL(addrs), master
}

// trio starts the replicas and the sentinels of the master. The sentinels watch
// it at the address watched, and replace it when it doesn't answer for
// patience.
func trio(t testing.TB, master *Server, watched string, patience time.Duration) *SentinelTrio {
	t.Helper()
	s := &SentinelTrio{t: t, servers: []*Server{master}}
	for range replicaCount {
		s.servers = append(s.servers, Single(t, "--replicaof", spaced(t, master.Addr())))
	}
	await(t, "replicas in step", func() bool {
		info := s.servers[0].Client().Info(t.Context(), "replication").Val()
		return strings.Count(info, "state=online") == replicaCount
	})
	for range sentinelCount {
		s.startSentinel(spaced(t, watched), patience)
	}
	await(t, "sentinels that know each other", s.complete)
	return s
}

// spaced returns the address in the form of Redis, with a space between host
// and port.
func spaced(t testing.TB, addr string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return host + " " + port
}

func (s *SentinelTrio) startSentinel(watched string, patience time.Duration) {
	s.t.Helper()
	dir := s.t.TempDir()
	file := filepath.Join(dir, "sentinel.conf")
	p := start(s.t, "redis-sentinel", dir, func(own int) []string {
		conf := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\n", own, dir) +
			fmt.Sprintf("sentinel monitor %s %s 2\n", masterName, watched) +
			fmt.Sprintf("sentinel down-after-milliseconds %s %d\n", masterName, patience.Milliseconds()) +
			fmt.Sprintf("sentinel failover-timeout %s 2000\n", masterName)
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			s.t.Fatal(err)
		}
		return []string{file}
	})
	c := redis.NewSentinelClient(clientOptions(p.addr(), ""))
	s.t.Cleanup(func() { c.Close() })
	s.sentinels = append(s.sentinels, c)
	s.addrs = append(s.addrs, p.addr())
}

func (s *SentinelTrio) complete() bool {
	for _, c := range s.sentinels {
		m := c.Master(s.t.Context(), masterName).Val()
		if m["num-slaves"] != strconv.Itoa(replicaCount) || m["num-other-sentinels"] != strconv.Itoa(sentinelCount-1) {
			return false
		}
	}
	return true
}

// URL returns the URL for redisstore.Open.
func (s *SentinelTrio) URL() string { return sentinelURL(s.addrs) }

func sentinelURL(addrs []string) string {
	return "redis+sentinel://" + strings.Join(addrs, ",") + "/" + masterName
}

// Master returns the server that the sentinels name as the master now.
func (s *SentinelTrio) Master() *Server {
	s.t.Helper()
	addr := s.masterAddr()
	for _, server := range s.servers {
		if server.Addr() == addr {
			return server
		}
	}
	s.t.Fatalf("redistest: the sentinels name %q, which is none of the servers", addr)
	return nil
}

// Replicas returns the servers that follow the master.
func (s *SentinelTrio) Replicas() []*Server {
	s.t.Helper()
	master := s.Master()
	return slices.DeleteFunc(slices.Clone(s.servers), func(other *Server) bool { return other == master })
}

func (s *SentinelTrio) masterAddr() string {
	pair := s.sentinels[0].GetMasterAddrByName(s.t.Context(), masterName).Val()
	if len(pair) != 2 {
		return ""
	}
	return net.JoinHostPort(pair[0], pair[1])
}

// Flush deletes every key and waits until the replicas have followed.
func (s *SentinelTrio) Flush() {
	s.t.Helper()
	m := s.Master()
	m.Flush()
	m.Client().Do(s.t.Context(), "WAIT", replicaCount, 1000)
}

// Failover asks the sentinels to make a replica the master, and returns when it
// is. Nothing dies.
func (s *SentinelTrio) Failover() {
	s.t.Helper()
	before := s.masterAddr()
	// Refused while an earlier failover settles.
	await(s.t, "failover begun", func() bool {
		return s.sentinels[0].Failover(s.t.Context(), masterName).Err() == nil
	})
	s.awaitOther(before)
}

// KillMaster kills the master (SIGKILL) and returns when the sentinels have
// made a replica the master.
func (s *SentinelTrio) KillMaster() {
	s.t.Helper()
	m := s.Master()
	m.Kill()
	s.AwaitOther(m)
}

// AwaitOther returns when the sentinels have made another server the master.
func (s *SentinelTrio) AwaitOther(m *Server) {
	s.t.Helper()
	s.awaitOther(m.Addr())
}

// Kill kills the master and its replicas, for good. The sentinels stay.
func (s *SentinelTrio) Kill() {
	for _, server := range s.servers {
		server.Kill()
	}
}

func (s *SentinelTrio) awaitOther(before string) {
	s.t.Helper()
	await(s.t, "another master", func() bool {
		addr := s.masterAddr()
		return addr != "" && addr != before && isMaster(s.t.Context(), addr)
	})
}

func isMaster(ctx context.Context, addr string) bool {
	c := redis.NewClient(clientOptions(addr, ""))
	defer c.Close()
	return strings.Contains(c.Info(ctx, "replication").Val(), "role:master")
}
