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

// ListGrants implements storage.Revocations. A user's grants are in one index.
// A client's grants are in one index for each partition; ListGrants lists these
// one after another.
func (s *Store) ListGrants(ctx context.Context, t storage.Target, cursor string, limit int) ([]storage.Grant, string, error) {
	if err := checkTarget(t); err != nil || t.All || !t.Before.IsZero() {
		return nil, "", errTarget
	}
	limit = min(limit, maxPage)
	first, after, err := readCursor(t, cursor)
	if err != nil || limit < 1 {
		return nil, "", err
	}
	partitions, err := s.populated(ctx, t)
	if err != nil {
		return nil, "", err
	}
	page := page{limit: limit, left: limit + maxDead}
	for _, p := range partitions {
		if p < first {
			continue
		}
		w := walk{store: s, partition: p, index: indexKey(p, t)}
		if p == first {
			w.after = after
		}
		full, err := page.fill(ctx, w)
		if err != nil {
			return nil, "", err
		}
		if full {
			return page.grants, page.next, nil
		}
	}
	return page.grants, "", nil
}

// maxDead is how many entries of dead grants one page skips: a client may have
// a million that a sweep hasn't reached yet.
const maxDead = 1000

// page gathers live grants.
type page struct {
	grants []storage.Grant
	next   string // cursor
	limit  int
	left   int // entries that may still be read
}

// fill takes live grants from the walk, and reports whether the page was full
// before the index ended. It reads one grant more than asked for, to know
// whether there is a next page.
func (p *page) fill(ctx context.Context, w walk) (full bool, err error) {
	for {
		b, err := w.next(ctx, max(1, min(p.limit+1-len(p.grants), p.left)))
		if err != nil || b.len == 0 {
			return false, err
		}
		p.left -= b.len
		p.grants = append(p.grants, slices.DeleteFunc(b.grants, func(g storage.Grant) bool { return !w.store.live(g, b.floors) })...)
		switch {
		case len(p.grants) > p.limit:
			p.grants = p.grants[:p.limit]
			last := p.grants[p.limit-1]
			p.next = cursorAt(last.ID.Partition(), positionOf(last))
			return true, nil
		case p.left <= 0:
			p.next = cursorAt(w.partition, w.after)
			return true, nil
		}
	}
}

// A cursor is the position of the last entry that the page covers: partition,
// end in milliseconds as 8 bytes, and the rest of the id, in base64url.
const cursorLen = 1 + 8 + memberLen

func cursorAt(partition byte, p position) string {
	b := binary.BigEndian.AppendUint64([]byte{partition}, uint64(p.end))
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
