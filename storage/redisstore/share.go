package redisstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
)

// sharing is a client whose Get, EvalSha and share use one batcher for each
// server. So a stalled node of a Cluster doesn't hold up commands to the
// others.
type sharing struct {
	redis.UniversalClient
	cluster  *redis.ClusterClient // nil if there is only one server
	known    atomic.Bool          // the Cluster's client knows its masters
	one      *batcher             // the batcher of the only server
	masters  sync.Map             // in a Cluster: the batcher of each master, by its *redis.Client
	replicas int                  // see WithReplicas
}

func newSharing(client redis.UniversalClient, tripped *atomic.Int32, replicas int) *sharing {
	s := &sharing{UniversalClient: client, replicas: replicas}
	var is bool
	if s.cluster, is = client.(*redis.ClusterClient); !is {
		s.one = &batcher{client: client, tripped: tripped, replicas: replicas}
	}
	return s
}

// Get is GET.
func (s *sharing) Get(ctx context.Context, key string) *redis.StringCmd {
	cmd := redis.NewStringCmd(ctx, "get", key)
	if err := s.share(ctx, key, cmd); err != nil {
		cmd = redis.NewStringCmd(ctx)
		cmd.SetErr(err)
	}
	return cmd
}

// EvalSha is EVALSHA, for at least one key.
func (s *sharing) EvalSha(ctx context.Context, digest string, keys []string, args ...any) *redis.Cmd {
	words := make([]any, 0, 3+len(keys)+len(args))
	words = append(words, "evalsha", digest, len(keys))
	for _, k := range keys {
		words = append(words, k)
	}
	cmd := redis.NewCmd(ctx, append(words, args...)...)
	if err := s.share(ctx, keys[0], cmd); err != nil {
		cmd = redis.NewCmd(ctx)
		cmd.SetErr(err)
	}
	return cmd
}

// run runs the script by its digest, or by its text if Redis doesn't know it, for example
// after a restart. Both together stay within the budget of their request.
func (s *sharing) run(ctx context.Context, script *redis.Script, keys []string, args ...any) *redis.Cmd {
	began := time.Now()
	cmd := script.EvalSha(ctx, s, keys, args...)
	if !redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		return cmd
	}
	ctx, done := storage.BudgetOf(ctx).BoundLong(ctx, began)
	defer done()
	return script.Eval(ctx, s, keys, args...)
}

// share sends a command on the key, alone or with others; see batcher.board.
func (s *sharing) share(ctx context.Context, key string, cmd redis.Cmder) error {
	if s.cluster == nil {
		return s.one.board(ctx, cmd)
	}
	if !s.known.Load() { // MasterForKey would ask one node after another, without a time limit
		s.known.Store(answered(s.cluster.Process(ctx, cmd)))
		return nil // its error is the command's
	}
	began := time.Now()
	master, err := s.cluster.MasterForKey(ctx, key)
	if err != nil {
		return err
	}
	if err := s.batcher(master).board(ctx, cmd); err != nil {
		return err
	}
	if !redirected(cmd.Err()) {
		return nil
	}
	if errors.Is(cmd.Err(), redis.ErrClosed) { // the Cluster's client makes a new one if the node still exists
		s.masters.Delete(master)
	}
	again, cancel := within(ctx, began.Add(callTimeout))
	defer cancel()
	for redirected(cmd.Err()) && again.Err() == nil {
		_ = s.cluster.Process(again, cmd) // its error is the command's
	}
	return nil
}

// batcher returns the batcher of a Cluster's master. Its pipelines go directly to the
// master: in a pipeline through the Cluster's client, a command can be under way at two
// nodes at once while slots move, and both write its answer. Each node has a circuit, so
// the batcher needn't check one. The batchers of former masters stay: they are small, and
// come only with changes of the Cluster.
func (s *sharing) batcher(master *redis.Client) *batcher {
	if b, found := s.masters.Load(master); found {
		return b.(*batcher)
	}
	b, _ := s.masters.LoadOrStore(master, &batcher{client: master, replicas: s.replicas})
	return b.(*batcher)
}

// redirected reports whether the command should be tried again through the Cluster's
// client: the node said so, or its client is closed. The Cluster's client retries a
// single command, with pauses.
func redirected(err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, redis.ErrClosed):
		return true
	}
	for _, prefix := range []string{"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "READONLY"} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return false
}
