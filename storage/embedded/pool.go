package embedded

import "context"

// pool lends its connections, each to one goroutine at a time.
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
	if err := s.refused(ctx); err != nil {
		return err
	}
	select {
	case c := <-s.readers:
		defer func() { s.readers <- c }()
		return do(c)
	case <-ctx.Done():
		return unavailable(ctx.Err())
	case <-s.closing:
		return unavailable(errClosed)
	}
}

// refused is why no call may begin. It counts the call.
func (s *Store) refused(ctx context.Context) error {
	s.calls.Add(1)
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	select {
	case <-s.closing:
		return unavailable(errClosed)
	default:
		return nil
	}
}
