package embedded

import (
	"context"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/grantd/grantd/storage"
)

// atOnce runs do b.N times, spread over that many goroutines.
func atOnce(b *testing.B, goroutines int, do func(pb *testing.PB) error) {
	b.SetParallelism(max(1, goroutines/runtime.GOMAXPROCS(0)))
	if goroutines == 1 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
		runtime.GOMAXPROCS(1)
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		if err := do(pb); err != nil {
			b.Error(err)
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

func BenchmarkStore(b *testing.B) {
	ctx := context.Background()
	for _, goroutines := range []int{1, 16} {
		name := map[int]string{1: "1", 16: "16"}[goroutines]
		b.Run("create/"+name, func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "grantd.db"))
			atOnce(b, goroutines, func(pb *testing.PB) error {
				for pb.Next() {
					if err := s.CreateGrant(ctx, newGrant("alice", 1)); err != nil {
						return err
					}
				}
				return nil
			})
		})
		b.Run("load/"+name, func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "grantd.db"))
			ids := filled(b, s, 2000)
			var next atomic.Uint64
			atOnce(b, goroutines, func(pb *testing.PB) error {
				for pb.Next() {
					if _, err := s.LoadGrant(ctx, ids[next.Add(1)%uint64(len(ids))].ID); err != nil {
						return err
					}
				}
				return nil
			})
		})
		b.Run("swap/"+name, func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "grantd.db"))
			grants := filled(b, s, 32)
			var worker atomic.Int64
			atOnce(b, goroutines, func(pb *testing.PB) error {
				g := grants[worker.Add(1)-1] // a grant of its own for each goroutine
				for pb.Next() {
					next := successor(g)
					if err := s.SwapGrant(ctx, g, next, storage.Retry{}); err != nil {
						return err
					}
					g = next
				}
				return nil
			})
		})
	}
}

// filled creates n grants.
func filled(b *testing.B, s *Store, n int) []storage.Grant {
	b.Helper()
	grants := make([]storage.Grant, n)
	for i := range grants {
		grants[i] = newGrant("alice", 1)
		if err := s.CreateGrant(context.Background(), grants[i]); err != nil {
			b.Fatal(err)
		}
	}
	return grants
}
