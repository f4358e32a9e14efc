package redisstore

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
)

// flights is how many round trips a batcher has under way before further calls
// wait for one to land. One more than doubles what 32 callers get at the price
// of four, who wait for each other; four costs nobody anything.
const flights = 4

// maxBatch bounds how many calls share a round trip.
const maxBatch = pipelined

// batcher lets concurrent reads share round trips. A read that finds few others
// under way goes out by itself, at no cost; those that come meanwhile leave
// together, as one pipeline, when a round trip lands. So Redis and this process
// handle fewer packets the busier they are. It is for reads only: a pipeline
// whose connection breaks is repeated as a whole. It is not for a Cluster, where
// one node that stalls would hold up the calls to the others.
type batcher struct {
	client redis.UniversalClient

	mu      sync.Mutex
	flying  int
	waiting []*seat
}

// seat is one MGET that waits for its replies.
type seat struct {
	keys    []string
	replies []any
	err     error
	done    chan struct{}
}

// mget is MGET of keys that share a slot.
func (b *batcher) mget(ctx context.Context, keys ...string) ([]any, error) {
	b.mu.Lock()
	if b.flying < flights {
		b.flying++
		b.mu.Unlock()
		defer b.land()
		return b.client.MGet(ctx, keys...).Result()
	}
	s := &seat{keys: keys, done: make(chan struct{})}
	b.waiting = append(b.waiting, s)
	b.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, callTimeout) // waiting counts
	defer cancel()
	select {
	case <-s.done:
		return s.replies, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// land ends a flight, or begins the next with those who wait.
func (b *batcher) land() {
	if batch := b.board(); batch != nil {
		go b.fly(batch)
	}
}

// board takes the next batch; if nobody waits it ends the flight.
func (b *batcher) board() []*seat {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.flying--
		return nil
	}
	n := min(len(b.waiting), maxBatch)
	batch := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	return batch
}

// fly answers batches until nobody waits. It has no caller's context: none may
// end the others' call. Each gives up by its own.
func (b *batcher) fly(batch []*seat) {
	for ; batch != nil; batch = b.board() {
		b.answer(context.Background(), batch)
	}
}

func (b *batcher) answer(ctx context.Context, batch []*seat) {
	cmds := make([]*redis.SliceCmd, len(batch))
	_, err := b.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, s := range batch {
			cmds[i] = p.MGet(ctx, s.keys...)
		}
		return nil
	})
	for i, s := range batch {
		s.replies, s.err = cmds[i].Result()
		if s.replies == nil && s.err == nil {
			s.err = err // the connection couldn't be set up
		}
		close(s.done)
	}
}
