package redisstore

import (
	"context"

	"github.com/grantd/grantd/storage"
)

// budgeted keeps every call within the budget of its request: see storage.Budget. It is
// for clients that are used without a Store; for a Store package watched does it. It is
// outside the circuit, which sees it as a caller that gives up.
func budgeted(ctx context.Context) (context.Context, func()) {
	bound, done := storage.Wait(ctx)
	return storage.WithBudget(bound, nil), done
}
