package redisstore

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const maxRetries = 2 // after these an error serves the caller better

// NewClient returns a client as a Store uses it, for another package with its
// own keys in Redis. What Open says about URLs, deadlines and the logger holds
// for it too. Its calls stay within the budget of their request: see
// storage.Budget.
func NewClient(url string) (redis.UniversalClient, error) {
	client, _, err := newClient(url, 0, around(budgeted))
	return client, err
}

// newClient returns the client and the number of its open circuits. Confirmed calls
// wait for that many replicas. The hooks come before all others.
func newClient(url string, replicas int, hooks ...redis.Hook) (redis.UniversalClient, *atomic.Int32, error) {
	o, err := parseURL(url)
	if err != nil {
		return nil, nil, err
	}
	tune(o)
	if replicas > 0 {
		// The answer of WAIT may come that much later, and a slow Redis must not count as
		// silent for that. There is still time to repeat a call whose connection is dead.
		o.ReadTimeout += waitTimeout
	}
	// go-redis would print to standard error, into the log of the program. It
	// returns every fault as an error anyway.
	logging.Disable()
	tripped := new(atomic.Int32)
	client := redis.NewUniversalClient(o)
	for _, h := range hooks {
		client.AddHook(h)
	}
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		client.AddHook(newCircuit(client.(*redis.Client), replicas, tripped, func() {}))
		return client, tripped, nil
	}
	cluster.AddHook(around(bounded))
	reroute := func() { cluster.ReloadState(context.Background()) }
	cluster.OnNewNode(func(node *redis.Client) {
		node.AddHook(newCircuit(node, replicas, tripped, reroute))
	})
	return client, tripped, nil
}

// tune sets the options that the URL doesn't.
func tune(o *redis.UniversalOptions) {
	o.Protocol = 2 // RESP3 isn't needed, and its pushes cost a check before every reply
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
