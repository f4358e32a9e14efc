package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// around is a hook that gives every command and every pipeline a context
// derived from the caller's, and ends that context afterwards.
type around func(context.Context) (of context.Context, end func())

// DialHook implements redis.Hook.
func (around) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (a around) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		ctx, end := a(ctx)
		defer end()
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook implements redis.Hook.
func (a around) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		ctx, end := a(ctx)
		defer end()
		return next(ctx, cmds)
	}
}
