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
	s := &SentinelTrio{t: t, servers: []*Server{Single(t)}}
	host, port, err := net.SplitHostPort(s.servers[0].Addr())
	if err != nil {
		t.Fatal(err)
	}
	for range replicaCount {
		s.servers = append(s.servers, Single(t, "--replicaof", host+" "+port))
	}
	await(t, "replicas in step", func() bool {
		info := s.servers[0].Client().Info(t.Context(), "replication").Val()
		return strings.Count(info, "state=online") == replicaCount
	})
	for range sentinelCount {
		s.startSentinel(host, port)
	}
	await(t, "sentinels that know each other", s.complete)
	return s
}

func (s *SentinelTrio) startSentinel(host, port string) {
	s.t.Helper()
	dir := s.t.TempDir()
	file := filepath.Join(dir, "sentinel.conf")
	p := start(s.t, "redis-sentinel", dir, func(own int) []string {
		conf := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\n", own, dir) +
			fmt.Sprintf("sentinel monitor %s %s %s 2\n", masterName, host, port) +
			fmt.Sprintf("sentinel down-after-milliseconds %s 500\n", masterName) +
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

// URL is what redisstore.Open takes.
func (s *SentinelTrio) URL() string {
	return "redis+sentinel://" + strings.Join(s.addrs, ",") + "/" + masterName
}

// Master is the server that the sentinels name as the master now.
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

// Replicas are the servers that follow the master.
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
