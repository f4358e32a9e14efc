package redisstore

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/internal/pace"
	"github.com/grantd/grantd/storage"
)

// Sweep implements storage.Sweeper. It removes the floor only after all grants
// under it are gone. So if a sweep dies half-way, the rest stays dead, and
// Unswept finds it. The epoch and the time of creation of a grant never change:
// a grant that was under the floor when it was read still is when it is
// deleted.
func (s *Store) Sweep(ctx context.Context, r storage.Revocation, report func(storage.Swept) error) (storage.Swept, error) {
	if err := checkTarget(r.Target); err != nil {
		return storage.Swept{}, err
	}
	earlier, err := s.swept(ctx, r)
	if err != nil {
		return earlier, err
	}
	run := sweeping{Store: s, r: r, swept: earlier, report: report, told: time.Now()}
	if err := run.all(ctx); err != nil {
		return run.swept, err
	}
	total, err := s.swept(ctx, r)
	if err == nil && report != nil {
		err = report(total)
	}
	if err != nil {
		return total, err
	}
	return total, s.settle(ctx, r)
}

// all deletes all grants that the revocation ended. SCAN may miss grants that a
// Cluster moves from one node to another meanwhile. They stay dead by the base
// of their partition, but a revocation with a Before doesn't raise the base. So
// for it all looks again until it finds no more.
func (w *sweeping) all(ctx context.Context) error {
	for {
		if err := w.each(ctx, w.forget); err != nil || !w.cluster() || w.r.Target.Before.IsZero() || !w.r.Target.All {
			return err
		}
		if n, err := w.Survivors(ctx, w.r); err != nil || n == 0 {
			return err
		}
	}
}

// settle removes the floors that r raised, and the counts of its sweeps.
func (s *Store) settle(ctx context.Context, r storage.Revocation) error {
	var calls []call
	for p, epoch := range r.Epochs {
		calls = append(calls, call{keys: []string{floorsKey(p), sweptKey(p, epoch)}, args: append(floorArgs(r.Target), epoch)})
	}
	_, err := s.runAll(ctx, settleScript, calls)
	return err
}

// Survivors implements storage.Sweeper.
func (s *Store) Survivors(ctx context.Context, r storage.Revocation) (int, error) {
	if err := checkTarget(r.Target); err != nil {
		return 0, err
	}
	var found atomic.Int64
	run := sweeping{Store: s, r: r}
	err := run.each(ctx, func(_ context.Context, dead []storage.Grant) error {
		found.Add(int64(len(dead)))
		return nil
	})
	return int(found.Load()), err
}

// keepSwept is how long Redis keeps the count of an unfinished sweep.
const keepSwept = 30 * 24 * time.Hour

// swept adds up the counts of the sweeps of r: see forget.lua.
func (s *Store) swept(ctx context.Context, r storage.Revocation) (storage.Swept, error) {
	cmds, err := pipeline(ctx, s.client, func(p redis.Pipeliner) {
		for partition, epoch := range r.Epochs {
			p.ZRangeWithScores(ctx, sweptKey(partition, epoch), 0, -1)
		}
	})
	var total storage.Swept
	if err != nil {
		return total, err
	}
	for _, cmd := range cmds {
		members, err := cmd.(*redis.ZSliceCmd).Result()
		if err != nil {
			return total, unavailable(ctx, err)
		}
		var some storage.Swept
		for _, m := range members {
			switch m.Member {
			case "n":
				some.Grants = int(m.Score)
			case "oldest":
				some.Oldest = time.UnixMilli(int64(m.Score)).UTC()
			case "newest":
				some.Newest = time.UnixMilli(int64(m.Score)).UTC()
			}
		}
		total = total.And(some)
	}
	return total, nil
}

// sweeping is one run through the grants that a revocation ended.
type sweeping struct {
	*Store
	r      storage.Revocation
	report func(storage.Swept) error // may be nil

	mu    sync.Mutex // in a Cluster the nodes are swept at the same time
	swept storage.Swept
	told  time.Time
}

// each calls do with the grants that the revocation ended and that Redis still
// has.
func (w *sweeping) each(ctx context.Context, do func(context.Context, []storage.Grant) error) error {
	if w.r.Target.All {
		return w.scan(ctx, grantPattern, func(ctx context.Context, keys []string) (time.Duration, error) {
			grants, err := w.load(ctx, keys)
			if err != nil {
				return 0, err
			}
			dead := w.dead(grants)
			return usual(len(keys), len(dead)), do(ctx, dead)
		})
	}
	populated, err := w.populated(ctx, w.r.Target)
	if err != nil {
		return err
	}
	paces := map[*redis.Client]*pace.Pace{} // of the nodes
	for _, partition := range populated {
		if w.r.Epochs[partition] == 0 {
			continue // r raised no floor in this partition
		}
		node, err := w.nodeOf(ctx, partition)
		if err != nil {
			return err
		}
		if paces[node] == nil {
			paces[node] = newPace(node)
		}
		if err := w.eachIndexed(ctx, partition, paces[node], do); err != nil {
			return err
		}
	}
	return nil
}

// eachIndexed is each for the target's index in the partition. It goes by
// position, not by rank, because others that delete meanwhile would shift the
// ranks. It ends at the entry that was the last at its beginning: the
// revocation didn't end later entries, and they may come faster than they can
// be skipped.
func (w *sweeping) eachIndexed(ctx context.Context, partition byte, p *pace.Pace, do func(context.Context, []storage.Grant) error) error {
	index := walk{store: w.Store, partition: partition, index: indexKey(partition, w.r.Target)}
	last, err := index.last(ctx)
	for err == nil && index.after.before(last) {
		err = p.Do(ctx, func() (time.Duration, error) {
			b, err := index.next(ctx, step)
			if err != nil || b.len == 0 {
				last = index.after // all the rest is gone
				return 0, err
			}
			dead := w.dead(b.grants)
			return usual(b.len, len(dead)), do(ctx, dead)
		})
	}
	return err
}

// dead returns the grants that the revocation ended.
func (w *sweeping) dead(grants []storage.Grant) []storage.Grant {
	var dead []storage.Grant
	for _, g := range grants {
		if g.Epoch < w.r.Epochs[g.ID.Partition()] && meant(w.r.Target, g) {
			dead = append(dead, g)
		}
	}
	return dead
}

// tellEvery is how often a sweep reports its progress.
const tellEvery = time.Second

// forget deletes the grants.
func (w *sweeping) forget(ctx context.Context, dead []storage.Grant) error {
	var calls []call
	for together := range w.inOneSlot(dead) {
		for some := range slices.Chunk(together, step) {
			calls = append(calls, forget(some, w.r.Epochs))
		}
	}
	deleted, err := w.runAll(ctx, forgetScript, calls)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range deleted {
		w.swept.Grants += int(n)
	}
	if w.report == nil || time.Since(w.told) < tellEvery {
		return nil
	}
	w.told = time.Now()
	swept, err := w.Store.swept(ctx, w.r)
	if err != nil {
		return err
	}
	return w.report(swept)
}

// inOneSlot yields the grants in groups that one script may handle.
func (s *Store) inOneSlot(grants []storage.Grant) iter.Seq[[]storage.Grant] {
	return func(yield func([]storage.Grant) bool) {
		if !s.cluster() {
			yield(grants)
			return
		}
		slices.SortFunc(grants, func(a, b storage.Grant) int { return cmp.Compare(a.ID.Partition(), b.ID.Partition()) })
		for rest := grants; len(rest) > 0; {
			n := slices.IndexFunc(rest, func(g storage.Grant) bool { return g.ID.Partition() != rest[0].ID.Partition() })
			if n < 0 {
				n = len(rest)
			}
			if !yield(rest[:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}

// load reads grants by their keys, and leaves out those that are gone.
func (s *Store) load(ctx context.Context, keys []string) ([]storage.Grant, error) {
	records, err := s.records(ctx, keys)
	if err != nil {
		return nil, err
	}
	var grants []storage.Grant
	for i, record := range records {
		id, ours := grantKeyID(keys[i])
		if record == nil || !ours {
			continue
		}
		g, err := decodeGrant(id, record)
		if err != nil {
			return nil, err
		}
		grants = append(grants, g)
	}
	return grants, nil
}

// records returns the values of keys, as MGET does, but in any slots.
func (s *Store) records(ctx context.Context, keys []string) ([]any, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	if !s.cluster() {
		records, err := s.client.MGet(ctx, keys...).Result()
		return records, unavailable(ctx, err)
	}
	cmds, err := pipeline(ctx, s.client, func(p redis.Pipeliner) {
		for _, key := range keys {
			p.Get(ctx, key)
		}
	})
	if err != nil {
		return nil, err
	}
	records := make([]any, len(keys))
	for i, cmd := range cmds {
		text, err := cmd.(*redis.StringCmd).Result()
		if isNil(err) {
			continue
		}
		if err != nil {
			return nil, unavailable(ctx, err)
		}
		records[i] = text
	}
	return records, nil
}

// Trim removes the index entries of grants that expired unused before their
// end, and returns how many entries it removed. An index keeps an entry until
// the grant's end, so that a refresh needn't write it. Listing the grants of
// its user or client removes such entries too. Trim goes through all keys in
// small steps, and may run beside everything else. Call it daily.
func (s *Store) Trim(ctx context.Context) (int, error) {
	var total atomic.Int64
	err := s.scan(ctx, indexPattern, func(ctx context.Context, keys []string) (time.Duration, error) {
		looked := 0
		for _, key := range keys {
			n, stale, err := s.trimIndex(ctx, key)
			looked += n
			total.Add(int64(stale))
			if err != nil {
				return 0, err
			}
		}
		const trips = 300 * time.Microsecond // two for each index
		return usual(looked, 0) + time.Duration(len(keys))*trips, nil
	})
	return int(total.Load()), err
}

// trimIndex returns how many entries it read, and how many it removed.
func (s *Store) trimIndex(ctx context.Context, key string) (looked, stale int, err error) {
	partition, ok := keyPartition(key)
	if !ok {
		return 0, 0, nil
	}
	for w := (walk{store: s, partition: partition, index: key}); ; {
		b, err := w.next(ctx, pipelined)
		if err != nil || b.len == 0 {
			return looked, stale, err
		}
		looked += b.len
		stale += b.len - len(b.grants)
	}
}

// scan calls do with the keys that match, some at a time and possibly some of
// them twice. do returns how long its work usually takes, which sets the pace.
// In a Cluster do is called concurrently, for each node at its own pace.
func (s *Store) scan(ctx context.Context, pattern string, do func(context.Context, []string) (time.Duration, error)) error {
	return s.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		p, cursor := newPace(node), uint64(0)
		for more := true; more; more = cursor != 0 {
			err := p.Do(ctx, func() (time.Duration, error) {
				keys, next, err := node.Scan(ctx, cursor, pattern, scanCount).Result()
				if err != nil {
					return 0, unavailable(ctx, err)
				}
				cursor = next
				return do(ctx, keys)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// scanCount is how many keys Redis reads for one answer of SCAN. Most keys are
// grants, so an answer has about a step.
const scanCount = step

func (s *Store) cluster() bool {
	_, cluster := s.client.(*redis.ClusterClient)
	return cluster
}

// eachMaster calls f for every master, in a Cluster concurrently.
func (s *Store) eachMaster(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	if c, ok := s.client.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, f)
	}
	return f(ctx, s.client.(*redis.Client))
}
