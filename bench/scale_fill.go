package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/redisstore"
)

// How a store is filled: mostly with users who have ten grants each.
const (
	perUser    = 10
	maxRevoked = 300 // users with ten, who may be revoked
	listUsers  = 10
	listGrants = 200 // of each of them
	sampled    = 200 // users whose tokens are used to read, and as many whose grants are refreshed

	// smallest has room for all of them.
	smallest = listUsers*listGrants + perUser*(maxRevoked+2*sampled)

	bytesAtMost = 700     // of memory for a grant in Redis
	spareBytes  = 1 << 30 // for everything else
)

// stage is a store of some size and a grantd on it.
type stage struct {
	kind, name string
	grants     int

	server *server
	redis  *server // nil: SQLite
	file   string  // of SQLite
	store  storage.Store
	fill   filler
	calls  caller
	empty  int64

	admin    string   // token
	access   []string // tokens
	refresh  []string // tokens; each is replaced by its successor
	turn     int      // counts calls, so that they use one after the other
	revoked  int      // users so far
	filled   time.Duration
	bytes    int64 // a grant
	resident int64 // bytes of the process that has the grants

	took  map[string][][]time.Duration // of the calls of each operation, by round
	spent map[string]time.Duration     // of Redis's processor time, by operation
	swept string
}

func (s *scale) startOnRedis(ctx context.Context, st *stage) (err error) {
	if st.redis, err = s.fleet.startRedis(ctx, st.name+" store"); err != nil {
		return err
	}
	url := "redis://" + st.redis.addr + "/0"
	if err := s.startGrantd(ctx, st, url); err != nil {
		return err
	}
	st.server.stores = []*server{st.redis}
	if st.empty, err = st.redis.used(ctx); err != nil {
		return err
	}
	store, err := redisstore.Open(url)
	if err != nil {
		return err
	}
	return st.open(ctx, store)
}

func (s *scale) startOnFile(ctx context.Context, st *stage) error {
	if err := s.startGrantd(ctx, st, ""); err != nil {
		return err
	}
	st.file = filepath.Join(st.server.dir, ".grantd", "grantd.db")
	store, err := embedded.Open(st.file)
	if err != nil {
		return err
	}
	return st.open(ctx, store)
}

// startGrantd waits until it has made its key.
func (s *scale) startGrantd(ctx context.Context, st *stage, url string) (err error) {
	st.server, err = s.fleet.start(ctx, st.name, func(addr string) []string { return append(grantdArgs(s.o.grantd, url), addr) })
	if err != nil {
		return err
	}
	st.calls.addr = st.server.addr
	_, err = st.server.admin(ctx)
	return err
}

// open lets grants with good tokens be put into the store.
func (st *stage) open(ctx context.Context, store storage.Store) error {
	keys, err := keysOf(ctx, st.server, store)
	st.store, st.fill = store, filler{store, keys, aClient, shortAgent}
	return err
}

func revokedUser(i int) account {
	return account{fmt.Sprintf("usr_revoked-%014d", i), fmt.Sprintf("revoked-%d", i)}
}

func listedUser(i int) account {
	return account{fmt.Sprintf("usr_listed-%015d", i), fmt.Sprintf("listed-%d", i)}
}

// load fills the store through its own calls, many at once: in Redis each grant is a
// run of the script that a sign-in is.
func (st *stage) load(ctx context.Context) error {
	for i := range maxRevoked {
		if err := st.known(ctx, revokedUser(i), perUser); err != nil {
			return err
		}
	}
	for i := range listUsers {
		if err := st.known(ctx, listedUser(i), listGrants); err != nil {
			return err
		}
	}
	others := (st.grants - maxRevoked*perUser - listUsers*listGrants) / perUser
	apart := others / sampled
	var mu sync.Mutex
	return each(others, func(i int) error {
		held, err := st.fill.signIn(ctx, account{storage.NewUserID(), fmt.Sprintf("user-%d", i)}, perUser)
		if err != nil || i%apart > 1 {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, p := range held {
			if i%apart == 0 {
				st.access = append(st.access, p.Access)
			} else {
				st.refresh = append(st.refresh, p.Refresh)
			}
		}
		return nil
	})
}

// known makes a user with grants.
func (st *stage) known(ctx context.Context, a account, n int) error {
	if err := st.fill.create(ctx, a); err != nil {
		return err
	}
	_, err := st.fill.signIn(ctx, a, n)
	return err
}

// size is how many bytes a grant takes with its indexes: of what Redis allocated, or of
// the file.
func (st *stage) size(ctx context.Context) (int64, error) {
	if st.redis != nil {
		st.resident = st.redis.resident()
		used, err := st.redis.used(ctx)
		return (used - st.empty) / int64(st.grants), err
	}
	st.resident = st.server.resident()
	info, err := os.Stat(st.file)
	if err != nil {
		return 0, err
	}
	return info.Size() / int64(st.grants), nil
}
