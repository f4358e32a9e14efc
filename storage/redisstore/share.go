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

// sharing is a client whose Get, EvalSha and share use a batcher of each server: in
// a Cluster a node that stalls holds up no commands to the others.
type sharing struct {
	redis.UniversalClient
	cluster  *redis.ClusterClient // nil where there is one server
	known    atomic.Bool          // the Cluster's client knows its masters
	one      *batcher             // of that
	masters  sync.Map             // of a Cluster: the batcher of each master's *redis.Client
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

// run runs the script by its digest, and by its text where Redis doesn't know it: after a
// restart, say. Both together are within the budget of their request.
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
	if !s.known.Load() { // MasterForKey would ask one node after the other, however long that takes
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
	if errors.Is(cmd.Err(), redis.ErrClosed) { // the Cluster's client has another for it, if it is there
		s.masters.Delete(master)
	}
	again, cancel := within(ctx, began.Add(callTimeout))
	defer cancel()
	for redirected(cmd.Err()) && again.Err() == nil {
		_ = s.cluster.Process(again, cmd) // its error is the command's
	}
	return nil
}

// batcher is that of a Cluster's master. Its pipelines go to the master itself: of one
// that goes through the Cluster's client, a command can be under way at two nodes at
// once while slots move, and both write its answer. There is a circuit behind each
// node, so that nothing has to be looked at before. That of a master that nobody asks any
// more stays, a small one for each change of the Cluster.
func (s *sharing) batcher(master *redis.Client) *batcher {
	if b, found := s.masters.Load(master); found {
		return b.(*batcher)
	}
	b, _ := s.masters.LoadOrStore(master, &batcher{client: master, replicas: s.replicas})
	return b.(*batcher)
}

// redirected reports whether a node of a Cluster answered that the command should
// be tried again, there or elsewhere, or isn't used any more. The Cluster's client does
// so, pausing in between, with a command that comes alone.
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
