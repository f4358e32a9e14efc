package embedded

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
	"github.com/grantd/grantd/storage/storagetest"
)

func TestOnlyTheOwnerMayReadWhatOpenMakes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "name with % ? # and é.db")
	s := open(t, path)
	if err := s.CreateGrant(t.Context(), newGrant("alice", 1)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{
		dir: 0o700, filepath.Dir(dir): 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600,
	} {
		info, err := os.Stat(name)
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
}

func TestExistingMakesNoFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	path := filepath.Join(dir, "grantd.db")
	_, err := Open(path, Existing())
	if !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), path) {
		t.Errorf("no file: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its directory: %v", err)
	}
	g := newGrant("alice", 1)
	if err := open(t, path).CreateGrant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, path, Existing()).LoadGrant(t.Context(), g.ID); err != nil {
		t.Errorf("a file that is there: %v", err)
	}
}

func TestAReopenedFileHasEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grantd.db")
	g := newGrant("alice", 1)
	for range 3 {
		s := open(t, path)
		if err := s.CreateGrant(t.Context(), g); err != nil { // repeats the same call from the second round on
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := open(t, path).LoadGrant(t.Context(), g.ID); err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesWhatIsNotItsOwn(t *testing.T) {
	change := func(statement string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			s := open(t, path)
			err := s.write(t.Context(), func(c *conn) error {
				_, err := c.exec(statement)
				return err
			})
			if err = errors.Join(err, s.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, prepare := range map[string]func(t *testing.T, path string){
		"a newer grantd":    change(fmt.Sprintf("PRAGMA user_version = %d", len(steps)+1)),
		"not one of grantd": change("PRAGMA user_version = 0"),
		"not a database":    func(t *testing.T, path string) { overwrite(t, path, strings.Repeat("no database ", 1000)) },
		"is a directory":    func(t *testing.T, path string) { os.Mkdir(path, 0o700) },
		"not a directory":   func(t *testing.T, path string) { overwrite(t, filepath.Dir(path)+"/x", "") },
		"no such directory": func(*testing.T, string) {},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "grantd.db")
			switch prepare(t, path); name {
			case "not a directory":
				path = filepath.Join(filepath.Dir(path), "x", "grantd.db")
			case "no such directory":
				path = "/proc/nowhere/grantd.db"
			}
			s, err := Open(path)
			if err == nil {
				s.Close()
				t.Fatal("the store opened")
			}
			if !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %q, want one that names the file and wraps %v", err, storage.ErrUnavailable)
			}
			if strings.Contains(name, "grantd") && !strings.Contains(err.Error(), name) {
				t.Errorf("got %q, want one that says %q", err, name)
			}
		})
	}
}

func TestOpenBringsTheFileOfAnOlderGrantdUpToDate(t *testing.T) {
	now := steps
	defer func() { steps = now }()
	for version := 1; version < len(now); version++ {
		path := filepath.Join(t.TempDir(), "grantd.db")
		steps = now[:version]
		s := open(t, path)
		if err := errors.Join(s.CreateUser(t.Context(), storage.User{Name: "alice"}), s.Close()); err != nil {
			t.Fatal(err)
		}
		steps = now
		for range 2 {
			s = open(t, path)
			if _, err := s.LoadUser(t.Context(), "alice"); err != nil {
				t.Errorf("from version %d: the user: %v", version, err)
			}
			if err := s.AppendAudit(t.Context(), storage.AuditEvent{Action: storage.ActSignIn}); err != nil {
				t.Errorf("from version %d: the audit trail: %v", version, err)
			}
			if n := rows(t, s, "SELECT user_version FROM pragma_user_version"); n != len(now) {
				t.Errorf("from version %d: it is of version %d now", version, n)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// RFC 6749 sections 10.3 and 10.4: a reader of the file finds nothing that can
// be presented as a token.
func TestTheFileHoldsNoTokenAndNoKey(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "grantd.db")
	s := open(t, path)
	sealer, err := opaque.NewSealer(bytes.Repeat([]byte("deployment secret "), 2))
	if err != nil {
		t.Fatal(err)
	}
	key := opaque.NewKey(1)
	keys, err := opaque.NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateKey(ctx, storage.Key{ID: 1, Sealed: sealer.Seal(key)}); err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]byte{"deployment key": key.Data[:], "deployment secret": []byte("deployment secret")}
	for range 20 {
		g := newGrant("alice", 1)
		for kind, digest := range map[opaque.Kind]*storage.Digest{opaque.Access: &g.Access, opaque.Refresh: &g.Refresh} {
			text, d := keys.Mint(kind, g.ID, 1)
			*digest = d
			secrets[text] = []byte(text)
			raw, err := base64.RawURLEncoding.DecodeString(text[4:])
			if err != nil {
				t.Fatal(err)
			}
			secrets["the secret of "+text] = raw[21:45] // see package opaque
		}
		next := successor(g)
		err := errors.Join(s.CreateGrant(ctx, g), s.SwapGrant(ctx, g, next, storage.Retry{}))
		if err != nil {
			t.Fatal(err)
		}
	}
	content := onDisk(t, path)
	if !bytes.Contains(content, []byte("alice")) {
		t.Fatal("not even a user's name is found: this test looks in the wrong place")
	}
	for name, secret := range secrets {
		if bytes.Contains(content, secret) {
			t.Errorf("the file holds %s", name)
		}
	}
}

// onDisk returns the bytes of the file and of its log.
func onDisk(t *testing.T, path string) []byte {
	t.Helper()
	var all []byte
	for _, name := range []string{path, path + "-wal"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

func TestAClosedRetryWindowLeavesNoMixInTheFile(t *testing.T) {
	ctx, path, clock := t.Context(), filepath.Join(t.TempDir(), "grantd.db"), storagetest.NewClock()
	s := open(t, path, WithClock(clock.Now))
	g := newGrant("alice", 1)
	next := successor(g)
	r := storage.Retry{Generation: 2, Mix: [16]byte([]byte("the secret mix__")), Until: clock.Now().Add(time.Second)}
	if err := errors.Join(s.CreateGrant(ctx, g), s.SwapGrant(ctx, g, next, r)); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Second)
	if n, err := s.Clean(ctx); n != 1 || err != nil {
		t.Fatalf("Clean: %d, %v", n, err)
	}
	if n := rows(t, s, "SELECT count(retry) FROM grants"); n != 0 {
		t.Errorf("%d retries are left", n)
	}
	if err := s.Close(); err != nil { // merges the log into the file
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(content, r.Mix[:]) {
		t.Error("the file still holds the mix")
	}
}

func TestCleanTakesWhatHasExpiredAndNothingElse(t *testing.T) {
	ctx, clock := t.Context(), storagetest.NewClock()
	s := open(t, filepath.Join(t.TempDir(), "grantd.db"), WithClock(clock.Now))
	const expired = 2*batch + 7
	for i := range expired + 3 {
		g := newGrant(fmt.Sprint("user", i), 1)
		if i >= expired {
			g.End, g.RefreshExpiry = g.End.Add(time.Hour), g.RefreshExpiry.Add(time.Hour)
		}
		if err := s.CreateGrant(ctx, g); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{0, expired, 3} {
		if n, err := s.Clean(ctx); n != want || err != nil {
			t.Fatalf("Clean took %d, want %d; %v", n, want, err)
		}
		clock.Advance(24*time.Hour + time.Minute)
	}
	if n := rows(t, s, "SELECT count(*) FROM grants"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestCloseFinishesTheWritesThatWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grantd.db")
	s := open(t, path)
	unlock := lock(t, path) // makes all of them wait
	grants := make([]storage.Grant, 50)
	results := make([]error, len(grants))
	var wg sync.WaitGroup
	for i := range grants {
		grants[i] = newGrant("alice", 1)
		wg.Go(func() { results[i] = s.CreateGrant(t.Context(), grants[i]) })
	}
	time.Sleep(50 * time.Millisecond)
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	time.Sleep(50 * time.Millisecond)
	unlock()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	again := open(t, path)
	for i, err := range results {
		if err != nil {
			t.Errorf("write %d: %v", i, err)
		} else if _, err := again.LoadGrant(t.Context(), grants[i].ID); err != nil {
			t.Errorf("write %d was acknowledged: %v", i, err)
		}
	}
}

// One write that fails must not fail those that share its transaction.
func TestAFailingWriteFailsAlone(t *testing.T) {
	ctx := t.Context()
	s := open(t, filepath.Join(t.TempDir(), "grantd.db"))
	const n = 20
	grants := make([]storage.Grant, n)
	c := <-s.writers
	var wg sync.WaitGroup
	for i := range n {
		grants[i] = newGrant("alice", 1)
		wg.Go(func() {
			if i%5 == 0 {
				err := s.write(ctx, func(c *conn) error {
					_, err := c.exec(`INSERT INTO keys VALUES (1, NULL)`) // record is NOT NULL
					return err
				})
				if !errors.Is(err, storage.ErrUnavailable) {
					t.Errorf("the write that breaks a constraint: %v", err)
				}
				return
			}
			if err := s.CreateGrant(ctx, grants[i]); err != nil {
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond) // by now all writes but the first wait as one group
	s.writers <- c
	wg.Wait()
	if kept := rows(t, s, "SELECT count(*) FROM grants"); kept != n-n/5 {
		t.Errorf("%d grants, want %d", kept, n-n/5)
	}
}

func TestACallerThatGoesAwayWaitsForNobody(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "grantd.db"))
	c := <-s.writers
	defer func() { s.writers <- c }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := s.DeleteGrant(ctx, storage.GrantID{})
	if !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v and %v", err, storage.ErrUnavailable, context.DeadlineExceeded)
	}
}

// A store whose file was damaged is unavailable. It never says that a record is
// gone.
func TestADamagedFileIsUnavailable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grantd.db")
	s := open(t, path)
	for range 200 {
		if err := s.CreateGrant(t.Context(), newGrant("alice", 1)); err != nil {
			t.Fatal(err)
		}
	}
	id := newGrant("alice", 1).ID
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	for n := int64(1); n < 40; n++ {
		f.WriteAt(bytes.Repeat([]byte{0xA5}, page/2), n*page)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Open(path)
	if err == nil {
		_, err = s.LoadGrant(t.Context(), id)
		s.Close()
	}
	if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrNotFound) {
		t.Errorf("got %v, want %v", err, storage.ErrUnavailable)
	}
}
