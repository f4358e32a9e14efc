package redisstore

import (
	"context"
	"crypto/rand"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/storagetest"
)

// open opens a store on the URL that is closed with the test.
func open(t testing.TB, url string) (*Store, *storagetest.Clock) {
	t.Helper()
	c := storagetest.NewClock()
	s, err := Open(url, WithClock(c.Now))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, c
}

func digest() (d storage.Digest) {
	rand.Read(d[:])
	return d
}

// newGrant returns a grant of the password grant for alice at a usual client,
// with that lifetime.
func newGrant(now time.Time, userID string, lifetime time.Duration) storage.Grant {
	now = now.UTC().Truncate(time.Millisecond)
	return storage.Grant{
		ID: storage.NewGrantID(userID), Type: storage.Password,
		UserID: userID, Username: "alice", ClientID: "demo",
		Scope: "read", AccessScope: "read", Generation: 1,
		Access: digest(), Refresh: digest(),
		Created: now, Issued: now,
		AccessExpiry: now.Add(min(time.Hour, lifetime)), RefreshExpiry: now.Add(lifetime), End: now.Add(lifetime),
		Address: netip.MustParseAddr("192.0.2.1"), UserAgent: "Go-http-client/1.1",
	}
}

func next(g storage.Grant) storage.Grant {
	g.Generation++
	g.Access, g.Refresh = digest(), digest()
	return g
}

func retry(g storage.Grant) storage.Retry {
	return storage.Retry{Generation: g.Generation, Refresh: digest(), Until: g.Issued.Add(10 * time.Second), KeyID: 1}
}

// userID returns an id as the server makes it: 128 random bits in base64url.
func userID() string { return storage.NewGrantID("").String() }

func mustCreate(t testing.TB, s *Store, g storage.Grant) storage.Grant {
	t.Helper()
	epoch, err := s.Epoch(t.Context(), g.ID)
	if err != nil {
		t.Fatal(err)
	}
	g.Epoch = epoch
	if err := s.CreateGrant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	return g
}

// trips is a hook that counts round trips: commands and pipelines.
type trips struct{ n atomic.Int64 }

func (c *trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmd)
	}
}

func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmds)
	}
}

// info returns a number of the output of INFO.
func info(t testing.TB, c *redis.Client, section, field string) int {
	t.Helper()
	text, err := c.Info(t.Context(), section).Result()
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(text, "\n"+field+":")
	value, _, _ := strings.Cut(after, "\r\n")
	n, err := strconv.Atoi(value)
	if err != nil {
		t.Fatalf("INFO %s has no number %s", section, field)
	}
	return n
}

// keysButFloors returns the keys that should be gone once no grant lives.
func keysButFloors(t testing.TB, c *redis.Client) []string {
	t.Helper()
	keys, err := c.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(keys, func(k string) bool { return len(k) == idAt && k[kindAt] == kindFloors })
}
