package faults

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// A master that dies loses the writes that it hasn't copied yet. Revocations and
// refreshes wait for a replica (redis.wait_replicas), so none is lost once it is
// acknowledged. A sign-in of the last instant may be lost, and then its user signs in
// again.

// parted is the time that a master is without its replicas before it dies.
const parted = 400 * time.Millisecond

// killParted kills the master after it has taken writes that no replica has.
func killParted(l *load, master *redistest.Server, replicas ...*redistest.Server) {
	for _, r := range replicas {
		r.Part()
	}
	l.endIdle()
	time.Sleep(parted)
	master.Kill()
	for _, r := range replicas {
		r.Rejoin()
	}
}

func TestSentinelReplacesAMasterThatIsKilled(t *testing.T) {
	s := size(t)
	trio := redistest.Sentinel(t)
	d := deploy(t, storeConfig{redis: trio.URL(), waitReplicas: 1}, s.clients+idle, 2)
	l := newLoad(t, "Sentinel, master killed", s, d)
	l.lossy = true
	old, replicas := trio.Master(), trio.Replicas()
	l.start()
	l.calm()
	l.during(func() {
		killParted(l, old, replicas...)
		trio.AwaitOther(old)
	})
	l.awaitService()
	old.Restart() // without its data; the sentinels make a replica of it
	l.calm()
	l.finish(keysOf(trio.Master()))
}

// A master that comes back still acts as the master. A replica that hasn't
// heard of the new master yet still follows the old one, and may confirm a
// write that is lost when it switches. So wait_replicas is 2 here, the number
// of all replicas: whichever becomes master has confirmed.
func TestSentinelReplacesAMasterThatStops(t *testing.T) {
	s := size(t)
	trio := redistest.Sentinel(t)
	d := deploy(t, storeConfig{redis: trio.URL(), waitReplicas: 2}, s.clients+idle, 2)
	l := newLoad(t, "Sentinel, master stopped and back", s, d)
	l.lossy = true
	old := trio.Master()
	l.start()
	l.calm()
	l.during(func() {
		old.Stop()
		l.endIdle()
		trio.AwaitOther(old)
		old.Cont()
		awaitReplicas(t, trio.Master(), 2) // the old master is one of the replicas now
	})
	l.awaitService()
	l.calm()
	l.finish(keysOf(trio.Master()))
}

// Refreshes that wait for replicas aren't begun while there is no replica. Otherwise
// they would be done without an acknowledgement, and lost to their clients when the
// retry window ends.
func TestAMasterIsWithoutItsReplica(t *testing.T) {
	s := size(t)
	master := redistest.Single(t)
	host, port, err := net.SplitHostPort(master.Addr())
	if err != nil {
		t.Fatal(err)
	}
	replica := redistest.Single(t, "--replicaof", host+" "+port)
	awaitReplicas(t, master, 1)
	d := deploy(t, storeConfig{redis: master.URL(), waitReplicas: 1}, s.clients, 2)
	l := newLoad(t, "replica gone for "+s.alone.String(), s, d)
	l.during(func() {
		replica.Kill()
		l.start()
		time.Sleep(s.alone)
		replica.Restart()
		awaitReplicas(t, master, 1)
	})
	l.awaitService()
	l.calm()
	l.finish(keysOf(master))
}

// awaitReplicas waits until the master has n replicas online.
func awaitReplicas(t *testing.T, master *redistest.Server, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if strings.Count(master.Client().Info(t.Context(), "replication").Val(), "state=online") == n {
			return
		}
	}
	t.Errorf("there aren't %d replicas", n)
}

// The master never comes back. It has two replicas, so that the one that takes
// its place has a replica to wait for.
func TestClusterLosesAMaster(t *testing.T) {
	s := size(t)
	cluster := redistest.Cluster(t)
	one, two := cluster.AddReplica(cluster.Nodes[0]), cluster.AddReplica(cluster.Nodes[0])
	for _, other := range cluster.Nodes[1:] {
		cluster.AddReplica(other)
	}
	d := deploy(t, storeConfig{redis: cluster.URL(), waitReplicas: 1}, s.clients+idle, 2)
	l := newLoad(t, "Cluster, a master killed", s, d)
	l.lossy = true
	l.start()
	l.calm()
	var next *redistest.Server
	l.during(func() {
		killParted(l, cluster.Nodes[0], one, two)
		next = cluster.AwaitFailover(one, two)
	})
	l.awaitService()
	l.calm()
	l.finish(keysOf(next, cluster.Nodes[1], cluster.Nodes[2]))
}

func TestClusterMovesSlots(t *testing.T) {
	s := size(t)
	cluster := redistest.Cluster(t)
	d := deploy(t, storeConfig{redis: cluster.URL()}, s.clients, 2)
	l := newLoad(t, "Cluster, slots moved there and back", s, d)
	l.start()
	l.calm()
	l.during(func() {
		for end := time.Now().Add(s.fault); time.Now().Before(end); {
			for _, way := range [][2]int{{0, 1}, {1, 2}, {2, 0}} {
				from, to := cluster.Nodes[way[0]], cluster.Nodes[way[1]]
				for _, slot := range cluster.UsedSlots(from) {
					cluster.Move(slot, from, to)
				}
			}
		}
	})
	l.awaitService()
	l.calm()
	l.finish(keysOf(cluster.Nodes...))
}
