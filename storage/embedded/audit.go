package embedded

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/grantd/grantd/storage"
)

// auditSchema makes the table of the trail. An id is never reused, so that a
// cursor stays valid; ids have no gaps, because events are deleted from the
// oldest on. The first event of each call has the digest of all events of the
// call in batch, so that a repeated call finds its events.
var auditSchema = []string{
	`CREATE TABLE audit (
		id     INTEGER PRIMARY KEY AUTOINCREMENT,
		at     INTEGER NOT NULL,
		record BLOB NOT NULL,
		batch  BLOB
	)`,
	`CREATE UNIQUE INDEX audit_by_batch ON audit (batch) WHERE batch IS NOT NULL`,
}

const (
	appendAudit = `INSERT INTO audit (at, record, batch) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`
	auditAfter  = `SELECT id, record FROM audit WHERE id > ? ORDER BY id LIMIT ?`
	auditBefore = `SELECT id, record FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?`

	trimNumber = `DELETE FROM audit WHERE id IN (
		SELECT id FROM audit WHERE id <= (SELECT max(id) FROM audit) - ? ORDER BY id LIMIT ?)`
	trimAge = `DELETE FROM audit WHERE id IN (
		SELECT id FROM audit
		WHERE id < ifnull((SELECT id FROM audit WHERE at >= ? ORDER BY id LIMIT 1), 9223372036854775807)
		ORDER BY id LIMIT ?)`
)

// AppendAudit keeps the events, all or none; see storage.Audit.
func (s *Store) AppendAudit(ctx context.Context, events ...storage.AuditEvent) error {
	if len(events) == 0 {
		return nil
	}
	records, digest := storage.EncodeAudit(events)
	return s.write(ctx, func(c *conn) error {
		batch := any(digest)
		for i, record := range records {
			n, err := c.exec(appendAudit, events[i].Time.UnixMilli(), record, batch)
			if err != nil || n == 0 { // the events are there already
				return err
			}
			batch = nil
		}
		return nil
	})
}

// auditOrigin is the cursor before all events.
const auditOrigin = "0"

// ListAudit lists events; see storage.Audit.
func (s *Store) ListAudit(ctx context.Context, q storage.AuditQuery, limit int) (storage.AuditPage, error) {
	statement, cursor, place := auditBefore, q.Before, int64(math.MaxInt64)
	if q.After != "" {
		statement, cursor = auditAfter, q.After
	}
	if cursor != "" {
		var err error
		place, err = strconv.ParseInt(cursor, 10, 64)
		if err != nil || strconv.FormatInt(place, 10) != cursor || place < 0 || q.After != "" && q.Before != "" {
			return storage.AuditPage{}, storage.ErrNotFound
		}
	}
	var found []storage.AuditEvent
	err := s.read(ctx, func(c *conn) error {
		found = slices.Grow(found[:0], q.Scan(limit))
		return c.each(statement, []any{place, q.Scan(limit)}, func(rows *sql.Rows) error {
			var id int64
			var record []byte
			if err := rows.Scan(&id, &record); err != nil {
				return err
			}
			e, err := storage.DecodeAudit(strconv.FormatInt(id, 10), record)
			found = append(found, e)
			return err
		})
	})
	if err != nil {
		return storage.AuditPage{}, err
	}
	return q.Page(found, limit, auditOrigin), nil
}

// TrimAudit forgets old events; see storage.Audit.
func (s *Store) TrimAudit(ctx context.Context, before time.Time, keep int) error {
	for _, step := range []struct {
		statement string
		limit     any
	}{{trimNumber, max(keep, 0)}, {trimAge, before.UnixMilli()}} {
		for n := batch; n == batch; {
			err := s.write(ctx, func(c *conn) (err error) {
				n, err = c.exec(step.statement, step.limit, batch)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
