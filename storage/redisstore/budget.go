package redisstore

import (
	"context"

	"github.com/grantd/grantd/storage"
)

// budgeted has every call be within the budget of its request: see storage.Budget. It is
// for clients that are used by themselves; package watched does it for a Store. It stands
// outside the circuit, to which it is a caller that gives up.
func budgeted(ctx context.Context) (context.Context, func()) {
	bound, done := storage.Wait(ctx)
	return storage.WithBudget(bound, nil), done
}
