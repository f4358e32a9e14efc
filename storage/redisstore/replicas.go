package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// waitTimeout is how long a confirmed call waits for replicas: they confirm within
// a millisecond when they follow, and a client can repeat its request.
const waitTimeout = 200 * time.Millisecond

var errUnconfirmed = errors.New("redisstore: done, but too few replicas confirmed it in time")

// WithReplicas makes calls that must not be undone by a failover wait until n
// replicas have what Redis did, and everything that it did before: SwapGrant,
// LoadRetry, DeleteGrant, Revoke, updates and deletions of users and clients, and
// DeleteKey. When fewer confirm it within 200 ms they return
// storage.ErrUnavailable: it is done, and lasts unless there is a failover. SwapGrant
// waits before it swaps as well, and does nothing while replicas are missing.
// Repeating the call repeats the waiting, also when there is nothing left to do.
// In a Cluster n is for each master. Defaults to 0: nothing is waited for, and
// costs nothing.
//
// That is as good as WAIT of Redis is, which makes no consensus of it. A failover
// to a replica that is not among those that confirmed loses the call all the same:
// with more replicas than n, n is how many of them may be chosen for certain. A
// master that lost its replicas, and doesn't know yet that another was chosen,
// answers reads until it hears of it. min-replicas-to-write 1 with a short
// min-replicas-max-lag has such a one take no writes. What a replica confirmed it
// has in memory: only an append-only file outlives all of them stopping at once.
func WithReplicas(n int) Option {
	return func(s *Store) { s.replicas = n }
}

type confirmed struct{}

// confirmed marks the context of calls that wait for replicas.
func (s *Store) confirmed(ctx context.Context) context.Context {
	if s.replicas == 0 {
		return ctx
	}
	return context.WithValue(ctx, confirmed{}, true)
}

func confirming(ctx context.Context) bool { return ctx.Value(confirmed{}) != nil }

// confirm waits for replicas to have everything that was done on the key's node.
func (s *Store) confirm(ctx context.Context, key string) error {
	if s.replicas == 0 {
		return nil
	}
	return unavailable(ctx, s.client.Exists(s.confirmed(ctx), key).Err())
}

// processConfirmed sends the command as a pipeline, which sendConfirmed adds to.
func (c *circuit) processConfirmed(ctx context.Context, cmd redis.Cmder) error {
	p := c.client.Pipeline()
	_ = p.Process(ctx, cmd) // only queues
	if _, err := p.Exec(ctx); err != nil && cmd.Err() == nil {
		return err
	}
	return cmd.Err()
}

// sendConfirmed sends the commands and WAIT after them on the same connection, and
// gives an error to all of them when too few replicas confirm in time. WAIT is for
// all that the master did until then, also for other connections: so a call that
// finds nothing to do, because it is repeated, is confirmed like the first.
func (c *circuit) sendConfirmed(ctx context.Context, cmds []redis.Cmder, send func(context.Context, []redis.Cmder) error) error {
	// Not what go-redis sends by itself on a new connection.
	ctx = context.WithValue(ctx, confirmed{}, nil)
	if err := c.enterWait(ctx); err != nil {
		for _, cmd := range cmds {
			cmd.SetErr(err)
		}
		return err
	}
	defer func() { <-c.waits }()
	wait := redis.NewIntCmd(ctx, "WAIT", c.replicas, waitTimeout.Milliseconds())
	all := append(append(make([]redis.Cmder, 0, len(cmds)+1), cmds...), wait)
	err := fail(all, send(ctx, all))
	if n, failed := wait.Result(); failed == nil && n >= int64(c.replicas) {
		return err
	}
	cause := errUnconfirmed
	if !answered(err) {
		cause = err
	}
	for _, cmd := range cmds {
		if cmd.Err() == nil || isNil(cmd.Err()) {
			cmd.SetErr(cause)
		}
	}
	return cause
}

// enterWait returns once there is a connection for a confirmed call to wait on. It
// waits no longer for one than replicas have to confirm.
func (c *circuit) enterWait(ctx context.Context) error {
	select {
	case c.waits <- struct{}{}:
		return nil
	default:
	}
	late := time.NewTimer(waitTimeout)
	defer late.Stop()
	select {
	case c.waits <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return errCrowded
	}
}
