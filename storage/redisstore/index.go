package redisstore

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
)

// position is a position in an index, which is ordered by end and then by
// member. The end of a grant never changes, so neither does its position. The
// zero position is before all others.
type position struct {
	end    int64 // milliseconds since 1970
	member string
}

// before reports whether p is before other.
func (p position) before(other position) bool {
	return cmp.Or(cmp.Compare(p.end, other.end), cmp.Compare(p.member, other.member)) < 0
}

func positionOf(g storage.Grant) position {
	return position{end: g.End.UnixMilli(), member: member(g.ID)}
}

// populated returns the partitions in which the target has an index, in order.
func (s *Store) populated(ctx context.Context, t storage.Target) ([]byte, error) {
	partitions := partitionsOf(t)
	cmds, err := pipeline(ctx, s.client, func(p redis.Pipeliner) {
		for _, partition := range partitions {
			p.Exists(ctx, indexKey(partition, t))
		}
	})
	if err != nil {
		return nil, err
	}
	var some []byte
	for i, cmd := range cmds {
		n, err := cmd.(*redis.IntCmd).Result()
		if err != nil {
			return nil, unavailable(ctx, err)
		}
		if n > 0 {
			some = append(some, partitions[i])
		}
	}
	return some, nil
}

// walk goes through an index from after on, however the index changes
// meanwhile. It meets each entry that is there from beginning to end exactly
// once.
type walk struct {
	store     *Store
	partition byte
	index     string // key
	after     position
}

// last returns the position of the last entry.
func (w *walk) last(ctx context.Context) (position, error) {
	last, err := w.store.client.ZRangeWithScores(ctx, w.index, -1, -1).Result()
	if err != nil || len(last) == 0 {
		return position{}, unavailable(ctx, err)
	}
	return position{end: int64(last[0].Score), member: last[0].Member.(string)}, nil
}

// batch is a part of an index, with the grants in it.
type batch struct {
	len    int // entries passed; 0 at the end of the index
	grants []storage.Grant
	floors floors
}

// next reads up to limit further entries, at least one, and loads the grants.
// It removes entries whose grant is gone. Grant and entry are written in one
// step and an id is never reused, so the grant can't come back.
func (w *walk) next(ctx context.Context, limit int) (batch, error) {
	entries, err := w.entries(ctx, min(limit, pipelined))
	if err != nil || len(entries) == 0 {
		return batch{}, err
	}
	keys := make([]string, 0, len(entries)+1)
	for _, e := range entries {
		keys = append(keys, partitionKey(w.partition, kindGrant, e.member))
	}
	replies, err := w.store.client.MGet(ctx, append(keys, floorsKey(w.partition))...).Result()
	if err != nil {
		return batch{}, unavailable(ctx, err)
	}
	b := batch{len: len(entries)}
	if b.floors, err = w.store.floors(w.partition, replies[len(entries)]); err != nil {
		return batch{}, err
	}
	var stale []any
	for i, e := range entries {
		id, ours := memberID(w.partition, e.member)
		if replies[i] == nil || !ours {
			stale = append(stale, e.member)
			continue
		}
		g, err := decodeGrant(id, replies[i])
		if err != nil {
			return batch{}, err
		}
		b.grants = append(b.grants, g)
	}
	w.after = entries[len(entries)-1]
	if len(stale) == 0 {
		return b, nil
	}
	return b, unavailable(ctx, w.store.client.ZRem(ctx, w.index, stale...).Err())
}

// entries reads up to limit positions after w.after.
func (w *walk) entries(ctx context.Context, limit int) ([]position, error) {
	flat, err := pageScript.Run(ctx, w.store.client, []string{w.index}, w.after.end, w.after.member, limit).StringSlice()
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	var entries []position
	for pair := range slices.Chunk(flat, 2) {
		end, err := strconv.ParseFloat(pair[1], 64)
		if err != nil {
			return nil, storage.ErrUnreadable
		}
		entries = append(entries, position{end: int64(end), member: pair[0]})
	}
	return entries, nil
}
