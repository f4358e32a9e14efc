package redisstore

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

const (
	// alone is how many commands are under way before further ones wait to
	// share a round trip: a few callers never wait for each other.
	alone = 4

	// crowd is how many have to leave together for the next ones to wait for
	// any command under way: with many callers nearly everything is shared.
	crowd = 8
)

// maxWaiting bounds the commands that wait; one more fails at once. A store that
// can't keep up gets no longer a queue than it can work off.
const maxWaiting = 4096

var errCrowded = errors.New("redisstore: too many commands are waiting")

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
	aboard  int // commands under way, alone or together
	last    int // how many left together last; 0 when nobody had to wait
	waiting []*seat
}

// seat is a command that waits for its answer.
type seat struct {
	cmd  redis.Cmder
	done chan struct{}
	gone bool // its caller gave up; guarded by batcher.mu
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
// which is left in it. It returns an error when there was no room or the caller
// gave up: then the command may still be under way and must not be looked at.
func (b *batcher) board(ctx context.Context, cmd redis.Cmder) error {
	b.mu.Lock()
	if b.aboard < b.limit() {
		b.aboard++
		b.mu.Unlock()
		defer b.land()
		_ = b.Process(ctx, cmd) // its error is the command's
		return nil
	}
	if len(b.waiting) >= maxWaiting {
		b.mu.Unlock()
		return errCrowded
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
		b.mu.Lock()
		s.gone = true
		b.mu.Unlock()
		return ctx.Err()
	}
}

// land ends the flight of one, and begins that of those who wait.
func (b *batcher) land() {
	if batch := b.next(1); batch != nil {
		go b.fly(batch)
	}
}

// next counts off those who landed and takes those who wait, unless so many are
// under way that waiting for them gathers more. Who gave up isn't sent.
func (b *batcher) next(landed int) []*seat {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.aboard -= landed
	b.waiting = slices.DeleteFunc(b.waiting, func(s *seat) bool { return s.gone })
	if len(b.waiting) == 0 {
		b.last = 0
		return nil
	}
	if b.aboard >= b.limit() {
		return nil
	}
	n := min(len(b.waiting), pipelined)
	b.last = n
	batch := slices.Clone(b.waiting[:n])
	b.waiting = slices.Delete(b.waiting, 0, n)
	b.aboard += n
	return batch
}

// limit is how many may be under way for another to go.
func (b *batcher) limit() int {
	if b.last >= crowd {
		return 1
	}
	return alone
}

// fly answers batches until nobody waits. It has no caller's context: none may
// end the others' command. Each gives up by its own.
func (b *batcher) fly(batch []*seat) {
	for ; batch != nil; batch = b.next(len(batch)) {
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
