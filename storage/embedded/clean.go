package embedded

import (
	"context"
	"time"
)

// cleanEvery is how long expired grants, closed retry windows and expired
// guesses may stay in the file. Meanwhile no load, swap or list of grants sees
// them.
const cleanEvery = time.Minute

// batch is how many grants one write of a cleaning or a sweep handles: few enough that
// other writes don't wait long behind it.
const batch = 500

const (
	deleteExpired = `DELETE FROM grants
		WHERE id IN (SELECT id FROM grants WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)`
	eraseRetries = `UPDATE grants SET retry = NULL, retry_until = NULL
		WHERE id IN (SELECT id FROM grants WHERE retry_until <= ? ORDER BY retry_until LIMIT ?)`
	forgetGuesses = `DELETE FROM guesses
		WHERE key IN (SELECT key FROM guesses WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)`
	deleteSweeps = `DELETE FROM sweeps WHERE epoch IN (SELECT epoch FROM sweeps WHERE kept_until <= ? LIMIT ?)`
)

// cleanAlways cleans every cleanEvery until the store closes.
func (s *Store) cleanAlways() {
	tick := time.NewTicker(cleanEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-tick.C:
			_, _ = s.Clean(context.Background()) // the next tick tries again what fails now
		}
	}
}

// Clean deletes expired grants and guesses, the data of closed retry windows, and old counts of unfinished
// sweeps. It returns how many rows it changed. The store calls it every minute by itself; several processes
// may do so at once.
func (s *Store) Clean(ctx context.Context) (int, error) {
	total := 0
	for _, statement := range []string{deleteExpired, eraseRetries, forgetGuesses, deleteSweeps} {
		for n := batch; n == batch; total += n {
			err := s.write(ctx, func(c *conn) (err error) {
				n, err = c.exec(statement, s.millis(), batch)
				return err
			})
			if err != nil {
				return total, err
			}
		}
	}
	return total, nil
}
