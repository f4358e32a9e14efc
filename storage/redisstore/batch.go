package redisstore

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
)

// flights is how many round trips a batcher has under way before further
// commands wait for one to land. One more than doubles what 32 callers get at
// the price of four, who wait for each other; four costs nobody anything.
const flights = 4

// batcher is a client whose Get, MGet and EvalSha share round trips when they
// come concurrently. A command that finds few others under way goes out by
// itself, at no cost; those that come meanwhile leave together, as one pipeline,
// when a round trip lands. So Redis and this process handle fewer packets the
// busier they are.
//
// A pipeline whose connection breaks is repeated as a whole, so every command
// has to be safe to repeat, as the scripts are. It is not for a Cluster, where
// one node that stalls would hold up the commands to the others.
type batcher struct {
	redis.UniversalClient

	mu      sync.Mutex
	flying  int
	waiting []*seat
}

// seat is a command that waits for its answer.
type seat struct {
	cmd  redis.Cmder
	done chan struct{}
}

// Get is GET.
func (b *batcher) Get(ctx context.Context, key string) *redis.StringCmd {
	cmd := redis.NewStringCmd(ctx, "get", key)
	if err := b.board(ctx, cmd); err != nil {
		cmd = redis.NewStringCmd(ctx)
		cmd.SetErr(err)
	}
	return cmd
}

// MGet is MGET of keys that share a slot.
func (b *batcher) MGet(ctx context.Context, keys ...string) *redis.SliceCmd {
	args := make([]any, 0, 1+len(keys))
	args = append(args, "mget")
	for _, k := range keys {
		args = append(args, k)
	}
	cmd := redis.NewSliceCmd(ctx, args...)
	if err := b.board(ctx, cmd); err != nil {
		cmd = redis.NewSliceCmd(ctx)
		cmd.SetErr(err)
	}
	return cmd
}

// EvalSha is EVALSHA; redis.Script runs it, and EVAL where the digest is not
// known.
func (b *batcher) EvalSha(ctx context.Context, digest string, keys []string, args ...any) *redis.Cmd {
	words := make([]any, 0, 3+len(keys)+len(args))
	words = append(words, "evalsha", digest, len(keys))
	for _, k := range keys {
		words = append(words, k)
	}
	cmd := redis.NewCmd(ctx, append(words, args...)...)
	if err := b.board(ctx, cmd); err != nil {
		cmd = redis.NewCmd(ctx)
		cmd.SetErr(err)
	}
	return cmd
}

// board sends the command, alone or with others, and waits for its answer,
// which is left in it. It returns an error only when the caller gave up: then
// the command still belongs to its flight and must not be looked at.
func (b *batcher) board(ctx context.Context, cmd redis.Cmder) error {
	b.mu.Lock()
	if b.flying < flights {
		b.flying++
		b.mu.Unlock()
		defer b.land()
		_ = b.Process(ctx, cmd) // its error is the command's
		return nil
	}
	s := &seat{cmd: cmd, done: make(chan struct{})}
	b.waiting = append(b.waiting, s)
	b.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, callTimeout) // waiting counts
	defer cancel()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// land ends a flight, or begins the next with those who wait.
func (b *batcher) land() {
	if batch := b.next(); batch != nil {
		go b.fly(batch)
	}
}

// next takes those who wait; if nobody does, the flight ends.
func (b *batcher) next() []*seat {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.flying--
		return nil
	}
	n := min(len(b.waiting), pipelined)
	batch := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	return batch
}

// fly answers batches until nobody waits. It has no caller's context: none may
// end the others' command. Each gives up by its own.
func (b *batcher) fly(batch []*seat) {
	for ; batch != nil; batch = b.next() {
		ctx := context.Background()
		_, err := pipeline(ctx, b.UniversalClient, func(p redis.Pipeliner) {
			for _, s := range batch {
				_ = p.Process(ctx, s.cmd) // only queues
			}
		})
		for _, s := range batch {
			if err != nil {
				s.cmd.SetErr(err)
			}
			close(s.done)
		}
	}
}
