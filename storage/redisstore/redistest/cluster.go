package redistest

import (
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

const (
	masterCount = 3
	slotCount   = 16384
)

// ThreeMasters is a Redis Cluster of three masters without replicas.
type ThreeMasters struct {
	// Nodes are the masters, in the order of their slots.
	Nodes  []*Server
	t      testing.TB
	client *redis.ClusterClient
}

// Cluster starts a cluster and returns when every node finds it healthy.
func Cluster(t testing.TB) *ThreeMasters {
	t.Helper()
	c := &ThreeMasters{t: t}
	var addrs []string
	for i := range masterCount {
		s := clusterNode(t)
		c.Nodes = append(c.Nodes, s)
		addrs = append(addrs, s.Addr())
		from, to := i*slotCount/masterCount, (i+1)*slotCount/masterCount-1
		c.must(s.Client().Do(t.Context(), "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		c.must(s.Client().ClusterAddSlotsRange(t.Context(), from, to).Err())
		c.meet(s)
	}
	await(t, "healthy cluster", c.healthy)
	c.client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() { c.client.Close() })
	return c
}

func clusterNode(t testing.TB) *Server {
	t.Helper()
	return Single(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", strconv.Itoa(freePort(t)))
}

// AddReplica starts a replica of the node, which takes its place when it is killed,
// and returns when it follows.
func (c *ThreeMasters) AddReplica(of *Server) *Server {
	c.t.Helper()
	s := clusterNode(c.t)
	c.meet(s)
	id := of.Client().ClusterMyID(c.t.Context()).Val()
	await(c.t, "a replica that knows its master", func() bool {
		return s.Client().ClusterReplicate(c.t.Context(), id).Err() == nil
	})
	await(c.t, "a replica in step", func() bool {
		return strings.Contains(of.Client().Info(c.t.Context(), "replication").Val(), "state=online")
	})
	await(c.t, "a replica that may be elected", func() bool {
		for _, n := range c.Nodes {
			if known := n.Client().ClusterNodes(c.t.Context()).Val(); !strings.Contains(known, "slave "+id) {
				return false
			}
		}
		return true
	})
	return s
}

// meet introduces s to the first node. The bus port must be named, since it
// isn't the usual one.
func (c *ThreeMasters) meet(s *Server) {
	c.t.Helper()
	first := c.Nodes[0]
	if s == first {
		return
	}
	bus := first.Client().ConfigGet(c.t.Context(), "cluster-port").Val()["cluster-port"]
	c.must(s.Client().Do(c.t.Context(), "CLUSTER", "MEET", "127.0.0.1", first.process.port, bus).Err())
}

func (c *ThreeMasters) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("redistest: cluster: %v", err)
	}
}

func (c *ThreeMasters) healthy() bool {
	for _, s := range c.Nodes {
		info := s.Client().ClusterInfo(c.t.Context()).Val()
		if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_size:"+strconv.Itoa(masterCount)) {
			return false
		}
	}
	return true
}

// URL is what redisstore.Open takes.
func (c *ThreeMasters) URL() string {
	var addrs []string
	for _, s := range c.Nodes {
		addrs = append(addrs, s.Addr())
	}
	return "redis+cluster://" + strings.Join(addrs, ",")
}

// Client is a plain client of the cluster. It is closed with the test.
func (c *ThreeMasters) Client() *redis.ClusterClient { return c.client }

// Flush deletes every key on every node.
func (c *ThreeMasters) Flush() {
	for _, s := range c.Nodes {
		s.Flush()
	}
}

// Kill kills every node, for good.
func (c *ThreeMasters) Kill() {
	for _, s := range c.Nodes {
		s.Kill()
	}
}
