package redisstore

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage/redisstore/redistest"
	"github.com/grantd/grantd/storage/storagetest"
)

// deployment is a running Redis of some shape.
type deployment interface {
	URL() string
	Flush()
	Kill()
}

// topologies are the deployments on which a store must work alike.
var topologies = []struct {
	name  string
	start func(testing.TB) deployment
}{
	{"single", func(t testing.TB) deployment { return redistest.Single(t) }},
	{"sentinel", func(t testing.TB) deployment { return redistest.Sentinel(t) }},
	{"cluster", func(t testing.TB) deployment { return redistest.Cluster(t) }},
}

// slowTest is the time by which the test's clock, which stands still, is ahead of
// Redis. So no swap is too late for Redis while a check takes less than this, even on
// a busy machine.
const slowTest = 30 * time.Second

func TestContract(t *testing.T) {
	for _, topology := range topologies {
		t.Run(topology.name, func(t *testing.T) {
			d, broken := topology.start(t), false
			storagetest.Run(t, func(sub *testing.T) storagetest.Fixture {
				if broken {
					d, broken = topology.start(t), false
				}
				d.Flush()
				s, clock := open(sub, d.URL())
				clock.Advance(slowTest)
				return storagetest.Fixture{
					Store: s, Now: clock.Now, Advance: clock.Advance,
					Residue: func() int { return residue(sub, s) },
					Break: func() {
						broken = true
						d.Kill()
					},
				}
			})
		})
	}
}

// residue counts what the contract calls residue. First it deletes the keys
// that Redis would have dropped by the clock of the test.
func residue(t *testing.T, s *Store) int {
	t.Helper()
	left := 0
	keys := func(do func(ctx context.Context, node *redis.Client, key string) error) {
		err := s.eachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
			for _, key := range node.Keys(ctx, "*").Val() {
				if err := do(ctx, node, key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	keys(func(ctx context.Context, node *redis.Client, key string) error {
		at := node.PExpireTime(ctx, key).Val()
		if at > 0 && at <= time.Duration(s.now().UnixMilli())*time.Millisecond {
			return node.Del(ctx, key).Err()
		}
		return nil
	})
	if _, err := s.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	keys(func(ctx context.Context, node *redis.Client, key string) error {
		mu.Lock()
		defer mu.Unlock()
		ofGrants := strings.HasPrefix(key, tagPrefix) && !strings.HasPrefix(key, auditKey) && key[kindAt] != kindFloors
		if ofGrants || strings.HasPrefix(key, guessPrefix) {
			left++
		}
		return nil
	})
	return left
}
