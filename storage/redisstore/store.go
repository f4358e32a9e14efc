package redisstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
)

// Store is a storage.Store on Redis. It is safe for concurrent use.
type Store struct {
	client   redis.UniversalClient
	shared   *sharing      // client, for what concurrent calls may share
	tripped  *atomic.Int32 // circuits that are open
	replicas int           // see WithReplicas
	now      func() time.Time

	users   directory[storage.User]
	clients directory[storage.Client]

	receipts directory[storage.Receipt]

	// epochs holds the latest known epoch of each partition plus one; zero
	// while it isn't known.
	epochs [storage.Partitions]atomic.Uint64
}

var _ storage.Store = (*Store)(nil)

// Option changes how a Store works.
type Option func(*Store)

// WithClock replaces the system's clock, by which the store tells what has
// expired.
func WithClock(now func() time.Time) Option {
	return func(s *Store) { s.now = now }
}

// Open returns a store on the Redis that the URL names:
//
//	redis://[user:password@]host[:port][/database]
//	unix://[user:password@]/path/to/socket[?db=0]
//	redis+sentinel://[user:password@]host[:port][,…]/master[?db=0&sentinel_username=…&sentinel_password=…]
//	redis+cluster://[user:password@]host[:port][,…]
//
// With rediss instead of redis the connections use TLS. User, password and
// parameters are percent-encoded. An error names the fault of the URL and never
// quotes it.
//
// Open doesn't connect: without a Redis, calls fail with storage.ErrUnavailable
// until there is one. A call that isn't answered fails within a second, even if
// its context has no deadline. Further calls fail at once until Redis answers
// again: see circuit.go.
//
// Open silences go-redis's logger for the whole process.
func Open(url string, opts ...Option) (*Store, error) {
	s := &Store{now: time.Now}
	for _, opt := range opts {
		opt(s)
	}
	var err error
	if s.client, s.tripped, err = newClient(url, s.replicas); err != nil {
		return nil, err
	}
	s.shared = newSharing(s.client, s.tripped, s.replicas)
	s.users = directory[storage.User]{client: s.shared, prefix: "grantd:user:", index: "grantd:users", read: storage.DecodeRecord[storage.User]}
	s.clients = directory[storage.Client]{client: s.shared, prefix: "grantd:client:", index: "grantd:clients", read: new(storage.ClientDecoder).Decode}
	s.receipts = directory[storage.Receipt]{client: s.shared, prefix: "grantd:receipt:", index: "grantd:receipts", read: storage.DecodeRecord[storage.Receipt]}
	return s, nil
}

// Ping returns nil when Redis can answer. It looks for the deployment keys
// instead of sending PING. Any node of a Cluster answers PING, even when others
// are down, and PING needs no right to read.
func (s *Store) Ping(ctx context.Context) error {
	return unavailable(ctx, s.client.Exists(ctx, keysKey).Err())
}

// Close closes the connections.
func (s *Store) Close() error { return s.client.Close() }

// unavailable wraps every fault of Redis or of the way to it. If the caller
// gave up, it wraps the context's error too. The texts hold no key and no
// value: neither Redis nor go-redis repeats them.
func unavailable(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if gone := ctx.Err(); gone != nil {
		return fmt.Errorf("%w: %w: %w", storage.ErrUnavailable, gone, err)
	}
	return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
}

// Answered reports whether err, of this store or of a client from NewClient,
// comes from Redis or from its answer. Then Redis can be reached.
func Answered(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer) || errors.Is(err, errUnconfirmed) || errors.Is(err, storage.ErrUnreadable)
}
