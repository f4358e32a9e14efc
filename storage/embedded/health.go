package embedded

import (
	"context"
	"errors"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/grantd/grantd/storage"
)

var errStalled = errors.New("an earlier write has not finished")

// Health returns the state of the store: whether it can be read, and whether
// the last write succeeded; see storage.Store.
func (s *Store) Health(ctx context.Context) storage.Health {
	h := storage.Health{State: storage.Healthy, Open: s.stalled()}
	fault := s.fault.Load()
	switch {
	case s.identity.look() != nil || s.Ping(ctx) != nil:
		h.State = storage.Down
	case h.Open || fault != 0 && fault != sqlite3.SQLITE_FULL:
		h.State = storage.Refusing
	case fault == sqlite3.SQLITE_FULL:
		h.State = storage.Full
	}
	return h
}

// stalled reports whether a write has been under way for longer than a call may
// take.
func (s *Store) stalled() bool {
	began := s.began.Load()
	return began > 0 && time.Since(s.opened)-time.Duration(began) > callTimeout
}
