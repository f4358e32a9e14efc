package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/storage"
)

// Store is a storage.Store on SQLite.
type Store struct {
	now      func() time.Time
	existing bool // see Existing
	db       *sql.DB
	readers  pool
	writers  pool      // with one connection; in memory the same as readers
	recent   *recent   // nil in memory
	identity *identity // nil in memory
	queue    chan *write
	calls    atomic.Int64 // calls that have begun: see Sweep
	opened   time.Time
	began    atomic.Int64 // when the current transaction began, in ns since opened; 0 when there is none
	fault    atomic.Int32 // SQLite's code if the last transaction failed, else 0

	closing   chan struct{} // closed when Close begins
	written   chan struct{} // closed when the writer has ended
	workers   sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
}

var _ storage.Store = (*Store)(nil)

// Option changes how a store is opened.
type Option func(*Store)

// WithClock replaces time.Now as the store's clock. now must be safe for
// concurrent use.
func WithClock(now func() time.Time) Option {
	return func(s *Store) { s.now = now }
}

// Existing makes Open fail, with an error that wraps fs.ErrNotExist too, instead of
// making the file. It is for programs that only read what grantd wrote.
func Existing() Option {
	return func(s *Store) { s.existing = true }
}

// Memory is the path of a store that lives in memory and ends with Close.
const Memory = ":memory:"

// Open opens the store in the file at path. It makes the file (mode 0600) and
// its directories (mode 0700) if they don't exist, unless Existing is among opts.
// It returns an error that wraps storage.ErrUnavailable when the file can't be
// opened, isn't a grantd store or was written by a newer grantd.
//
// Once the file, or one that SQLite keeps beside it, is moved, deleted or
// replaced, every call of the store fails with such an error: a write at once,
// a read after a second at most. Then the store has to be opened again.
func Open(path string, opts ...Option) (*Store, error) {
	s := &Store{
		now:     time.Now,
		opened:  time.Now(),
		queue:   make(chan *write, maxQueue),
		closing: make(chan struct{}),
		written: make(chan struct{}),
	}
	for _, opt := range opts {
		opt(s)
	}
	if err := s.open(path); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the store %s: %w", path, err), s.release())
	}
	s.workers.Go(s.writeAll)
	s.workers.Go(s.cleanAlways)
	return s, nil
}

// Ping returns nil when the store can answer.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.Epoch(ctx, storage.GrantID{})
	return err
}

// Close finishes the waiting writes and closes the file. Later calls return an
// error that wraps storage.ErrUnavailable.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		close(s.closing)
		s.workers.Wait()
		s.closeErr = s.release()
	})
	return s.closeErr
}

// release takes every connection out of the pools, so that calls under way
// come to their end first, and closes the database.
func (s *Store) release() error {
	s.readers.drain()
	if s.writers != s.readers {
		s.writers.drain()
	}
	if s.db == nil {
		return nil
	}
	err := s.db.Close()
	return unavailable(errors.Join(err, s.recent.close()))
}

// millis returns the time in milliseconds since 1970, as in the tables.
func (s *Store) millis() int64 { return s.now().UnixMilli() }

var errClosed = errors.New("the store is closed")

// unavailable wraps an error of SQLite or of a context, so that no caller takes
// it for an answer about a record.
func unavailable(err error) error {
	if err == nil || errors.Is(err, storage.ErrUnavailable) {
		return err
	}
	if strings.Contains(err.Error(), "no such table: schema_") { // see marked
		return errOutdated
	}
	return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
}
