package faults

import (
	"testing"
	"time"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// A master takes along what it had not copied yet. Revocations wait for a replica
// (redis.wait_replicas), so none of them is lost; a pair that was issued in the last
// instant may be, and its user signs in again.

func TestSentinelReplacesAMasterThatIsKilled(t *testing.T) {
	s := size(t)
	trio := redistest.Sentinel(t)
	d := deploy(t, storeConfig{redis: trio.URL(), waitReplicas: 1}, s.clients, 2)
	l := newLoad(t, "Sentinel, master killed", s, d)
	l.lossy = true
	old := trio.Master()
	l.start()
	l.calm()
	l.during(trio.KillMaster)
	l.awaitService()
	old.Restart() // without its data; the sentinels make a replica of it
	l.calm()
	l.finish(keysOf(trio.Master()))
}

func TestSentinelReplacesAMasterThatStops(t *testing.T) {
	s := size(t)
	trio := redistest.Sentinel(t)
	d := deploy(t, storeConfig{redis: trio.URL(), waitReplicas: 1}, s.clients, 2)
	l := newLoad(t, "Sentinel, master stopped and back", s, d)
	l.lossy = true
	old := trio.Master()
	l.start()
	l.calm()
	l.during(func() {
		old.Stop()
		trio.AwaitOther(old)
		old.Cont() // it takes itself for the master still
	})
	l.awaitService()
	l.calm()
	l.finish(keysOf(trio.Master()))
}

// The master has two replicas, so that the one that takes its place has one to wait
// for. The master never comes back.
func TestClusterLosesAMaster(t *testing.T) {
	s := size(t)
	cluster := redistest.Cluster(t)
	one, two := cluster.AddReplica(cluster.Nodes[0]), cluster.AddReplica(cluster.Nodes[0])
	for _, other := range cluster.Nodes[1:] {
		cluster.AddReplica(other)
	}
	d := deploy(t, storeConfig{redis: cluster.URL(), waitReplicas: 1}, s.clients, 2)
	l := newLoad(t, "Cluster, a master killed", s, d)
	l.lossy = true
	l.start()
	l.calm()
	var next *redistest.Server
	l.during(func() {
		cluster.Nodes[0].Kill()
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
