package redisstore

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/grantd/grantd/storage"
)

const (
	// callTimeout bounds one round trip with all its retries, so that a Redis
	// that stalls is noticed within a second by a caller without a deadline.
	callTimeout = 900 * time.Millisecond

	// ioTimeout leaves room for one retry inside callTimeout.
	ioTimeout = 500 * time.Millisecond

	maxRetries = 2 // after which a caller is better served by an error
)

// Store is a storage.Store on Redis. It is safe for concurrent use.
type Store struct {
	client  redis.UniversalClient
	shared  redis.UniversalClient // client, or a batcher where that is right
	now     func() time.Time
	users   directory[storage.User]
	clients directory[storage.Client]

	receipts directory[storage.Receipt]

	// epochs holds the latest known epoch of each partition plus one; zero
	// while none is known.
	epochs [storage.Partitions]atomic.Uint64
}

var _ storage.Store = (*Store)(nil)

// Option changes how a Store works.
type Option func(*Store)

// WithClock makes the store tell by that clock, rather than by the system's,
// what has expired.
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
// Open doesn't connect: an absent Redis makes calls fail with
// storage.ErrUnavailable until it is there. Every call fails within a second
// for each round trip that it needs, even if ctx has no deadline.
//
// Open silences go-redis's logger for the whole process.
func Open(_ context.Context, url string, opts ...Option) (*Store, error) {
	client, err := NewClient(url)
	if err != nil {
		return nil, err
	}
	s := &Store{
		client: client,
		now:    time.Now,
		shared: client,
	}
	if _, cluster := client.(*redis.ClusterClient); !cluster {
		s.shared = &batcher{UniversalClient: client}
	}
	s.users = directory[storage.User]{client: s.shared, prefix: "grantd:user:", index: "grantd:users"}
	s.clients = directory[storage.Client]{client: s.shared, prefix: "grantd:client:", index: "grantd:clients"}
	s.receipts = directory[storage.Receipt]{client: s.shared, prefix: "grantd:receipt:", index: "grantd:receipts"}
	for _, opt := range opts {
		opt(s)
	}
	return s, nil
}

// NewClient returns what a store talks to Redis with, for another package that
// has keys of its own there. All that Open says of URLs, deadlines and the logger
// holds.
func NewClient(url string) (redis.UniversalClient, error) {
	o, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	tune(o)
	// What it prints to standard error would mix with the log of the program,
	// and every fault is returned as an error besides.
	logging.Disable()
	client := redis.NewUniversalClient(o)
	client.AddHook(bounded{})
	return client, nil
}

// tune sets everything that the URL doesn't.
func tune(o *redis.UniversalOptions) {
	o.Protocol = 2 // nothing here needs RESP3, whose pushes cost a look before every reply
	o.ContextTimeoutEnabled = true
	o.DialTimeout = ioTimeout
	o.ReadTimeout = ioTimeout
	o.WriteTimeout = ioTimeout
	o.PoolTimeout = ioTimeout
	o.DialerRetries = 1 // the retries below dial again
	o.MaxRetries = maxRetries
	o.MinRetryBackoff = 5 * time.Millisecond
	o.MaxRetryBackoff = 50 * time.Millisecond
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// Ping returns nil when Redis can answer. It reads the deployment keys' place
// instead of sending PING, which any node of a Cluster answers even when others
// are down, and which needs no right to read.
func (s *Store) Ping(ctx context.Context) error {
	return unavailable(ctx, s.client.Exists(ctx, keysKey).Err())
}

// Close closes the connections.
func (s *Store) Close() error { return s.client.Close() }

// unavailable is how every fault of Redis or of the way to it is returned. A
// caller that gave up finds its context's error in it as well. The texts hold no
// key and no value: neither Redis nor go-redis repeats them.
func unavailable(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if gone := ctx.Err(); gone != nil {
		return fmt.Errorf("%w: %w: %w", storage.ErrUnavailable, gone, err)
	}
	return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
}

// bounded gives every command and every pipeline a deadline of callTimeout.
type bounded struct{}

func (bounded) DialHook(next redis.DialHook) redis.DialHook { return next }

func (bounded) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return next(ctx, cmd)
	}
}

func (bounded) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return next(ctx, cmds)
	}
}
