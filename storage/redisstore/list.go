package redisstore

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"slices"

	"github.com/grantd/grantd/storage"
)

// maxPage bounds the memory that one page of a list needs.
const maxPage = 10_000

// ListGrants implements storage.Revocations. A user's grants are in one index,
// a client's in one for each partition, which are listed one after another.
func (s *Store) ListGrants(ctx context.Context, t storage.Target, cursor string, limit int) ([]storage.Grant, string, error) {
	if err := checkTarget(t); err != nil || t.All {
		return nil, "", errTarget
	}
	limit = min(max(limit, 0), maxPage)
	first, after, err := readCursor(t, cursor)
	if err != nil {
		return nil, "", err
	}
	partitions, err := s.populated(ctx, t)
	if err != nil {
		return nil, "", err
	}
	var found []storage.Grant
	for _, p := range partitions {
		if p < first {
			continue
		}
		w := walk{store: s, partition: p, index: indexKey(p, t)}
		if p == first {
			w.after = after
		}
		// One more than asked for tells whether there is a next page.
		more, err := s.collect(ctx, w, limit+1-len(found))
		if err != nil {
			return nil, "", err
		}
		found = append(found, more...)
		if len(found) > limit {
			found = found[:limit]
			return found, cursorAfter(found), nil
		}
	}
	return found, "", nil
}

// collect takes live grants from the walk until it has n or the index ends.
func (s *Store) collect(ctx context.Context, w walk, n int) ([]storage.Grant, error) {
	var found []storage.Grant
	for len(found) < n {
		b, err := w.next(ctx, n-len(found))
		if err != nil {
			return nil, err
		}
		if b.len == 0 {
			break
		}
		found = append(found, slices.DeleteFunc(b.grants, func(g storage.Grant) bool { return !s.live(g, b.floors) })...)
	}
	return found, nil
}

// A cursor is the place of the last grant listed: partition, end in
// milliseconds as 8 bytes, and the rest of the id, in base64url.
const cursorLen = 1 + 8 + memberLen

func cursorAfter(listed []storage.Grant) string {
	if len(listed) == 0 {
		return ""
	}
	g := listed[len(listed)-1]
	p := positionOf(g)
	b := binary.BigEndian.AppendUint64([]byte{g.ID[0]}, uint64(p.end))
	return base64.RawURLEncoding.EncodeToString(append(b, p.member...))
}

func readCursor(t storage.Target, cursor string) (partition byte, after position, err error) {
	if cursor == "" {
		return 0, position{}, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(b) != cursorLen {
		return 0, position{}, storage.ErrNotFound
	}
	if t.UserID != "" && b[0] != storage.UserPartition(t.UserID) {
		return 0, position{}, storage.ErrNotFound
	}
	end := int64(binary.BigEndian.Uint64(b[1:9]))
	if end < 0 {
		return 0, position{}, storage.ErrNotFound
	}
	return b[0], position{end: end, member: string(b[9:])}, nil
}
