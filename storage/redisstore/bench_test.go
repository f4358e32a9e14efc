package redisstore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// BenchmarkStore measures each step of a grant beside one plain GET and one
// plain SET of the same size by go-redis, with one caller and with more.
func BenchmarkStore(b *testing.B) {
	server := redistest.Single(b)
	s, clock := open(b, server.URL())
	plain, _ := open(b, server.URL())
	g := mustCreate(b, s, newGrant(clock.Now(), userID(), time.Hour))
	record, err := storage.AppendGrant(nil, g)
	if err != nil {
		b.Fatal(err)
	}
	key := grantKey(g.ID)
	for _, bench := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"GET", func(ctx context.Context) error { return plain.client.Get(ctx, key).Err() }},
		{"LoadGrant", func(ctx context.Context) error { _, err := s.LoadGrant(ctx, g.ID); return err }},
		{"LoadGrant, nothing shared", func(ctx context.Context) error {
			replies, err := s.client.MGet(ctx, key, floorsKey(g.ID.Partition())).Result()
			if err != nil {
				return err
			}
			_, err = s.liveGrant(g.ID, replies[0], replies[1])
			return err
		}},
		{"SET", func(ctx context.Context) error { return plain.client.Set(ctx, "plain", record, time.Hour).Err() }},
		{"CreateGrant", func(ctx context.Context) error { return s.CreateGrant(ctx, newGrant(clock.Now(), g.UserID, time.Hour)) }},
		{"SwapGrant", swapper(b, s, newGrant(clock.Now(), userID(), time.Hour))},
	} {
		for _, callers := range []int{1, 4, 8, 32} {
			b.Run(fmt.Sprintf("%s/%d", bench.name, callers), func(b *testing.B) {
				b.ReportAllocs()
				together(b, callers, bench.run)
			})
		}
	}
}

// swapper returns a function that refreshes a grant. Concurrent callers each
// get a grant of their own.
func swapper(b *testing.B, s *Store, g storage.Grant) func(context.Context) error {
	free := sync.Pool{New: func() any {
		g.ID = storage.NewGrantID(g.UserID)
		own := mustCreate(b, s, g)
		return &own
	}}
	return func(ctx context.Context) error {
		own := free.Get().(*storage.Grant)
		successor := next(*own)
		err := s.SwapGrant(ctx, *own, successor, retry(successor))
		*own = successor
		free.Put(own)
		return err
	}
}

// together makes b.N calls, shared among so many concurrent callers.
func together(b *testing.B, callers int, run func(context.Context) error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := run(b.Context()); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
