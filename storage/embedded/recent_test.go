package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/storagetest"
)

// kept creates a grant and loads it, so that the store keeps it in memory.
func kept(t *testing.T, s *Store, userID string) storage.Grant {
	t.Helper()
	g := newGrant(userID, 1)
	if err := s.CreateGrant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	keptAgain(t, s, g.ID)
	return g
}

func keptAgain(t *testing.T, s *Store, id storage.GrantID) {
	t.Helper()
	if _, err := s.LoadGrant(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, found, _ := s.recent.get(id); !found {
		t.Fatal("the grant is not kept")
	}
}

func TestAKeptGrantIsForgottenByEveryCommit(t *testing.T) {
	commits := map[string]func(context.Context, *Store, storage.Grant) error{
		"a revocation of its user": func(ctx context.Context, s *Store, g storage.Grant) error {
			_, err := s.Revoke(ctx, storage.Target{UserID: g.UserID})
			return err
		},
		"its end": func(ctx context.Context, s *Store, g storage.Grant) error { return s.DeleteGrant(ctx, g.ID) },
		"a swap": func(ctx context.Context, s *Store, g storage.Grant) error {
			next := successor(g)
			return s.SwapGrant(ctx, g, next, storage.Retry{})
		},
	}
	for name, commit := range commits {
		for who, writer := range []string{"the same store", "another store"} {
			t.Run(name+" by "+writer, func(t *testing.T) {
				s := pair(t)
				g := kept(t, s[0], "alice")
				if err := commit(t.Context(), s[who], g); err != nil {
					t.Fatal(err)
				}
				got, err := s[0].LoadGrant(t.Context(), g.ID)
				if err == nil && got.Generation == g.Generation {
					t.Error("the grant is as it was before")
				}
				if err != nil && !errors.Is(err, storage.ErrNotFound) {
					t.Error(err)
				}
			})
		}
	}
}

// A grant that was read before a commit must not be kept as if it was read
// after it.
func TestAGrantReadBesideACommitIsNotKept(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "grantd.db"))
	g := kept(t, s, "alice")
	_, _, before := s.recent.get(g.ID)
	if err := s.DeleteGrant(t.Context(), g.ID); err != nil {
		t.Fatal(err)
	}
	s.recent.keep(g, before)
	if _, err := s.LoadGrant(t.Context(), g.ID); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a deleted grant: %v", err)
	}
}

func TestAKeptGrantExpires(t *testing.T) {
	clock := storagetest.NewClock()
	s := open(t, filepath.Join(t.TempDir(), "grantd.db"), WithClock(clock.Now))
	g := newGrant("alice", 1)
	now := clock.Now()
	g.Created, g.Issued, g.AccessExpiry, g.RefreshExpiry, g.End = now, now, now.Add(time.Minute), now.Add(time.Minute), now.Add(time.Minute)
	if err := s.CreateGrant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	keptAgain(t, s, g.ID)
	clock.Advance(time.Minute - time.Millisecond)
	keptAgain(t, s, g.ID)
	clock.Advance(time.Millisecond)
	if _, err := s.LoadGrant(t.Context(), g.ID); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("an expired grant: %v", err)
	}
}

// The second store of the pair still has the index open.
func TestAClosedStoreAnswersNothingThatItKept(t *testing.T) {
	s := pair(t)[0]
	g := kept(t, s, "alice")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.LoadGrant(gone, g.ID); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a caller who is gone: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, found, _ := s.recent.get(g.ID); !found {
		t.Fatal("the grant is not kept")
	}
	if _, err := s.LoadGrant(t.Context(), g.ID); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a closed store: %v", err)
	}
}

// The stores of a process share the open file of the index: closing it for one
// would drop the locks of the other.
func TestAStoreKeepsGrantsWhenAnotherOfTheSameFileCloses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grantd.db")
	s, other := open(t, path), open(t, path)
	g := kept(t, s, "alice")
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	keptAgain(t, s, g.ID)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.recent.index.file.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the index is open still: %v", err)
	}
	if n := len(indexes.open); n != 0 {
		t.Errorf("%d indexes are open still", n)
	}
}

// seesItsOwnCommits checks that the store sees its own deletion of a grant, whatever
// file another store of the process has open at that path.
func seesItsOwnCommits(t *testing.T, s *Store) {
	t.Helper()
	g := kept(t, s, "bob")
	if err := s.DeleteGrant(t.Context(), g.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.LoadGrant(t.Context(), g.ID); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a deleted grant: %v", err)
	}
}

func TestAStoreOfAFileThatTookAnothersPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grantd.db")
	old := open(t, path)
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+end, path+".old"+end); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, path)
	seesItsOwnCommits(t, s)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	seesItsOwnCommits(t, s)
}

// A store that closes first closes its connections, and with them the index file
// disappears. Only then does it release its index.
func TestAStoreThatOpensWhileTheLastOneCloses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grantd.db")
	last := open(t, path)
	index, err := openIndex(path) // while the test holds this, the index isn't released
	if err != nil {
		t.Fatal(err)
	}
	if err := last.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	seesItsOwnCommits(t, s)
	if err := index.close(); err != nil {
		t.Fatal(err)
	}
	seesItsOwnCommits(t, s)
}

// If the path is a link, the index is beside the file that the link names.
func TestAStoreThatALinkNames(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(filepath.Join(dir, "grantd.db"), link); err != nil {
		t.Fatal(err)
	}
	open(t, filepath.Join(dir, "grantd.db"))
	seesItsOwnCommits(t, open(t, link))
}

// The index is tried with a commit, which can't be made while another writer holds the
// file for long. The store then keeps no grants, but is as good as ever. It doesn't
// close the index, since that would drop its locks.
func TestAStoreThatCouldNotTryItsIndexKeepsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grantd.db")
	s := open(t, path)
	c := <-s.writers
	unlock := lock(t, path)
	r, err := newRecent(path, c)
	unlock()
	s.writers <- c
	if err != nil {
		t.Fatal(err)
	}
	if r.index.last() == none {
		t.Error("the index is closed, though the store is open")
	}
	_, _, now := r.get(storage.GrantID{})
	if r.keep(newGrant("alice", 1), now); len(r.grants) != 0 {
		t.Error("a grant is kept")
	}
	if err := r.close(); err != nil {
		t.Error(err)
	}
}

// On some file systems a commit may be visible only to processes that have
// mapped the index into memory.
func TestAnIndexThatDoesNotFollowIsNotTrusted(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "grantd.db"))
	c := <-s.writers
	defer func() { s.writers <- c }()
	if !s.recent.index.follows(c) {
		t.Error("the index of the store doesn't follow")
	}
	was, err := os.ReadFile(s.recent.index.path + "-shm")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "shm")
	if err := os.WriteFile(copied, was, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(copied)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if (&walIndex{file: f}).follows(c) {
		t.Error("one that stays as it is does")
	}
}

func TestAHeaderThatIsBeingWrittenIsNoCommit(t *testing.T) {
	whole := make([]byte, 96)
	whole[8], whole[8+48] = 1, 1 // the count of commits
	whole[initialised], whole[initialised+48] = 1, 1
	torn := append([]byte{}, whole...)
	torn[8+48] = 2
	unused := append([]byte{}, whole...)
	unused[initialised], unused[initialised+48] = 0, 0
	for name, c := range map[string]struct {
		header []byte
		known  bool
	}{
		"whole":           {whole, true},
		"torn":            {torn, false},
		"not initialised": {unused, false},
		"short":           {whole[:95], false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "index")
			if err := os.WriteFile(path, c.header, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got := (&walIndex{file: f}).last() != none; got != c.known {
				t.Errorf("known: %v", got)
			}
		})
	}
}

func TestOnlySoManyGrantsAreKept(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "grantd.db"))
	g := kept(t, s, "alice")
	_, _, now := s.recent.get(g.ID)
	for range maxRecent + 1 {
		s.recent.keep(storage.Grant{ID: storage.NewGrantID("alice")}, now)
	}
	if n := len(s.recent.grants); n != maxRecent {
		t.Errorf("%d grants are kept", n)
	}
}

// swapVar holds the path of a store with one grant. The test binary, run again
// as a child, swaps that grant up to generation swaps.
const (
	swapVar = "GRANTD_EMBEDDED_SWAP"
	swaps   = 1000
)

// swapOften swaps the grant, and prints each generation once its swap has
// returned.
func swapOften(path string) {
	ctx := context.Background()
	s, err := Open(path)
	if err != nil {
		fmt.Println("failed:", err)
		return
	}
	grants, _, err := s.ListGrants(ctx, storage.Target{UserID: "alice"}, "", 1)
	if err != nil || len(grants) != 1 {
		fmt.Println("failed:", len(grants), err)
		return
	}
	for g := grants[0]; g.Generation < swaps; {
		next := successor(g)
		if err := s.SwapGrant(ctx, g, next, storage.Retry{}); err != nil {
			fmt.Println("failed:", err)
			return
		}
		fmt.Println(next.Generation)
		g = next
	}
}

// A load never misses a swap that another process acknowledged before the load
// began.
func TestNoLoadMissesWhatAnotherProcessAcknowledged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grantd.db")
	s := open(t, path)
	g := kept(t, s, "alice")
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), swapVar+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged atomic.Uint32
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			n, err := strconv.ParseUint(lines.Text(), 10, 32)
			if err != nil {
				t.Errorf("the child printed %q", lines.Text())
				return
			}
			acknowledged.Store(uint32(n))
		}
	}()
	loads, hits := 0, 0
	for running := true; running; loads++ {
		select {
		case <-ended:
			running = false
		default:
		}
		if _, found, _ := s.recent.get(g.ID); found {
			hits++
		}
		least := acknowledged.Load()
		got, err := s.LoadGrant(t.Context(), g.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got.Generation < least {
			t.Fatalf("generation %d, after %d was acknowledged", got.Generation, least)
		}
	}
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d loads, %d of them of what was kept", loads, hits)
	if hits == 0 {
		t.Error("nothing was kept")
	}
	if got, err := s.LoadGrant(t.Context(), g.ID); err != nil || got.Generation != swaps {
		t.Errorf("at the end: generation %d, %v", got.Generation, err)
	}
}
