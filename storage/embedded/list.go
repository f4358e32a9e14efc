package embedded

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"math"

	"github.com/grantd/grantd/storage"
)

// lists has, for users and clients, the query for a page of live grants, the
// latest to end first: what is created meanwhile comes before the cursor, so a
// list has an end.
var lists = map[int]string{
	kindUser:   listBy(`user_id = ?1 AND user_id <> ''`),
	kindClient: listBy(`client_id = ?1`),
}

func listBy(condition string) string {
	return `SELECT id, ends_at, record FROM grants WHERE ` + condition + ` AND (ends_at, id) < (?2, ?3)
		AND expires_at > ?4 AND ` + aboveFloors + ` ORDER BY ends_at DESC, id DESC LIMIT ?5`
}

// ListGrants returns a page of live grants; see storage.Revocations.
func (s *Store) ListGrants(ctx context.Context, t storage.Target, cursor string, limit int) ([]storage.Grant, string, error) {
	kind, name, err := floorOf(t)
	if err != nil || kind == kindAll {
		return nil, "", errTarget
	}
	at, err := parseCursor(cursor)
	if err != nil || limit < 1 {
		return nil, "", err
	}
	var page []storage.Grant
	more := false
	args := []any{name, at.endsAt, at.id, s.millis(), limit + 1}
	err = s.read(ctx, func(c *conn) error {
		return c.each(lists[kind], args, func(rows *sql.Rows) error {
			if more = len(page) == limit; more {
				return nil
			}
			return appendGrant(&page, rows)
		})
	})
	if err != nil || !more {
		return page, "", err
	}
	return page, cursorAfter(page[len(page)-1]), nil
}

func appendGrant(page *[]storage.Grant, rows *sql.Rows) error {
	var id, record []byte
	var endsAt int64
	if err := rows.Scan(&id, &endsAt, &record); err != nil {
		return err
	}
	if len(id) != len(storage.GrantID{}) {
		return storage.ErrEncoding
	}
	g, err := storage.DecodeGrant(storage.GrantID(id), record)
	*page = append(*page, g)
	return err
}

// A cursor is the place of the last grant of the page before it.
const cursorLen = 8 + len(storage.GrantID{})

func cursorAfter(g storage.Grant) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(g.End.UnixMilli()))
	return base64.RawURLEncoding.EncodeToString(append(b, g.ID[:]...))
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
