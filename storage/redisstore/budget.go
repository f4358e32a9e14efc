package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
)

// budgeted is a hook that has every call be within the budget of its request: see
// storage.Budget. It is for clients that are used by themselves; package watched does it
// for a Store. It stands outside the circuit, to which it is a caller that gives up.
type budgeted struct{}

// DialHook implements redis.Hook.
func (budgeted) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (budgeted) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		bound, done := storage.Wait(ctx)
		defer done()
		return next(storage.WithBudget(bound, nil), cmd)
	}
}

// ProcessPipelineHook implements redis.Hook.
func (budgeted) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		bound, done := storage.Wait(ctx)
		defer done()
		return next(storage.WithBudget(bound, nil), cmds)
	}
}
