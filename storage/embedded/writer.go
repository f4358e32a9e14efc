package embedded

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/grantd/grantd/storage"
)

const (
	maxQueue = 1024 // writes that wait; more wait to be queued
	maxGroup = 256  // writes in one transaction
)

// callTimeout bounds how long a call waits, for its turn and for the disk, so that
// one without a deadline has an answer within a second. What SQLite has begun to
// read runs to its end: such parts are short.
const callTimeout = 800 * time.Millisecond

var errSlow = errors.New("no answer of the store in time")

// write is one call that waits for the writer. do may run more than once, so
// it sets its results and adds to none. An error of its own that doesn't wrap
// storage.ErrUnavailable is an answer, and then it must have changed nothing.
type write struct {
	ctx  context.Context
	do   func(c *conn) error
	done chan error
	soft bool // may be lost when the machine loses power
}

// write runs do in a transaction and returns once that is on disk. Writes that
// wait together share one. When ctx ends first, whether the write took place
// is unknown.
func (s *Store) write(ctx context.Context, do func(c *conn) error) error {
	return s.submit(&write{ctx: ctx, do: do, done: make(chan error, 1)})
}

// writeSoft is write, but returns before that is on disk, unless it shares the
// transaction of one that has to be. It survives this process, if not the
// machine's loss of power, and costs no waiting for the disk.
func (s *Store) writeSoft(ctx context.Context, do func(c *conn) error) error {
	return s.submit(&write{ctx: ctx, do: do, done: make(chan error, 1), soft: true})
}

// A write that is under way for longer than a call may take, on a disk that
// stalls, has those after it fail at once, so that they don't pile up.
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
	case err := <-w.done: // the writer's last
		return err
	default:
		return unavailable(errClosed)
	}
}

// writeAll is the one writer of the process. After Close began it finishes
// what is queued.
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

// group is the first write and those that wait behind it. It waits for none:
// while one group is being synced, the next one gathers by itself.
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

// commit runs the group in one transaction, and each write in its own when
// that fails, so that none fails for another's sake.
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

// transact is inTransaction, whose beginning and outcome Health tells.
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
		answers[i] = unavailable(w.ctx.Err()) // nobody waits any more
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

// begin takes the write lock at once: a transaction that only reads first
// could find, when it comes to write, that another process was faster.
func begin(c *conn, limit time.Duration) error {
	return whileBusy(limit, func() error {
		_, err := c.exec("BEGIN IMMEDIATE")
		return err
	})
}

// rollback returns why. SQLite has rolled back by itself after some errors,
// and says so by failing here, which is no news.
func rollback(c *conn, why error) error {
	_, _ = c.exec("ROLLBACK")
	return why
}
