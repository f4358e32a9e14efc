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
	// callTimeout bounds one round trip with all its retries. When Redis stalls,
	// a caller without a deadline gets an answer within a second, even on a busy
	// machine.
	callTimeout = 700 * time.Millisecond

	// ioTimeout leaves room for one retry inside callTimeout. Calls that wait for
	// replicas may take longer: see newClient.
	ioTimeout = 400 * time.Millisecond

	// probeEvery is the pause between two probes of a silent Redis.
	probeEvery = 100 * time.Millisecond

	// maxFlying bounds the commands and pipelines to one server that are under
	// way or wait for a connection, including the greetings on new connections.
	// One more fails at once.
	maxFlying = 1024

	// maxBroken is how many calls in a row may fail because of a broken
	// connection before the server counts as gone. After a restart of the server,
	// each older connection breaks once.
	maxBroken = 8
)

var errOpen = errors.New("redisstore: Redis stopped answering, and gets no commands until it answers again")

// circuit is a hook around all commands to one Redis server. In a Cluster every
// node has its own circuit, so that a dead node doesn't affect the others. A
// circuit gives each call a deadline, and bounds how many run at once. When the
// server doesn't answer, it makes calls fail without sending them: else every
// request would wait in vain for as long as a call may take, once for each of
// its calls.
//
// The circuit opens when a call got no answer and no other call was answered
// since it began. An error from the server is an answer too. A caller that gave
// up says nothing about the server. While the circuit is open, a goroutine
// sends PING, one at a time, until one is answered. Callers' commands aren't
// used as probes, because they would wait in vain.
//
// When all is well a circuit costs three atomic operations for each call; the
// commands of a batch share them.
type circuit struct {
	client   *redis.Client
	replicas int           // how many replicas confirmed calls wait for
	tripped  *atomic.Int32 // how many circuits are open, of all servers together
	reroute  func()        // reloads the list of servers
	waits    chan struct{} // one element for each confirmed call under way
	touched  atomic.Int64  // where touch.lua last found a key

	open    atomic.Bool
	refusal atomic.Pointer[error] // errOpen with the cause
	answers atomic.Uint64         // number of answered calls
	broken  atomic.Int32          // calls in a row whose connection broke
	flying  atomic.Int32
}

// newCircuit returns a circuit for the client. Confirmed calls get at most half
// of its connections: while replicas are missing each holds one for as long as
// it waits. The rest is for calls that don't wait for replicas.
func newCircuit(client *redis.Client, replicas int, tripped *atomic.Int32, reroute func()) *circuit {
	return &circuit{
		client: client, replicas: replicas, tripped: tripped, reroute: reroute,
		waits: make(chan struct{}, max(1, client.Options().PoolSize/2)),
	}
}

// probing marks the context of the probe of an open circuit.
type probing struct{}

// flight marks the context of a pipeline of many callers. Its deadline comes
// from the command that waited longest. When it ends, that doesn't mean that a
// caller left.
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

// fail sets err on each command if it kept them from being sent.
func fail(cmds []redis.Cmder, err error) error {
	if errors.Is(err, errOpen) || errors.Is(err, errCrowded) {
		for _, cmd := range cmds {
			cmd.SetErr(err)
		}
	}
	return err
}

// call makes a call, unless the circuit is open or too many are under way.
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
	case c.answers.Load() != seen: // other calls were answered
	case gaveUp(ctx) && time.Since(began) < c.patience(ctx): // the server had no time to answer
	case !errors.Is(err, redis.ErrClosed) && (silent(err) || c.broken.Add(1) >= maxBroken):
		c.trip(err)
	}
	return err
}

// patience returns how long a call must have waited, when its caller gives up, before the
// server is at fault. A batch leaves with at least twice that time left, unless this
// process stood still.
func (c *circuit) patience(ctx context.Context) time.Duration {
	if ctx.Value(flight{}) != nil {
		return callTimeout / 4
	}
	return c.client.Options().ReadTimeout
}

// gaveUp reports whether the caller has stopped waiting. The connection has the
// same deadline, and may notice it a moment before the context does.
func gaveUp(ctx context.Context) bool {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return true
	}
	return ctx.Err() != nil
}

// within returns a context that ends at the deadline at the latest.
func within(ctx context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	if d, ok := ctx.Deadline(); ok && !d.After(deadline) {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, deadline)
}

// answered reports whether Redis answered: err is nil or an error from Redis.
func answered(err error) bool {
	var answer redis.Error
	return err == nil || errors.As(err, &answer)
}

// silent reports whether nothing came back in time or nobody listens, rather
// than that a connection broke.
func silent(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" || errors.Is(err, redis.ErrPoolTimeout) {
		return true
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout() // context.DeadlineExceeded is one
}

// trip opens the circuit because of err, until the server answers. The refusal
// has err as a text only: if it wrapped err, a refusal would look like a call
// that was made.
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

// bounded gives every command and every pipeline to a Cluster a deadline of
// callTimeout, because it may take several calls.
func bounded(ctx context.Context) (context.Context, func()) {
	return within(ctx, time.Now().Add(callTimeout))
}
