package embedded

import (
	"database/sql"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/storage"
)

// pair opens one file in two stores, as two processes would.
func pair(t testing.TB) [2]*Store {
	path := filepath.Join(t.TempDir(), "grantd.db")
	return [2]*Store{open(t, path), open(t, path)}
}

func TestTwoStoresSeeEachOthersWritesAtOnce(t *testing.T) {
	ctx, s := t.Context(), pair(t)
	for i := range 20 {
		here, there := s[i%2], s[1-i%2]
		epoch, err := there.Epoch(ctx, storage.GrantID{})
		if err != nil {
			t.Fatal(err)
		}
		g := newGrant("alice", epoch)
		if err := here.CreateGrant(ctx, g); err != nil {
			t.Fatal(err)
		}
		if _, err := there.LoadGrant(ctx, g.ID); err != nil {
			t.Fatalf("after create here: load there: %v", err)
		}
		next := g
		next.Generation, next.Access, next.Refresh = 2, storage.Digest{2}, storage.Digest{3}
		if err := there.SwapGrant(ctx, g, next, storage.Retry{}); err != nil {
			t.Fatal(err)
		}
		if got, err := here.LoadGrant(ctx, g.ID); err != nil || got.Generation != 2 {
			t.Fatalf("after swap there: load here: generation %d, %v", got.Generation, err)
		}
		r, err := here.Revoke(ctx, storage.Target{UserID: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := there.LoadGrant(ctx, g.ID); !errors.Is(err, storage.ErrNotFound) {
			t.Fatalf("after revoke here: load there: %v", err)
		}
		if unswept, err := there.Unswept(ctx); err != nil || cmp.Diff([]storage.Revocation{r}, unswept) != "" {
			t.Fatalf("unswept there: %+v, %v; revoked here: %+v", unswept, err, r)
		}
		if n, err := there.Sweep(ctx, r, nil); n.Grants != 1 || err != nil {
			t.Fatalf("sweep there: %+v, %v", n, err)
		}
	}
}

func TestOfConcurrentSwapsOverTwoStoresOneSucceeds(t *testing.T) {
	ctx, s := t.Context(), pair(t)
	g := newGrant("alice", 1)
	if err := s[0].CreateGrant(ctx, g); err != nil {
		t.Fatal(err)
	}
	for round := range 10 {
		var wg sync.WaitGroup
		won := make(chan storage.Grant, 50)
		for i := range 50 {
			next := g
			next.Generation++
			next.Access, next.Refresh = storage.Digest{byte(round), byte(i), 2}, storage.Digest{byte(round), byte(i), 1}
			wg.Go(func() {
				switch err := s[i%2].SwapGrant(ctx, g, next, storage.Retry{}); {
				case err == nil:
					won <- next
				case !errors.Is(err, storage.ErrConflict):
					t.Errorf("swap: %v", err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("round %d: %d swaps succeeded", round, len(won))
		}
		g = <-won
		for i := range s {
			if got, err := s[i].LoadGrant(ctx, g.ID); err != nil || got.Refresh != g.Refresh {
				t.Fatalf("round %d: store %d: %v, %v", round, i, got.Refresh, err)
			}
		}
	}
}

func TestTwoBusyWritersBothGetTheirTurn(t *testing.T) {
	s := pair(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 100 {
				if err := s[i%2].CreateGrant(t.Context(), newGrant("alice", 1)); err != nil {
					t.Errorf("store %d: %v", i%2, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := rows(t, s[0], "SELECT count(*) FROM grants"); n != 1600 {
		t.Errorf("%d grants of 1600", n)
	}
}

func TestManyMayOpenANewFileAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grantd.db")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(s.Ping(t.Context()), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// A process that stopped in a transaction must not make calls hang. Writes soon
// fail as unavailable, each waiting only its turn, and reads go on.
func TestALockedFileFailsWritesSoonAndNoReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grantd.db")
	s := open(t, path)
	g := newGrant("alice", 1)
	if err := s.CreateGrant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	unlock := lock(t, path)
	var wg sync.WaitGroup
	began := time.Now()
	for range 20 {
		wg.Go(func() {
			if err := s.DeleteGrant(t.Context(), g.ID); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("delete: got %v, want %v", err, storage.ErrUnavailable)
			}
		})
	}
	for time.Since(began) < maxBusy/2 { // while the writes wait
		if _, err := s.LoadGrant(t.Context(), g.ID); err != nil {
			t.Errorf("load: %v", err)
		}
	}
	wg.Wait()
	if took := time.Since(began); took > 3*maxBusy {
		t.Errorf("the writes took %v", took)
	}
	unlock()
	if err := s.DeleteGrant(t.Context(), g.ID); err != nil {
		t.Errorf("delete after the lock was released: %v", err)
	}
}

// lock takes the write lock of the file, and holds it until unlock is called.
func lock(t *testing.T, path string) (unlock func()) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(c.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	}
}
