package faults

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// ofGrants is the pattern of all keys that grants leave: the grants themselves,
// their retry windows and their indexes.
const ofGrants = "grantd:{??}[gruc]*"

// keysOf returns a function that lists the keys of grants on all the servers.
// There should be none when all grants have ended.
func keysOf(servers ...*redistest.Server) func(context.Context) ([]string, error) {
	return func(ctx context.Context) (all []string, err error) {
		for _, s := range servers {
			keys, err := keysLike(ctx, s.Client(), ofGrants)
			if err != nil {
				return nil, err
			}
			all = append(all, keys...)
		}
		return all, nil
	}
}

func keysLike(ctx context.Context, c *redis.Client, pattern string) ([]string, error) {
	return c.Keys(ctx, pattern).Result()
}

// durable starts a Redis that has everything on disk before it answers.
func durable(t *testing.T) *redistest.Server {
	t.Helper()
	return redistest.Single(t, "--appendonly", "yes", "--appendfsync", "always")
}

func TestRedisIsKilledAndComesBackWithItsAppendOnlyFile(t *testing.T) {
	s := size(t)
	server := durable(t)
	l := newLoad(t, "Redis killed, restarted with its append-only file", s, deploy(t, storeConfig{redis: server.URL()}, s.clients, 2))
	l.start()
	l.calm()
	l.during(func() {
		server.Kill()
		time.Sleep(s.fault / 2)
		server.Restart()
	})
	l.awaitService()
	l.calm()
	l.finish(keysOf(server))
}

func TestRedisIsStopped(t *testing.T) {
	s := size(t)
	server := redistest.Single(t)
	l := newLoad(t, "Redis stopped for "+s.stopped.String(), s, deploy(t, storeConfig{redis: server.URL()}, s.clients, 2))
	l.start()
	l.calm()
	l.during(func() {
		server.Stop()
		time.Sleep(s.stopped)
		server.Cont()
	})
	l.awaitService()
	l.calm()
	l.finish(keysOf(server))
}

func TestRedisIsFull(t *testing.T) {
	s := size(t)
	server := redistest.Single(t, "--maxmemory-policy", "noeviction")
	l := newLoad(t, "Redis full, noeviction", s, deploy(t, storeConfig{redis: server.URL()}, s.clients+idle, 2))
	l.start()
	l.calm()
	limit := func(bytes string) {
		if err := server.Client().ConfigSet(t.Context(), "maxmemory", bytes).Err(); err != nil {
			t.Error(err)
		}
	}
	limit("1")
	l.during(func() {
		l.endIdle() // so that there is certainly a revocation and a sign-in
		time.Sleep(s.fault)
	})
	limit("0")
	if n := l.count(unavailable, usersMe, introspect, revoke); n > 0 {
		t.Errorf("%d looks and revocations were answered 503: they need no memory", n)
	}
	if n := l.count(granted, signIn, refresh); n > 0 {
		t.Errorf("%d pairs were issued while Redis was full", n)
	}
	for _, kind := range []string{usersMe, introspect, revoke} {
		if l.count(granted, kind) == 0 {
			t.Errorf("no %s was answered while Redis was full", kind)
		}
	}
	for _, kind := range []string{signIn, refresh} {
		if l.count(unavailable, kind) == 0 {
			t.Errorf("no %s was answered 503 while Redis was full", kind)
		}
	}
	l.awaitService()
	l.calm()
	l.finish(keysOf(server))
}

func TestRedisIsSlow(t *testing.T) {
	for _, delay := range []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second} {
		t.Run(delay.String(), func(t *testing.T) {
			s := size(t)
			server := redistest.Single(t)
			proxy := redistest.Slow(t, server)
			l := newLoad(t, "Redis "+delay.String()+" late", s, deploy(t, storeConfig{redis: proxy.URL()}, s.clients, 2))
			l.start()
			l.calm()
			l.during(func() {
				proxy.Delay(delay)
				time.Sleep(s.fault)
			})
			proxy.Delay(0)
			if delay < time.Second && l.count(granted, usersMe) == 0 {
				t.Error("no /users/me was answered, though one call is no long wait")
			}
			l.awaitService()
			l.calm()
			l.finish(keysOf(server))
		})
	}
}
