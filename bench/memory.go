package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-oauth2/oauth2/v4"
	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
	"github.com/grantd/grantd/storage/redisstore"
)

// memory is how many bytes of Redis one live grant with a refresh token takes.
type memory struct {
	grants int // the number of grants that were measured; 0: nothing was
	rows   []memoryRow
}

type memoryRow struct {
	server  string
	alone   int64 // without indexes
	indexed int64 // with the indexes by user and by client; 0: the server has none
}

// The user agents of the grants: one of a program, and one of a browser, cut to
// storage.MaxUserAgent bytes.
const (
	shortAgent = "Go-http-client/1.1"
	longAgent  = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/"
)

// measureMemory fills its own Redis through the calls of the store. Each grant has its
// own user: then the indexes take the most memory.
func measureMemory(ctx context.Context, n int) (memory, error) {
	f, err := newFleet("redis-server")
	defer f.close()
	if err != nil {
		return memory{}, err
	}
	redis, err := f.startRedis(ctx, "Redis", "--enable-debug-command", "yes")
	if err != nil {
		return memory{}, err
	}
	m := memory{grants: n}
	for _, s := range []struct {
		name string
		fill func(context.Context, *server, int) error
	}{
		{"grantd", fillNative(shortAgent)},
		{"grantd, browsers", fillNative(longAgent)},
		{stockOwn, fillStock},
	} {
		row := memoryRow{server: s.name}
		if row.alone, row.indexed, err = redis.bytesEach(ctx, n, s.fill); err != nil {
			return m, fmt.Errorf("%s: %w", s.name, err)
		}
		m.rows = append(m.rows, row)
	}
	return m, nil
}

// bytesEach fills the Redis server and returns how many bytes each of the n grants
// takes, without and with grantd's indexes. It counts all that Redis allocated, hash
// tables included. RELOAD makes these anew, in the size for so many keys.
func (s *server) bytesEach(ctx context.Context, n int, fill func(context.Context, *server, int) error) (alone, indexed int64, err error) {
	if err := s.do(ctx, "FLUSHALL", "SYNC").Err(); err != nil {
		return 0, 0, err
	}
	empty, err := s.used(ctx)
	if err == nil {
		err = fill(ctx, s, n)
	}
	if err != nil {
		return 0, 0, err
	}
	full, err := s.reloaded(ctx)
	if err != nil {
		return 0, 0, err
	}
	dropped, err := s.dropIndexes(ctx)
	if err != nil {
		return 0, 0, err
	}
	left, err := s.reloaded(ctx)
	if dropped > 0 {
		indexed = (full - empty) / int64(n)
	}
	return (left - empty) / int64(n), indexed, err
}

// reloaded makes Redis read all its data anew, and then returns used.
func (s *server) reloaded(ctx context.Context) (int64, error) {
	c := redis.NewClient(&redis.Options{Addr: s.addr, ReadTimeout: time.Minute})
	defer c.Close()
	if err := c.Do(ctx, "DEBUG", "RELOAD").Err(); err != nil {
		return 0, err
	}
	return s.used(ctx)
}

// dropIndexes deletes grantd's indexes and returns how many keys that were.
func (s *server) dropIndexes(ctx context.Context) (int, error) {
	c := redis.NewClient(&redis.Options{Addr: s.addr})
	defer c.Close()
	dropped := 0
	for cursor, more := uint64(0), true; more; more = cursor != 0 {
		keys, next, err := c.Scan(ctx, cursor, "grantd:{??}[uc]*", 1000).Result()
		if err != nil {
			return dropped, err
		}
		if cursor = next; len(keys) == 0 {
			continue
		}
		if err := c.Del(ctx, keys...).Err(); err != nil {
			return dropped, err
		}
		dropped += len(keys)
	}
	return dropped, nil
}

func fillNative(userAgent string) func(context.Context, *server, int) error {
	return func(ctx context.Context, s *server, n int) error {
		store, err := redisstore.Open("redis://" + s.addr + "/0")
		if err != nil {
			return err
		}
		defer store.Close()
		keys, err := opaque.NewKeyring(opaque.Key{ID: 1})
		if err != nil {
			return err
		}
		f := filler{store, keys, aClient, userAgent}
		return each(n, func(int) error {
			_, err := f.signIn(ctx, account{storage.NewUserID(), "alice"}, 1)
			return err
		})
	}
}

func fillStock(ctx context.Context, s *server, n int) error {
	manager, err := stockManager("redis://" + s.addr)
	if err != nil {
		return err
	}
	return each(n, func(int) error {
		_, err := manager.GenerateAccessToken(ctx, oauth2.PasswordCredentials, &oauth2.TokenGenerateRequest{
			ClientID: "demo", ClientSecret: "demo-secret", UserID: storage.NewUserID(), Scope: "read",
		})
		return err
	})
}

// text returns a table.
func (m memory) text() string {
	if m.grants == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Bytes of Redis a live grant with an access and a refresh token, of %d grants of as many users:\n\n", m.grants)
	fmt.Fprintln(&b, "| | without indexes | with the indexes by user and by client |")
	fmt.Fprintln(&b, "|---|--:|--:|")
	for _, r := range m.rows {
		indexed := "has none"
		if r.indexed > 0 {
			indexed = fmt.Sprint(r.indexed)
		}
		fmt.Fprintf(&b, "| %s | %d | %s |\n", r.server, r.alone, indexed)
	}
	return b.String() + "\n"
}

// alone returns how many bytes a grant takes on the server without indexes, 0 if that
// wasn't measured.
func (m memory) alone(server string) int64 {
	for _, r := range m.rows {
		if r.server == server {
			return r.alone
		}
	}
	return 0
}
