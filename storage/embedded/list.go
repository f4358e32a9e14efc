package embedded

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"

	"github.com/grantd/grantd/storage"
)

// lists has, for users and clients, the query for the grants of a page, the
// latest to end first. Grants that are created meanwhile come before the
// cursor, so a list has an end.
var lists = map[int]string{
	kindUser:   listBy(`user_id = ?1 AND user_id <> ''`),
	kindClient: listBy(`client_id = ?1`),
}

func listBy(condition string) string {
	return `SELECT id, ends_at, record, expires_at > ?4 AND ` + aboveFloors + ` FROM grants
		WHERE ` + condition + ` AND (ends_at, id) < (?2, ?3) ORDER BY ends_at DESC, id DESC`
}

// maxDead is how many dead grants one page skips: a client may have a million
// that a sweep hasn't reached yet.
const maxDead = 1000

// ListGrants returns a page of live grants; see storage.Revocations.
func (s *Store) ListGrants(ctx context.Context, t storage.Target, cursor string, limit int) ([]storage.Grant, string, error) {
	kind, name, err := floorOf(t)
	if err != nil || kind == kindAll || !t.Before.IsZero() {
		return nil, "", errTarget
	}
	at, err := parseCursor(cursor)
	if err != nil || limit < 1 {
		return nil, "", err
	}
	p := page{limit: limit}
	err = s.read(ctx, func(c *conn) error {
		err := c.each(lists[kind], []any{name, at.endsAt, at.id, s.millis()}, p.take)
		if errors.Is(err, errFull) {
			return nil
		}
		return err
	})
	return p.grants, p.next, err
}

// page gathers live grants.
type page struct {
	grants []storage.Grant
	dead   int
	last   place  // of the last grant read
	next   string // cursor
	limit  int
}

// errFull ends a query.
var errFull = errors.New("the page is full")

// take looks at one more grant.
func (p *page) take(rows *sql.Rows) error {
	if len(p.grants) == p.limit || p.dead == maxDead {
		p.next = cursorAt(p.last)
		return errFull
	}
	var at place
	var record []byte
	var live bool
	if err := rows.Scan(&at.id, &at.endsAt, &record, &live); err != nil {
		return err
	}
	p.last = at
	if !live {
		p.dead++
		return nil
	}
	if len(at.id) != len(storage.GrantID{}) {
		return storage.ErrUnreadable
	}
	g, err := storage.DecodeGrant(storage.GrantID(at.id), record)
	p.grants = append(p.grants, g)
	return err
}

// A cursor is the place of the last grant that the page before it looked at.
const cursorLen = 8 + len(storage.GrantID{})

func cursorAt(at place) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(at.endsAt))
	return base64.RawURLEncoding.EncodeToString(append(b, at.id...))
}

func parseCursor(cursor string) (place, error) {
	if cursor == "" {
		return place{endsAt: math.MaxInt64, id: []byte{}}, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(b) != cursorLen {
		return place{}, storage.ErrNotFound
	}
	return place{endsAt: int64(binary.BigEndian.Uint64(b)), id: b[8:]}, nil
}
