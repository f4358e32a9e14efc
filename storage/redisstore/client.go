package redisstore

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const maxRetries = 2 // after which a caller is better served by an error

// NewClient returns what a store talks to Redis with, for another package that
// has keys of its own there. All that Open says of URLs, deadlines and the logger
// holds. Its calls are within the budget of their request: see storage.Budget.
func NewClient(url string) (redis.UniversalClient, error) {
	client, _, err := newClient(url, 0, around(budgeted))
	return client, err
}

// newClient returns the client and the number of its circuits that are open.
// Calls that are to be confirmed wait for that many replicas. The hooks come before all
// others.
func newClient(url string, replicas int, hooks ...redis.Hook) (redis.UniversalClient, *atomic.Int32, error) {
	o, err := parseURL(url)
	if err != nil {
		return nil, nil, err
	}
	tune(o)
	if replicas > 0 {
		// WAIT is answered so much later: a Redis that is slow besides isn't silent. There
		// is still time to repeat a call whose connection is dead.
		o.ReadTimeout += waitTimeout
	}
	// What it prints to standard error would mix with the log of the program,
	// and every fault is returned as an error besides.
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
