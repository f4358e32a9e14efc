package redisstore

import (
	"context"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
)

// Sweep implements storage.Revocations. The floor goes only after everything
// under it is gone, so a sweep that dies half-way leaves the rest dead, and to
// be found by Unswept. A grant's epoch never changes: one that was below the
// floor when it was read still is when it is deleted.
func (s *Store) Sweep(ctx context.Context, r storage.Revocation) (int, error) {
	if err := checkTarget(r.Target); err != nil {
		return 0, err
	}
	n, err := s.sweep(ctx, r)
	if err != nil {
		return n, err
	}
	kind, id := floorArgs(r.Target)
	var calls []call
	for p, epoch := range r.Epochs {
		calls = append(calls, call{keys: []string{floorsKey(p)}, args: []any{kind, id, epoch}})
	}
	_, err = s.runAll(ctx, settleScript, calls)
	return n, err
}

func (s *Store) sweep(ctx context.Context, r storage.Revocation) (int, error) {
	if r.Target.All {
		return s.sweepAll(ctx, r.Epochs)
	}
	populated, err := s.populated(ctx, r.Target)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, p := range populated {
		if r.Epochs[p] == 0 {
			continue // raised by another revocation, if at all
		}
		swept, err := s.sweepIndex(ctx, p, r)
		n += swept
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// sweepIndex walks the index of the target in the partition. It goes by
// position and not by rank, which others that delete meanwhile would shift.
func (s *Store) sweepIndex(ctx context.Context, partition byte, r storage.Revocation) (int, error) {
	n := 0
	w := walk{store: s, partition: partition, index: indexKey(partition, r.Target)}
	for {
		b, err := w.next(ctx, pipelined)
		if err != nil || b.len == 0 {
			return n, err
		}
		swept, err := s.forgetBelow(ctx, b.grants, r.Epochs)
		n += swept
		if err != nil {
			return n, err
		}
	}
}

// forgetBelow deletes those of the grants whose epoch is below the floor of
// their partition, and returns how many it deleted.
func (s *Store) forgetBelow(ctx context.Context, grants []storage.Grant, epochs map[byte]uint32) (int, error) {
	var calls []call
	for _, g := range grants {
		if g.Epoch < epochs[g.ID[0]] {
			calls = append(calls, forget(g))
		}
	}
	deleted, err := s.runAll(ctx, forgetScript, calls)
	n := 0
	for _, d := range deleted {
		n += int(d)
	}
	return n, err
}

// sweepAll finds the grants by SCAN: no index holds them all, and none is worth
// writing for something so rare.
func (s *Store) sweepAll(ctx context.Context, epochs map[byte]uint32) (int, error) {
	return s.scan(ctx, grantPattern, func(ctx context.Context, keys []string) (int, error) {
		return s.sweepKeys(ctx, keys, epochs)
	})
}

// Trim removes from the indexes what is left there of grants that idled away
// before their end, and returns how many entries it removed. An entry is kept
// until the grant's end, so that a refresh needn't write it; listing the grants
// of its user or client removes it, too. Trim goes through all keys in small
// steps, may run beside everything else, and is worth calling daily.
func (s *Store) Trim(ctx context.Context) (int, error) {
	return s.scan(ctx, indexPattern, func(ctx context.Context, keys []string) (int, error) {
		n := 0
		for _, key := range keys {
			stale, err := s.trimIndex(ctx, key)
			n += stale
			if err != nil {
				return n, err
			}
		}
		return n, nil
	})
}

func (s *Store) trimIndex(ctx context.Context, key string) (int, error) {
	partition, ok := keyPartition(key)
	if !ok {
		return 0, nil
	}
	n := 0
	for w := (walk{store: s, partition: partition, index: key}); ; {
		b, err := w.next(ctx, pipelined)
		if err != nil || b.len == 0 {
			return n, err
		}
		n += b.len - len(b.grants)
	}
}

// scan calls do with the keys that match, some at a time and some of them
// twice, and adds up what it returns. In a Cluster do is called concurrently.
func (s *Store) scan(ctx context.Context, pattern string, do func(context.Context, []string) (int, error)) (int, error) {
	var total atomic.Int64
	err := s.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		for cursor := uint64(0); ; {
			keys, next, err := node.Scan(ctx, cursor, pattern, scanCount).Result()
			if err != nil {
				return unavailable(ctx, err)
			}
			n, err := do(ctx, keys)
			total.Add(int64(n))
			if err != nil {
				return err
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	})
	return int(total.Load()), err
}

// scanCount is how many keys Redis looks at for one answer of SCAN.
const scanCount = 4 * pipelined

func (s *Store) sweepKeys(ctx context.Context, keys []string, epochs map[byte]uint32) (int, error) {
	cmds, err := pipeline(ctx, s.client, func(p redis.Pipeliner) {
		for _, key := range keys {
			p.Get(ctx, key)
		}
	})
	if err != nil {
		return 0, err
	}
	var grants []storage.Grant
	for i, cmd := range cmds {
		text, err := cmd.(*redis.StringCmd).Result()
		id, ours := grantKeyID(keys[i])
		if isNil(err) || !ours {
			continue
		}
		if err != nil {
			return 0, unavailable(ctx, err)
		}
		g, err := decodeGrant(id, text)
		if err != nil {
			return 0, err
		}
		grants = append(grants, g)
	}
	return s.forgetBelow(ctx, grants, epochs)
}

// eachMaster calls f for every node that holds keys of its own, in a Cluster
// concurrently.
func (s *Store) eachMaster(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	if c, ok := s.client.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, f)
	}
	return f(ctx, s.client.(*redis.Client))
}
