package redistest

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	masterCount = 3
	slotCount   = 16384

	moved       = 16 // keys at once
	moveTimeout = 5 * time.Second
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

// AddReplica starts a replica of the node, and returns when it follows. The
// replica takes over when the node is killed.
func (c *ThreeMasters) AddReplica(of *Server) *Server {
	c.t.Helper()
	s := clusterNode(c.t)
	c.meet(s)
	id := c.id(of)
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

// id returns the name of s among the other nodes.
func (c *ThreeMasters) id(s *Server) string {
	c.t.Helper()
	id, err := s.Client().ClusterMyID(c.t.Context()).Result()
	c.must(err)
	return id
}

// AwaitFailover waits until one of the replicas has taken the place of their
// killed master, and returns that replica.
func (c *ThreeMasters) AwaitFailover(replicas ...*Server) *Server {
	c.t.Helper()
	var next *Server
	await(c.t, "replica as master", func() bool {
		i := slices.IndexFunc(replicas, func(s *Server) bool { return isMaster(c.t.Context(), s.Addr()) && c.serves(s) })
		if i >= 0 {
			next = replicas[i]
		}
		return next != nil
	})
	return next
}

func (c *ThreeMasters) serves(s *Server) bool {
	return strings.Contains(s.Client().ClusterInfo(c.t.Context()).Val(), "cluster_state:ok")
}

// UsedSlots returns the slots of the master that hold keys, in order.
func (c *ThreeMasters) UsedSlots(s *Server) []int {
	c.t.Helper()
	keys, err := s.Client().Keys(c.t.Context(), "*").Result()
	c.must(err)
	var slots []int
	for _, key := range keys {
		slot, err := s.Client().ClusterKeySlot(c.t.Context(), key).Result()
		c.must(err)
		slots = append(slots, int(slot))
	}
	slices.Sort(slots)
	return slices.Compact(slots)
}

// Move moves the slot with all its keys from one master to another while
// clients go on, as a resharding does.
func (c *ThreeMasters) Move(slot int, from, to *Server) {
	c.t.Helper()
	ctx := c.t.Context()
	c.must(to.Client().Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", c.id(from)).Err())
	c.must(from.Client().Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", c.id(to)).Err())
	for {
		keys, err := from.Client().ClusterGetKeysInSlot(ctx, slot, moved).Result()
		c.must(err)
		if len(keys) == 0 {
			break
		}
		args := []any{"MIGRATE", "127.0.0.1", to.process.port, "", 0, moveTimeout.Milliseconds(), "KEYS"}
		for _, key := range keys {
			args = append(args, key)
		}
		c.must(from.Client().Do(ctx, args...).Err())
	}
	// Tell all nodes, the new owner first: the next move may begin before the
	// news has spread by itself.
	for _, s := range slices.Concat([]*Server{to, from}, c.Nodes) {
		c.must(s.Client().Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", c.id(to)).Err())
	}
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

// URL returns the URL for redisstore.Open.
func (c *ThreeMasters) URL() string {
	var addrs []string
	for _, s := range c.Nodes {
		addrs = append(addrs, s.Addr())
	}
	return clusterURL(addrs)
}

func clusterURL(addrs []string) string { return "redis+cluster://" + strings.Join(addrs, ",") }

// Slow puts a proxy in front of each node, and makes the nodes tell clients the
// addresses of the proxies. It returns the proxies, in the order of the nodes, and
// their URL. The nodes don't talk to each other through the proxies, but replicas that
// are added later follow through them.
func (c *ThreeMasters) Slow() (all SlowProxies, url string) {
	c.t.Helper()
	var addrs []string
	for _, s := range c.Nodes {
		p := Slow(c.t, s)
		c.must(s.Client().ConfigSet(c.t.Context(), "cluster-announce-port", p.port()).Err())
		all, addrs = append(all, p), append(addrs, p.Addr())
	}
	await(c.t, "nodes that all know the proxies", func() bool {
		for _, s := range c.Nodes {
			known := s.Client().ClusterNodes(c.t.Context()).Val()
			if slices.ContainsFunc(addrs, func(a string) bool { return !strings.Contains(known, a+"@") }) {
				return false
			}
		}
		return true
	})
	return all, clusterURL(addrs)
}

// Client returns a plain client of the cluster. It is closed with the test.
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
