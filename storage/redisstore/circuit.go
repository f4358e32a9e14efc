package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// callTimeout bounds one round trip with all its retries, so that a caller
	// without a deadline has an answer within a second when Redis stalls, also on
	// a machine that is busy.
	callTimeout = 700 * time.Millisecond

	// ioTimeout leaves room for one retry inside callTimeout. Where replicas are waited
	// for answers may take longer: see newClient.
	ioTimeout = 400 * time.Millisecond

	// probeEvery is the pause before Redis is asked again whether it answers.
	probeEvery = 100 * time.Millisecond

	// maxFlying bounds the commands and pipelines to one server that are under
	// way or wait for a connection, with what greets it on a new one; one more
	// fails at once.
	maxFlying = 1024

	// maxBroken is how many calls in a row may end with a connection that broke
	// before the server counts as gone: those of before its restart all do, once.
	maxBroken = 8
)

var errOpen = errors.New("redisstore: Redis didn't answer lately, and isn't asked until it does")

// circuit is a hook around all commands to one Redis server: of a Cluster every
// node has its own, so that one that is gone doesn't take the others along. It
// gives each call a deadline, bounds how many there are at once, and, when the
// server doesn't answer, has them fail without asking: else every request would
// wait in vain for as long as a call may take, once for each of its calls.
//
// The circuit opens when a call failed for want of an answer and no other call was
// answered since it began. What a server answers, an error too, is an answer; that
// a caller gave up says nothing. A goroutine then sends PING, one at a time, until
// that is answered. Callers are no probes: their calls would wait in vain.
//
// Where all is well a call costs it three atomic operations, which the commands
// of a batch share.
type circuit struct {
	client   *redis.Client
	replicas int           // that confirmed calls wait for
	tripped  *atomic.Int32 // how many circuits are open, with those to other servers
	reroute  func()        // looks anew which servers there are
	waits    chan struct{} // holds one for each confirmed call under way

	open    atomic.Bool
	refusal atomic.Pointer[error] // errOpen, with why it opened
	answers atomic.Uint64         // counts
	broken  atomic.Int32          // calls in a row
	flying  atomic.Int32
}

// newCircuit is that of the client. Confirmed calls get half of its connections:
// while replicas are missing each holds one for as long as it waits, and the rest
// is for those that wait for nobody.
func newCircuit(client *redis.Client, replicas int, tripped *atomic.Int32, reroute func()) *circuit {
	return &circuit{
		client: client, replicas: replicas, tripped: tripped, reroute: reroute,
		waits: make(chan struct{}, max(1, client.Options().PoolSize/2)),
	}
}

// probing marks the context of the call that tries an open circuit.
type probing struct{}

// flight marks the context of a pipeline of many callers: its deadline is that of the
// one who waited longest, and no caller's leaving.
type flight struct{}

// DialHook implements redis.Hook.
func (c *circuit) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (c *circuit) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if c.replicas > 0 && confirming(ctx) {
			return c.processConfirmed(ctx, cmd)
		}
		return c.call(ctx, func(ctx context.Context) error { return next(ctx, cmd) })
	}
}

// ProcessPipelineHook implements redis.Hook.
func (c *circuit) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		send := func(ctx context.Context, cmds []redis.Cmder) error {
			return c.call(ctx, func(ctx context.Context) error { return next(ctx, cmds) })
		}
		if c.replicas > 0 && confirming(ctx) {
			return c.sendConfirmed(ctx, cmds, send)
		}
		return fail(cmds, send(ctx, cmds))
	}
}

// fail gives an error that kept the commands from being sent to each of them.
func fail(cmds []redis.Cmder, err error) error {
	if errors.Is(err, errOpen) || errors.Is(err, errCrowded) {
		for _, cmd := range cmds {
			cmd.SetErr(err)
		}
	}
	return err
}

// call makes a call, unless that is of no use now.
func (c *circuit) call(ctx context.Context, do func(context.Context) error) error {
	if c.open.Load() && ctx.Value(probing{}) == nil {
		return *c.refusal.Load()
	}
	defer c.flying.Add(-1)
	if c.flying.Add(1) > maxFlying {
		return errCrowded
	}
	seen, began := c.answers.Load(), time.Now()
	bound, cancel := within(ctx, began.Add(callTimeout))
	defer cancel()
	err := do(bound)
	switch {
	case answered(err):
		c.answers.Add(1)
		if c.broken.Load() > 0 {
			c.broken.Store(0)
		}
	case c.answers.Load() != seen: // others are answered
	case gaveUp(ctx) && time.Since(began) < c.patience(ctx): // the server had no time to answer
	case !errors.Is(err, redis.ErrClosed) && (silent(err) || c.broken.Add(1) >= maxBroken):
		c.trip(err)
	}
	return err
}

// patience is how long a call has to have waited when its caller gives up, for the server
// to be at fault. A flight leaves with twice that left, unless this process stood still.
func (c *circuit) patience(ctx context.Context) time.Duration {
	if ctx.Value(flight{}) != nil {
		return callTimeout / 4
	}
	return c.client.Options().ReadTimeout
}

// gaveUp reports whether the caller waits no longer. Its deadline is one of the
// connection as well, which may notice a moment before the context does.
func gaveUp(ctx context.Context) bool {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return true
	}
	return ctx.Err() != nil
}

// within is a context that ends at the deadline at the latest.
func within(ctx context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	if d, ok := ctx.Deadline(); ok && !d.After(deadline) {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, deadline)
}

// answered reports whether the error is one that Redis answered, or none.
func answered(err error) bool {
	var answer redis.Error
	return err == nil || errors.As(err, &answer)
}

// silent reports whether the error is that nothing came back in time, or that
// nobody listens, rather than that a connection broke.
func silent(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" || errors.Is(err, redis.ErrPoolTimeout) {
		return true
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout() // context.DeadlineExceeded is one
}

// trip opens the circuit because of the error, until the server answers. The error
// is told as a text: what wraps it would be taken for a call that was made.
func (c *circuit) trip(err error) {
	refusal := fmt.Errorf("%w: %s", errOpen, err.Error())
	c.refusal.Store(&refusal)
	if c.open.CompareAndSwap(false, true) {
		c.tripped.Add(1)
		go c.probe()
	}
}

// probe ends when the server answers or the client is closed.
func (c *circuit) probe() {
	for {
		time.Sleep(probeEvery)
		ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), probing{}, true), ioTimeout)
		err := c.client.Ping(ctx).Err()
		cancel()
		if answered(err) || errors.Is(err, redis.ErrClosed) {
			c.open.Store(false)
			c.tripped.Add(-1)
			return
		}
		c.reroute()
	}
}

// bounded gives every command and every pipeline of a Cluster, which may take
// several calls, a deadline of callTimeout.
func bounded(ctx context.Context) (context.Context, func()) {
	return within(ctx, time.Now().Add(callTimeout))
}
