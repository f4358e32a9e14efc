// Package watched tells of every call of a store how long it took and what came
// of it. Start reading at [Watch].
package watched

import (
	"context"
	"time"

	"github.com/grantd/grantd/storage"
)

// Call is a call of a store that is over.
type Call struct {
	Method Method
	Began  time.Time
	Took   time.Duration
	Err    error // what the store returned
}

// Watch returns the store as it is, but that note is told of each call, after it
// and before its caller goes on, with the context of the call. note must be safe
// for concurrent use, and quick: the caller waits for it. Nothing is allocated for
// it.
func Watch(s storage.Store, note func(context.Context, Call)) storage.Store {
	return &store{Store: s, note: note}
}

// store has every method of a storage.Store but Close; TestEveryMethodIsWatched
// sees to that.
type store struct {
	storage.Store
	note func(context.Context, Call)
}

func (s *store) tell(ctx context.Context, m Method, began time.Time, err error) {
	s.note(ctx, Call{Method: m, Began: began, Took: time.Since(began), Err: err})
}
