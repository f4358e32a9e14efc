package embedded

import (
	"context"
	"time"
)

// pool lends connections, each to one goroutine at a time.
type pool chan *conn

func newPool(conns ...*conn) pool {
	p := make(pool, len(conns))
	for _, c := range conns {
		p <- c
	}
	return p
}

// drain waits for every connection and closes it.
func (p pool) drain() {
	for range cap(p) {
		(<-p).close()
	}
}

// read runs do on a reader's connection.
func (s *Store) read(ctx context.Context, do func(c *conn) error) error {
	if err := s.refused(ctx, s.millis()); err != nil {
		return err
	}
	c, err := s.borrow(ctx)
	if err != nil {
		return err
	}
	defer func() { s.readers <- c }()
	return do(c)
}

// borrow waits for a reader's connection. Usually one is free, and no timer is
// needed.
func (s *Store) borrow(ctx context.Context) (*conn, error) {
	select {
	case c := <-s.readers:
		return c, nil
	default:
	}
	late := time.NewTimer(callTimeout)
	defer late.Stop()
	select {
	case c := <-s.readers:
		return c, nil
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	case <-late.C:
		return nil, unavailable(errSlow)
	case <-s.closing:
		return nil, unavailable(errClosed)
	}
}

// refused returns why no call may begin now, or nil, and counts the call. now
// is in milliseconds.
func (s *Store) refused(ctx context.Context, now int64) error {
	s.calls.Add(1)
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	select {
	case <-s.closing:
		return unavailable(errClosed)
	default:
		return s.identity.check(now)
	}
}
