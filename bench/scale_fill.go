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

// The content of a store: mostly users with ten grants each.
const (
	perUser    = 10
	maxRevoked = 300 // users with ten grants, who may be revoked
	listUsers  = 10  // users whose grants are listed
	listGrants = 200 // grants of each of the listUsers
	sampled    = 200 // users whose access tokens are used, and as many whose refresh tokens are

	// smallest is the smallest size that has room for all these users.
	smallest = listUsers*listGrants + perUser*(maxRevoked+2*sampled)

	bytesAtMost = 700     // bytes of memory for a grant in Redis
	spareBytes  = 1 << 30 // bytes of memory for everything else
)

// stage is a store of some size and a grantd on it.
type stage struct {
	kind, name string
	grants     int

	server *server
	redis  *server // nil with SQLite
	file   string  // path of the SQLite file
	store  storage.Store
	fill   filler
	calls  caller
	empty  int64

	admin    string   // the admin's access token
	access   []string // access tokens
	refresh  []string // refresh tokens; each is replaced by its successor
	turn     int      // counts calls, so that they use the tokens in turn
	revoked  int      // users revoked so far
	filled   time.Duration
	bytes    int64 // bytes of a grant
	resident int64 // bytes of memory of the process that has the grants

	took  map[string][][]time.Duration // the times of all calls, by operation and round
	spent map[string]time.Duration     // Redis's processor time for a call, summed over the rounds, by operation
	swept string                       // the result of the sweep, as a text
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

// startGrantd starts grantd and waits until it has made its key.
func (s *scale) startGrantd(ctx context.Context, st *stage, url string) (err error) {
	st.server, err = s.fleet.start(ctx, st.name, func(addr string) []string { return append(grantdArgs(s.o.grantd, url), addr) })
	if err != nil {
		return err
	}
	st.calls.addr = st.server.addr
	_, err = st.server.admin(ctx)
	return err
}

// open makes the stage's filler, which fills the store with grants.
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

// load fills the store through its own calls, many at once. In Redis, each grant is a
// run of the script that a sign-in runs too.
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

// known creates a user and n grants.
func (st *stage) known(ctx context.Context, a account, n int) error {
	if err := st.fill.create(ctx, a); err != nil {
		return err
	}
	_, err := st.fill.signIn(ctx, a, n)
	return err
}

// size returns how many bytes a grant takes with its indexes: of what Redis allocated,
// or of the file. It also sets st.resident.
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
