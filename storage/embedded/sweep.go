package embedded

import (
	"context"
	"database/sql"
	"math"
	"time"

	"github.com/grantd/grantd/internal/pace"
	"github.com/grantd/grantd/storage"
)

// sweepFree is how long a sweep works before it rests: a small sweep is done by
// then.
const sweepFree = 50 * time.Millisecond

// usual returns about how long it takes to read looked grants and delete
// deleted of them.
func usual(looked, deleted int) time.Duration {
	took := time.Millisecond + time.Duration(looked)*3*time.Microsecond
	if deleted > 0 { // and to sync the file
		took += 3*time.Millisecond + time.Duration(deleted)*30*time.Microsecond
	}
	return took
}

// tellEvery is how often a sweep reports its progress.
const tellEvery = time.Second

// keepSweep is how long the count of an unfinished sweep is kept.
const keepSweep = 30 * 24 * time.Hour

// Sweep deletes the grants that r ended; see storage.Sweeper. All of them
// existed when Revoke returned, because CreateGrant has refused their epochs
// since. So one walk over the target finds them all.
func (s *Store) Sweep(ctx context.Context, r storage.Revocation, report func(storage.Swept) error) (storage.Swept, error) {
	told := time.Now()
	err := s.walk(ctx, r, func(dead [][]byte) error {
		if err := s.bury(ctx, dead, r.Epochs[0]); err != nil {
			return err
		}
		if report == nil || time.Since(told) < tellEvery {
			return nil
		}
		told = time.Now()
		swept, err := s.swept(ctx, r)
		if err != nil {
			return err
		}
		return report(swept)
	})
	total, failed := s.swept(ctx, r)
	if err == nil {
		err = failed
	}
	if err == nil && report != nil {
		err = report(total)
	}
	if err != nil {
		return total, err
	}
	return total, s.settle(ctx, r)
}

// settle removes the floor of r and the count of its sweeps.
func (s *Store) settle(ctx context.Context, r storage.Revocation) error {
	kind, name, err := floorOf(r.Target)
	if err != nil {
		return err
	}
	return s.write(ctx, func(c *conn) error {
		if _, err := c.exec(`DELETE FROM sweeps WHERE epoch = ?`, r.Epochs[0]); err != nil {
			return err
		}
		_, err := c.exec(`DELETE FROM floors WHERE kind = ? AND name = ? AND created_before = ? AND epoch = ?`,
			kind, name, beforeOf(r.Target), r.Epochs[0])
		return err
	})
}

// Survivors counts the grants that r ended; see storage.Sweeper.
func (s *Store) Survivors(ctx context.Context, r storage.Revocation) (int, error) {
	n := 0
	err := s.walk(ctx, r, func(dead [][]byte) error {
		n += len(dead)
		return nil
	})
	return n, err
}

// place is the position of a walk over the grants of a target.
type place struct {
	endsAt int64
	id     []byte
}

// walks has, for each kind of target, the query for the next grants. A walk
// reads beside the writer, so it holds up nobody while it skips live grants.
var walks = map[int]string{
	kindAll: `SELECT id, 0, epoch, created_at FROM grants WHERE id > ?3 ORDER BY id LIMIT ?4`,
	kindUser: `SELECT id, ends_at, epoch, created_at FROM grants
		WHERE user_id = ?1 AND user_id <> '' AND (ends_at, id) > (?2, ?3) ORDER BY ends_at, id LIMIT ?4`,
	kindClient: `SELECT id, ends_at, epoch, created_at FROM grants
		WHERE client_id = ?1 AND (ends_at, id) > (?2, ?3) ORDER BY ends_at, id LIMIT ?4`,
}

// ends has, for users and clients, the query for the latest end of their
// grants. A walk needn't go further, and grants may come faster than it walks.
var ends = map[int]string{
	kindUser:   `SELECT ifnull(max(ends_at), 0) FROM grants WHERE user_id = ?1 AND user_id <> ''`,
	kindClient: `SELECT ifnull(max(ends_at), 0) FROM grants WHERE client_id = ?1`,
}

// lastEnd returns the end at which a walk over the grants of the target may
// stop.
func (s *Store) lastEnd(ctx context.Context, kind int, name string) (last int64, err error) {
	if kind == kindAll {
		return math.MaxInt64, nil // by id: new grants come anywhere in that order
	}
	err = s.read(ctx, func(c *conn) error { return orNotFound(c.row(ends[kind], []any{name}, &last)) })
	return last, err
}

// walk calls do with the ids of the grants that r ended, some at a time.
func (s *Store) walk(ctx context.Context, r storage.Revocation, do func(dead [][]byte) error) error {
	kind, name, err := floorOf(r.Target)
	if err != nil {
		return err
	}
	last, err := s.lastEnd(ctx, kind, name)
	if err != nil {
		return err
	}
	p := pace.Pace{Free: sweepFree, Others: func(context.Context) (int64, bool) { return s.calls.Load(), true }}
	for at := (&place{id: []byte{}}); at != nil && at.endsAt <= last; {
		err := p.Do(ctx, func() (time.Duration, error) {
			dead, next, err := s.dead(ctx, r, *at)
			if at = next; err != nil || len(dead) == 0 {
				return usual(batch, 0), err
			}
			return usual(batch, len(dead)), do(dead)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dead returns the ids of the next grants that r ended, and the place to go on
// from, nil at the end.
func (s *Store) dead(ctx context.Context, r storage.Revocation, at place) ([][]byte, *place, error) {
	kind, name, err := floorOf(r.Target)
	if err != nil {
		return nil, nil, err
	}
	var ids [][]byte
	seen, next, before := 0, &at, beforeOf(r.Target)
	err = s.read(ctx, func(c *conn) error {
		return c.each(walks[kind], []any{name, at.endsAt, at.id, batch}, func(rows *sql.Rows) error {
			var epoch uint32
			var created int64
			next = &place{}
			if err := rows.Scan(&next.id, &next.endsAt, &epoch, &created); err != nil {
				return err
			}
			if seen++; epoch < r.Epochs[0] && created < before {
				ids = append(ids, next.id)
			}
			return nil
		})
	})
	if seen < batch {
		next = nil
	}
	return ids, next, err
}

// count adds a grant to the count of a revocation's sweeps.
const count = `INSERT INTO sweeps VALUES (?1, 1, ?2, ?2, ?3) ON CONFLICT DO UPDATE SET
	grants = grants + 1, oldest = min(oldest, excluded.oldest), newest = max(newest, excluded.newest)`

// bury deletes the grants and counts them for the revocation of that epoch.
func (s *Store) bury(ctx context.Context, ids [][]byte, epoch uint32) error {
	return s.write(ctx, func(c *conn) error {
		for _, id := range ids {
			var created int64
			found, err := c.row(`DELETE FROM grants WHERE id = ? AND epoch < ? RETURNING created_at`, []any{id, epoch}, &created)
			if err == nil && found {
				_, err = c.exec(count, epoch, created, s.now().Add(keepSweep).UnixMilli())
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// swept returns the count of the sweeps of r.
func (s *Store) swept(ctx context.Context, r storage.Revocation) (storage.Swept, error) {
	var swept storage.Swept
	err := s.read(ctx, func(c *conn) error {
		var oldest, newest int64
		found, err := c.row(`SELECT grants, oldest, newest FROM sweeps WHERE epoch = ?`, []any{r.Epochs[0]},
			&swept.Grants, &oldest, &newest)
		if found {
			swept.Oldest, swept.Newest = instant(oldest), instant(newest)
		}
		return err
	})
	return swept, err
}
