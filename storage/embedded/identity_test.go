package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/storagetest"
)

// moves are ways in which a store loses its file at path. Afterwards a store can be made
// or opened there.
var moves = map[string]func(t *testing.T, path string){
	"moved":                    func(t *testing.T, path string) { moveStore(t, path, path+".before") },
	"moved without its log":    func(t *testing.T, path string) { rename(t, path, path+".before") },
	"moved with its directory": func(t *testing.T, path string) { rename(t, filepath.Dir(path), filepath.Dir(path)+".before") },
	"its directory is a file": func(t *testing.T, path string) {
		rename(t, filepath.Dir(path), filepath.Dir(path)+".before")
		overwrite(t, filepath.Dir(path), "")
		t.Cleanup(func() { remove(t, filepath.Dir(path)) })
	},
	"deleted":                   func(t *testing.T, path string) { remove(t, path, path+"-wal", path+"-shm") },
	"deleted without its log":   func(t *testing.T, path string) { remove(t, path) },
	"its log deleted":           func(t *testing.T, path string) { remove(t, path+"-wal") },
	"the log's index deleted":   func(t *testing.T, path string) { remove(t, path+"-shm") },
	"its log and index deleted": func(t *testing.T, path string) { remove(t, path+"-wal", path+"-shm") },
	"replaced by a new store": func(t *testing.T, path string) {
		moveStore(t, path, path+".before")
		open(t, path)
	},
	"replaced by a copy": func(t *testing.T, path string) {
		copied := path + ".copy"
		if err := Backup(t.Context(), path, copied); err != nil {
			t.Fatal(err)
		}
		rename(t, copied, path)
	},
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func moveStore(t *testing.T, from, to string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		rename(t, from+suffix, to+suffix)
	}
}

func remove(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// inDirectory returns the path of a store in a directory that can be moved.
func inDirectory(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "lib", "grantd.db")
}

func wantMoved(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "moved, deleted or replaced") {
		t.Errorf("%s: %v", what, err)
	}
}

// writes has one write of every kind. None may be acknowledged if it went to a file
// that nobody will read.
var writes = map[string]func(context.Context, *Store, storage.Grant) error{
	"create": func(ctx context.Context, s *Store, _ storage.Grant) error {
		return s.CreateGrant(ctx, newGrant("bob", 1))
	},
	"swap": func(ctx context.Context, s *Store, g storage.Grant) error {
		next := successor(g)
		return s.SwapGrant(ctx, g, next, storage.Retry{})
	},
	"delete": func(ctx context.Context, s *Store, g storage.Grant) error { return s.DeleteGrant(ctx, g.ID) },
	"revoke": func(ctx context.Context, s *Store, g storage.Grant) error {
		_, err := s.Revoke(ctx, storage.Target{UserID: g.UserID})
		return err
	},
	"guess": func(ctx context.Context, s *Store, _ storage.Grant) error {
		_, err := s.SwapGuesses(ctx, storage.GuessKey{1}, nil, []byte{1}, time.Now().Add(time.Hour))
		return err
	},
	"user": func(ctx context.Context, s *Store, _ storage.Grant) error {
		return s.CreateUser(ctx, storage.User{Name: "bob"})
	},
}

// Not even the first write is acknowledged, though a read has checked the file
// just before.
func TestNoWriteIsAcknowledgedOnceTheFileIsGone(t *testing.T) {
	for how, move := range moves {
		for what, write := range writes {
			t.Run(how+"/"+what, func(t *testing.T) {
				path := inDirectory(t)
				s := open(t, path)
				g := kept(t, s, "alice")
				move(t, path)
				wantMoved(t, what, write(t.Context(), s, g))
				_, err := s.LoadGrant(t.Context(), g.ID)
				wantMoved(t, "load", err)
			})
		}
	}
}

func TestNoReadIsAnsweredASecondAfterTheFileIsGone(t *testing.T) {
	reads := map[string]func(context.Context, *Store, storage.Grant) error{
		"a grant that is kept": func(ctx context.Context, s *Store, g storage.Grant) error {
			_, err := s.LoadGrant(ctx, g.ID)
			return err
		},
		"a grant": func(ctx context.Context, s *Store, _ storage.Grant) error {
			_, err := s.LoadGrant(ctx, storage.GrantID{})
			return err
		},
		"a user": func(ctx context.Context, s *Store, _ storage.Grant) error {
			_, err := s.LoadUser(ctx, "nobody")
			return err
		},
		"a ping": func(ctx context.Context, s *Store, _ storage.Grant) error { return s.Ping(ctx) },
	}
	for how, move := range moves {
		for what, read := range reads {
			t.Run(how+"/"+what, func(t *testing.T) {
				path, clock := inDirectory(t), storagetest.NewClock()
				s := open(t, path, WithClock(clock.Now))
				g := kept(t, s, "alice")
				move(t, path)
				clock.Advance(time.Second)
				for range 3 {
					wantMoved(t, what, read(t.Context(), s, g))
				}
			})
		}
	}
}

func TestAStoreWhoseFileIsGoneIsDownAtOnce(t *testing.T) {
	for how, move := range moves {
		t.Run(how, func(t *testing.T) {
			path := inDirectory(t)
			s := open(t, path)
			if got := s.Health(t.Context()); got.State != storage.Healthy {
				t.Fatalf("health %+v before", got)
			}
			move(t, path)
			if got := s.Health(t.Context()); got.State != storage.Down {
				t.Errorf("health %+v", got)
			}
		})
	}
}

// A check of the file that hangs keeps only its own read waiting.
func TestReadsDoNotWaitForALookOfAnother(t *testing.T) {
	i := &identity{files: []opened{{path: filepath.Join(t.TempDir(), "none")}}}
	i.looking.Store(true)
	if err := i.check(lookEvery); err != nil {
		t.Errorf("while another read looks: %v", err)
	}
	i.looking.Store(false)
	for range 2 {
		if err := i.check(lookEvery); !errors.Is(err, errMoved) {
			t.Errorf("the next one: %v", err)
		}
	}
}

func TestAClockThatWasPutBackHidesNoMove(t *testing.T) {
	path, clock := inDirectory(t), storagetest.NewClock()
	s := open(t, path, WithClock(clock.Now))
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	moveStore(t, path, path+".before")
	clock.Advance(-time.Hour)
	wantMoved(t, "ping", s.Ping(t.Context()))
}

// A file that was moved away may have been used elsewhere. So it is trusted again only
// when it is opened anew, and then it has none of the refused writes.
func TestAFileThatComesBackIsTrustedOnceItIsOpenedAnew(t *testing.T) {
	path := inDirectory(t)
	s := open(t, path)
	g := kept(t, s, "alice")
	moveStore(t, path, path+".before")
	wantMoved(t, "delete", s.DeleteGrant(t.Context(), g.ID))
	moveStore(t, path+".before", path)
	wantMoved(t, "delete when it is back", s.DeleteGrant(t.Context(), g.ID))
	if got := s.Health(t.Context()); got.State != storage.Down {
		t.Errorf("health %+v when it is back", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, path).LoadGrant(t.Context(), g.ID); err != nil {
		t.Errorf("opened anew: %v", err)
	}
}

// Closing a store whose file was moved leaves the log of the new file alone.
func TestClosingAMovedStoreHarmsNotTheNewOne(t *testing.T) {
	path := inDirectory(t)
	s := open(t, path)
	old := kept(t, s, "alice")
	moveStore(t, path, path+".before")
	there := open(t, path)
	g := kept(t, there, "bob")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := there.Health(t.Context()); got.State != storage.Healthy {
		t.Errorf("health of the new one: %+v", got)
	}
	if _, err := open(t, path).LoadGrant(t.Context(), g.ID); err != nil {
		t.Errorf("the new one lacks what was written to it: %v", err)
	}
	if _, err := open(t, path+".before").LoadGrant(t.Context(), old.ID); err != nil {
		t.Errorf("the moved one lacks what was written to it: %v", err)
	}
}

func TestALinkThatLeadsElsewhereIsAMove(t *testing.T) {
	dir := t.TempDir()
	file, other, link := filepath.Join(dir, "a.db"), filepath.Join(dir, "b.db"), filepath.Join(dir, "grantd.db")
	open(t, other)
	open(t, file)
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	s := open(t, link)
	g := kept(t, s, "alice")
	remove(t, link)
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	wantMoved(t, "delete", s.DeleteGrant(t.Context(), g.ID))
}

func TestAStoreThatIsReplacedWhileItIsOpenedDoesNotOpen(t *testing.T) {
	path := inDirectory(t)
	open(t, path)
	i := &identity{}
	if err := i.add(path); err != nil {
		t.Fatal(err)
	}
	moveStore(t, path, path+".before")
	open(t, path)
	wantMoved(t, "the end of opening", i.addLog(path))
}

// When the path can't be examined, the file may still be there: the store is
// unavailable until the path can be examined again.
func TestAPathThatCannotBeLookedAtIsUnavailableMeanwhile(t *testing.T) {
	path, clock := inDirectory(t), storagetest.NewClock()
	dir := filepath.Dir(path)
	s := open(t, path, WithClock(clock.Now))
	g := kept(t, s, "alice")
	rename(t, dir, dir+".before")
	if err := os.Symlink(dir, dir); err != nil { // a loop
		t.Fatal(err)
	}
	clock.Advance(time.Second)
	for range 3 {
		if _, err := s.LoadGrant(t.Context(), g.ID); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("load: %v", err)
		}
	}
	if err := s.CreateUser(t.Context(), storage.User{Name: "bob"}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("create: %v", err)
	}
	if got := s.Health(t.Context()); got.State != storage.Down {
		t.Errorf("health %+v", got)
	}
	remove(t, dir)
	rename(t, dir+".before", dir)
	if got := s.Health(t.Context()); got.State != storage.Healthy {
		t.Errorf("health %+v when it is over", got)
	}
	keptAgain(t, s, g.ID)
	if err := s.CreateUser(t.Context(), storage.User{Name: "bob"}); err != nil {
		t.Errorf("create when it is over: %v", err)
	}
}

// Whatever leaves the file in its place doesn't count as a move.
func TestWhatLeavesTheFileInItsPlaceIsNoMove(t *testing.T) {
	path := inDirectory(t)
	s := open(t, path)
	sql := func(statement string) func() error {
		return func() error {
			c := <-s.writers
			defer func() { s.writers <- c }()
			_, err := c.exec(statement)
			return err
		}
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"VACUUM", sql("VACUUM")},
		{"a checkpoint", sql("PRAGMA wal_checkpoint(TRUNCATE)")},
		{"a backup", func() error { return Backup(t.Context(), path, path+".backup") }},
		{"another store that opens and closes", func() error {
			other, err := Open(path)
			if err != nil {
				return err
			}
			return errors.Join(other.CreateGrant(t.Context(), newGrant("alice", 1)), other.Close())
		}},
		{"another mode", func() error { return os.Chmod(path, 0o640) }},
		{"a store restored elsewhere", func() error {
			return Restore(t.Context(), path+".backup", path+".restored", func(s *Store) error { return s.Ping(t.Context()) })
		}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if err := s.identity.look(); err != nil {
			t.Fatalf("after %s: %v", step.name, err)
		}
		kept(t, s, "alice")
	}
}

// While many write and the file is moved, no write that begins after the move
// is acknowledged.
func TestWritersBesideAMove(t *testing.T) {
	path := inDirectory(t)
	s := open(t, path)
	var moved atomic.Bool
	var written atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				late := moved.Load()
				err := s.CreateGrant(t.Context(), newGrant("alice", 1))
				if late && err == nil {
					t.Error("a write that began after the move was acknowledged")
				}
				if err != nil {
					wantMoved(t, "create", err)
					return
				}
				written.Add(1)
			}
		})
	}
	for deadline := time.Now().Add(10 * time.Second); written.Load() < 100 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	moveStore(t, path, path+".before")
	moved.Store(true)
	wg.Wait()
	if n := rows(t, open(t, path+".before"), "SELECT count(*) FROM grants"); int64(n) < written.Load() {
		t.Errorf("%d grants of %d that were acknowledged", n, written.Load())
	}
}
