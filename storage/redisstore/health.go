package redisstore

import (
	"context"
	"regexp"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
)

// writeScript writes nothing. Redis still refuses to run it whenever it would refuse a
// write, because its first line doesn't have the flag no-writes.
var writeScript = redis.NewScript("#!lua\nreturn 1")

// Health implements storage.Store. It takes three round trips, the second and third to
// every master of a Cluster, and a fourth to each if calls wait for replicas. A store that
// lacks replicas counts as storage.Refusing, though it creates grants and users.
func (s *Store) Health(ctx context.Context) storage.Health {
	state := s.state(ctx)
	return storage.Health{State: state, Open: s.tripped.Load() > 0}
}

func (s *Store) state(ctx context.Context) storage.HealthState {
	if err := s.Ping(ctx); err != nil && (!s.cluster() || answered(err)) {
		return storage.Down // or a Cluster that refuses to serve
	}
	var mu sync.Mutex
	found := map[storage.HealthState]bool{}
	err := s.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		state := writable(writeScript.Run(ctx, node, nil).Err())
		if state == storage.Healthy && s.replicas > 0 && s.lacksReplicas(ctx, node) {
			state = storage.Refusing
		}
		if state == storage.Healthy && evicts(ctx, node) {
			state = storage.Evicting
		}
		mu.Lock()
		defer mu.Unlock()
		found[state] = true
		return nil
	})
	if err != nil || len(found) == 0 {
		return storage.Down // no node tells which nodes there are
	}
	if found[storage.Down] && len(found) > 1 {
		return storage.Partial
	}
	for _, worst := range []storage.HealthState{storage.Down, storage.ReadOnly, storage.Refusing, storage.Full, storage.Evicting} {
		if found[worst] {
			return worst
		}
	}
	return storage.Healthy
}

// follows matches the line of a replica that has answered within the last seconds; each
// does so once a second. In Redis 8 and Valkey 8 more fields follow.
var follows = regexp.MustCompile(`(?m)^slave\d+:.*,state=online,.*,lag=[0-3](,.*)?\r?$`)

// lacksReplicas reports whether the node has fewer replicas than calls wait for. It is
// false if the node doesn't tell, because its user may not run INFO.
func (s *Store) lacksReplicas(ctx context.Context, node *redis.Client) bool {
	told, err := node.Info(ctx, "replication").Result()
	return err == nil && len(follows.FindAllString(told, -1)) < s.replicas
}

// evicts reports whether the node deletes keys when its memory is full (see the package
// comment). It is false if the node doesn't tell.
func evicts(ctx context.Context, node *redis.Client) bool {
	told, err := node.Info(ctx, "memory").Result()
	return err == nil && strings.Contains(told, "maxmemory_policy:") &&
		!strings.Contains(told, "maxmemory_policy:noeviction") && !strings.Contains(told, "maxmemory:0\r")
}

// writable returns the state of a node whose answer to writeScript was err.
func writable(err error) storage.HealthState {
	switch {
	case err == nil:
		return storage.Healthy
	case !answered(err):
		return storage.Down
	case redis.HasErrorPrefix(err, "OOM"):
		return storage.Full
	case redis.HasErrorPrefix(err, "READONLY"):
		return storage.ReadOnly
	}
	return storage.Refusing // too few replicas, or it can't save
}
