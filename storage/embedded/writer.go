package embedded

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/grantd/grantd/storage"
)

const (
	maxQueue = 1024 // queued writes; more writes wait for room
	maxGroup = 256  // writes in one transaction
)

// callTimeout bounds how long a call waits for its turn and for the disk, so
// that a call without a deadline gets an answer within a second. A read that
// SQLite has begun runs to its end, but reads are short.
const callTimeout = 800 * time.Millisecond

var errSlow = errors.New("the store gave no answer in time")

// write is one call that waits for the writer. do may run more than once, so it
// must set its results, not add to them. An error of do that doesn't wrap
// storage.ErrUnavailable is an answer, and then do must have changed nothing.
type write struct {
	ctx  context.Context
	do   func(c *conn) error
	done chan error
	soft bool // may be lost when the machine loses power
}

// write runs do in a transaction and returns once that is on disk. Writes that
// wait together share a transaction. If ctx ends first, the write may or may
// not take place.
func (s *Store) write(ctx context.Context, do func(c *conn) error) error {
	return s.submit(&write{ctx: ctx, do: do, done: make(chan error, 1)})
}

// writeSoft is write, but doesn't wait for the disk, unless it shares the
// transaction of a write that does. The write survives the end of this process,
// but maybe not a loss of power.
func (s *Store) writeSoft(ctx context.Context, do func(c *conn) error) error {
	return s.submit(&write{ctx: ctx, do: do, done: make(chan error, 1), soft: true})
}

// submit queues a write and waits for its end. While a write is under way for
// longer than a call may take, because the disk stalls, further writes fail at
// once, so that they don't pile up.
func (s *Store) submit(w *write) error {
	if err := s.refused(w.ctx, s.millis()); err != nil {
		return err
	}
	if s.stalled() {
		return unavailable(errStalled)
	}
	ctx, cancel := context.WithTimeoutCause(w.ctx, callTimeout, errSlow)
	defer cancel()
	w.ctx = ctx
	select {
	case s.queue <- w:
	case <-ctx.Done():
		return unavailable(context.Cause(ctx))
	case <-s.closing:
		return unavailable(errClosed)
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return unavailable(context.Cause(ctx))
	case <-s.written:
	}
	select {
	case err := <-w.done: // the writer's last group had this write
		return err
	default:
		return unavailable(errClosed)
	}
}

// writeAll is the only writer of the process. After Close has begun it finishes
// the queued writes.
func (s *Store) writeAll() {
	defer close(s.written)
	for {
		select {
		case w := <-s.queue:
			s.commit(s.group(w))
		case <-s.closing:
			for len(s.queue) > 0 {
				s.commit(s.group(<-s.queue))
			}
			return
		}
	}
}

// group returns the first write and those that are queued behind it. It doesn't
// wait for more: while one group is being synced, the next one gathers by
// itself.
func (s *Store) group(first *write) []*write {
	group := []*write{first}
	for len(group) < maxGroup {
		select {
		case w := <-s.queue:
			group = append(group, w)
		default:
			return group
		}
	}
	return group
}

// commit runs the group in one transaction. If that fails, it runs each write
// in a transaction of its own, so that none fails because of another.
func (s *Store) commit(group []*write) {
	c := <-s.writers
	defer func() { s.writers <- c }()
	answers, err := s.transact(c, group)
	if err != nil && len(group) > 1 && !busy(err) {
		for _, w := range group {
			s.answer(c, w)
		}
		return
	}
	for i, w := range group {
		w.done <- errors.Join(err, answers[i])
	}
}

func (s *Store) answer(c *conn, w *write) {
	answers, err := s.transact(c, []*write{w})
	w.done <- errors.Join(err, answers[0])
}

// transact is inTransaction, and notes its beginning and outcome for Health.
func (s *Store) transact(c *conn, group []*write) ([]error, error) {
	s.began.Store(int64(time.Since(s.opened)) + 1)
	defer s.began.Store(0)
	answers, err := s.inTransaction(c, group)
	if !busy(err) {
		s.fault.Store(int32(code(err)))
	}
	return answers, err
}

// inTransaction runs the writes in one transaction. It returns the answer of each,
// all nil when the transaction failed.
func (s *Store) inTransaction(c *conn, group []*write) ([]error, error) {
	answers := make([]error, len(group))
	if err := c.wait(slices.ContainsFunc(group, func(w *write) bool { return !w.soft })); err != nil {
		return answers, err
	}
	if err := begin(c, maxBusy); err != nil {
		return answers, err
	}
	if err := errors.Join(c.current(), s.identity.look()); err != nil {
		return answers, rollback(c, err)
	}
	for i, w := range group {
		answers[i] = unavailable(w.ctx.Err()) // the caller doesn't wait any more
		if answers[i] != nil {
			continue
		}
		if answers[i] = w.do(c); errors.Is(answers[i], storage.ErrUnavailable) {
			return make([]error, len(group)), rollback(c, answers[i])
		}
	}
	if _, err := c.exec("COMMIT"); err != nil {
		return make([]error, len(group)), rollback(c, err)
	}
	return answers, nil
}

// begin takes the write lock at once. A transaction that read first could find,
// when it comes to write, that another process was faster.
func begin(c *conn, limit time.Duration) error {
	return whileBusy(limit, func() error {
		_, err := c.exec("BEGIN IMMEDIATE")
		return err
	})
}

// rollback rolls back and returns why. After some errors SQLite has rolled back
// by itself, and ROLLBACK fails; that error is ignored.
func rollback(c *conn, why error) error {
	_, _ = c.exec("ROLLBACK")
	return why
}
