package redisstore

import (
	"context"
	"regexp"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
)

// writeScript writes nothing, but Redis refuses to run it when it would refuse
// a write: it doesn't say otherwise in its first line.
var writeScript = redis.NewScript("#!lua\nreturn 1")

// Health implements storage.Store: three round trips, the second and third to every node of
// a Cluster, and one more to each where replicas are waited for. A store that lacks those
// counts as one that refuses, though it creates grants and users.
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
		return storage.Down // nobody tells which nodes there are
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

// follows is a replica that has answered within the last seconds: each does so once a second.
// Redis 8 and Valkey 8 tell more of it after that.
var follows = regexp.MustCompile(`(?m)^slave\d+:.*,state=online,.*,lag=[0-3](,.*)?\r?$`)

// lacksReplicas reports whether the node has fewer replicas than calls wait for, as far
// as it tells: its user may not be allowed to ask.
func (s *Store) lacksReplicas(ctx context.Context, node *redis.Client) bool {
	told, err := node.Info(ctx, "replication").Result()
	return err == nil && len(follows.FindAllString(told, -1)) < s.replicas
}

// evicts reports whether the node makes room by forgetting keys when its memory is full,
// as far as it tells: see the package comment.
func evicts(ctx context.Context, node *redis.Client) bool {
	told, err := node.Info(ctx, "memory").Result()
	return err == nil && strings.Contains(told, "maxmemory_policy:") &&
		!strings.Contains(told, "maxmemory_policy:noeviction") && !strings.Contains(told, "maxmemory:0\r")
}

// writable is the state of a node that answered so to writeScript.
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
	return storage.Refusing // for want of replicas, or because it can't save
}
