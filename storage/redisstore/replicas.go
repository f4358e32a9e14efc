package redisstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// waitTimeout is how long a confirmed call waits for replicas. Replicas that
// keep up confirm within a millisecond, and a client can repeat its request.
const waitTimeout = 200 * time.Millisecond

var errUnconfirmed = errors.New("redisstore: done, but too few replicas confirmed it in time")

// WithReplicas makes calls that a failover must not undo wait until n replicas
// have the change, and every change before it: SwapGrant, LoadRetry,
// DeleteGrant, Revoke, updates and deletions of users and clients, and
// DeleteKey. If fewer replicas confirm within 200 ms, the call returns
// storage.ErrUnavailable: the change is made, and lasts unless there is a
// failover. SwapGrant also waits before it swaps, and does nothing while
// replicas are missing. A repeated call waits again, even if there is nothing
// left to change. In a Cluster n is for each master. Defaults to 0: no call
// waits, at no cost.
//
// This is only as strong as WAIT of Redis, which is no consensus. A failover to
// a replica that didn't confirm loses the change all the same: if there are
// more than n replicas, only n of them are sure to have it. A master that lost
// its replicas answers reads until it hears that another master was chosen;
// min-replicas-to-write 1 with a short min-replicas-max-lag makes it refuse
// writes. A replica confirms what it has in memory: if all servers stop at
// once, only an append-only file keeps it.
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

// confirm waits until replicas, which have to be there now, have every change made so far
// on the key's node.
func (s *Store) confirm(ctx context.Context, key string) error {
	if s.replicas == 0 {
		return nil
	}
	return unavailable(ctx, s.client.Exists(s.confirmed(ctx), key).Err())
}

// processConfirmed sends the command as a pipeline, to which sendConfirmed adds what
// waits.
func (c *circuit) processConfirmed(ctx context.Context, cmd redis.Cmder) error {
	p := c.client.Pipeline()
	_ = p.Process(ctx, cmd) // only queues
	if _, err := p.Exec(ctx); err != nil && cmd.Err() == nil {
		return err
	}
	return cmd.Err()
}

// sendConfirmed sends the commands, a change of its own, and then WAIT, on the same
// connection. If too few replicas confirm in time, it sets an error on all the commands. So
// it does if the key of a command has moved to another node, while its slot is still moving:
// until that is done, a failover of this node could bring the key back.
//
// WAIT covers every change of the master up to the last one that this connection made;
// before Redis 7.2, up to its last command. So the change makes it cover what other
// connections changed too, and a repeated call that finds nothing to do is confirmed like
// the first. It also proves that the replicas are there now: what they confirmed before
// they went away isn't enough.
func (c *circuit) sendConfirmed(ctx context.Context, cmds []redis.Cmder, send func(context.Context, []redis.Cmder) error) error {
	// So that the commands of go-redis itself on a new connection aren't
	// confirmed.
	ctx = context.WithValue(ctx, confirmed{}, nil)
	if err := c.enterWait(ctx); err != nil {
		for _, cmd := range cmds {
			cmd.SetErr(err)
		}
		return err
	}
	defer func() { <-c.waits }()
	touch := redis.NewCmd(ctx, "EVAL", touchText, 0, c.touched.Load())
	wait := redis.NewIntCmd(ctx, "WAIT", c.replicas, waitTimeout.Milliseconds())
	all := append(slices.Clone(cmds), touch, wait)
	err := fail(all, send(ctx, all))
	at, untouched := touch.Int64()
	if untouched == nil {
		c.touched.Store(at)
	}
	if n, failed := wait.Result(); failed == nil && n >= int64(c.replicas) && untouched == nil {
		return err
	}
	cause := errUnconfirmed
	if !answered(err) {
		cause = err
	}
	for _, cmd := range cmds {
		if cmd.Err() == nil || isNil(cmd.Err()) || redis.HasErrorPrefix(cmd.Err(), "ASK") {
			cmd.SetErr(cause)
		}
	}
	return cause
}

// enterWait returns once a confirmed call may use a connection to wait on. It
// waits no longer than waitTimeout.
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
