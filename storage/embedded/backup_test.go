package embedded

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/storage"
)

// A backup that is taken during sign-ins is a complete store with every grant
// that was acknowledged before the backup began.
func TestABackupIsConsistentWhileOthersWrite(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, filepath.Join(dir, "grantd.db"))
	var before []storage.GrantID
	for range 300 {
		g := newGrant("alice", 1)
		if err := s.CreateGrant(ctx, g); err != nil {
			t.Fatal(err)
		}
		before = append(before, g.ID)
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := s.CreateGrant(ctx, newGrant("bob", 1)); err != nil {
					t.Errorf("a sign-in during the backup: %v", err)
					return
				}
			}
		})
	}
	path := filepath.Join(dir, "backup.db")
	err := Backup(ctx, filepath.Join(dir, "grantd.db"), path)
	close(stop)
	writers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup has mode %v, %v", info.Mode(), err)
	}
	copied := open(t, path)
	for _, id := range before {
		if _, err := copied.LoadGrant(ctx, id); err != nil {
			t.Fatalf("a grant that was acknowledged before: %v", err)
		}
	}
	if n := rows(t, copied, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"); n != 1 {
		t.Error("the backup is damaged")
	}
	if n, m := rows(t, copied, "SELECT count(*) FROM grants"), rows(t, s, "SELECT count(*) FROM grants"); n < len(before) || n > m {
		t.Errorf("%d grants in the backup, %d in the store", n, m)
	}
}

// A backup needs no server that has the store open, and doesn't migrate the
// store, because a backup is made before an upgrade.
func TestABackupOfAnOlderStoreChangesNothing(t *testing.T) {
	from := version1(t)
	to := filepath.Join(t.TempDir(), "backup.db")
	before, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := Backup(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(from)
	if err != nil || string(before) != string(after) {
		t.Errorf("the store was changed, %v", err)
	}
	if d := cmp.Diff([]int{0, 1, 2, 3, 5}, living(t, open(t, to, laterOn))); d != "" {
		t.Errorf("grants that live in the backup (-want +got):\n%s", d)
	}
}

// The files beside the store stay as they are too. There are none if the server was
// stopped. If it was killed there is the log, which only the next server merges into the
// file.
func TestABackupLeavesNothingBesideTheStore(t *testing.T) {
	from := filepath.Join(t.TempDir(), "grantd.db")
	s := open(t, from)
	g := newGrant("alice", 1)
	if err := s.CreateGrant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	killed := t.TempDir() // a copy of the files as a killed server leaves them
	if err := os.CopyFS(killed, os.DirFS(filepath.Dir(from))); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir  string
		want []string
	}{
		"stopped": {filepath.Dir(from), []string{"grantd.db"}},
		"killed":  {killed, []string{"grantd.db", "grantd.db-shm", "grantd.db-wal"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := contents(t, c.dir)
			to := filepath.Join(t.TempDir(), "backup.db")
			for range 2 {
				if err := Backup(t.Context(), filepath.Join(c.dir, "grantd.db"), to); err != nil {
					t.Fatal(err)
				}
				if _, err := open(t, to).LoadGrant(t.Context(), g.ID); err != nil {
					t.Errorf("the grant isn't in the backup: %v", err)
				}
				to += "2"
			}
			after := contents(t, c.dir)
			if got := slices.Sorted(maps.Keys(after)); !slices.Equal(got, c.want) {
				t.Errorf("there are %q, want %q", got, c.want)
			}
			for file, text := range before {
				if !strings.HasSuffix(file, "-shm") && after[file] != text { // in the index of the log (-shm) readers mark their place
					t.Errorf("%s was changed", file)
				}
			}
		})
	}
}

// contents returns the contents of the files in a directory, by name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[e.Name()] = string(text)
	}
	return found
}

func TestBackupRefusesToOverwriteAndWhatIsNoStore(t *testing.T) {
	dir := t.TempDir()
	store, taken := filepath.Join(dir, "grantd.db"), filepath.Join(dir, "taken")
	if err := open(t, store).Close(); err != nil {
		t.Fatal(err)
	}
	overwrite(t, taken, "precious")
	if err := Backup(t.Context(), store, taken); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if text, err := os.ReadFile(taken); string(text) != "precious" {
		t.Errorf("the file that was there: %q, %v", text, err)
	}
	if err := Backup(t.Context(), store, filepath.Join(dir, "no", "such")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into no directory: %v", err)
	}
	for name, text := range map[string]string{"empty": "", "text": "no database"} {
		from := filepath.Join(dir, name)
		overwrite(t, from, text)
		if err := Backup(t.Context(), from, filepath.Join(dir, "backup")); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("of %s: %v", name, err)
		}
	}
	if err := Backup(t.Context(), filepath.Join(dir, "nothing"), filepath.Join(dir, "backup")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("of nothing: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 4 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	if hidden, err := filepath.Glob(filepath.Join(dir, ".new-*")); err != nil || len(hidden) != 0 {
		t.Errorf("left behind: %q, %v", hidden, err)
	}
}

func TestRestoreMakesAStoreOfABackup(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	backup, to := filepath.Join(dir, "backup.db"), filepath.Join(dir, "new", "grantd.db")
	s := open(t, filepath.Join(dir, "grantd.db"))
	g := newGrant("alice", 1)
	if err := errors.Join(s.CreateGrant(ctx, g), Backup(ctx, filepath.Join(dir, "grantd.db"), backup)); err != nil {
		t.Fatal(err)
	}
	prepared := false
	err := Restore(ctx, backup, to, func(s *Store) error {
		_, err := s.LoadGrant(ctx, g.ID)
		_, there := os.Stat(to)
		prepared = err == nil && errors.Is(there, fs.ErrNotExist)
		return err
	})
	if err != nil || !prepared {
		t.Fatalf("prepared: %v, %v", prepared, err)
	}
	if _, err := open(t, to).LoadGrant(ctx, g.ID); err != nil {
		t.Error(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "new", "*"))
	hidden, err2 := filepath.Glob(filepath.Join(dir, "new", ".new-*"))
	if err := errors.Join(err, err2); err != nil || len(names) != 3 || len(hidden) != 0 { // the store with -wal and -shm, since it is open
		t.Errorf("in the directory: %q %q, %v", names, hidden, err)
	}
}

// A log that a killed process left would be taken for the log of the restored
// file.
func TestRestoreRefusesWhereAStoreOrItsLogIs(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	backup, to := version1(t), filepath.Join(dir, "grantd.db")
	nothing := func(*Store) error { return nil }
	for _, name := range []string{"", "-wal", "-shm", "-journal"} {
		overwrite(t, to+name, "precious")
		if err := Restore(ctx, backup, to, nothing); !errors.Is(err, fs.ErrExist) {
			t.Errorf("with %q: %v", "grantd.db"+name, err)
		}
		if text, err := os.ReadFile(to + name); string(text) != "precious" {
			t.Errorf("grantd.db%s: %q, %v", name, text, err)
		}
		os.Remove(to + name)
	}
	newer(t, func() string { open(t, to).Close(); return to }())
	if err := Restore(ctx, to, filepath.Join(dir, "other.db"), nothing); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("of a newer version: %v", err)
	}
	failing := errors.New("failing")
	if err := Restore(ctx, backup, filepath.Join(dir, "other.db"), func(*Store) error { return failing }); !errors.Is(err, failing) {
		t.Errorf("with a preparation that fails: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "other.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a store was left: %v", err)
	}
}

// If the path is a link, the log is beside the file that the link names.
func TestBackupThroughALink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grantd.db")
	s := open(t, path)
	if err := s.CreateGrant(t.Context(), newGrant("alice", 1)); err != nil {
		t.Fatal(err)
	}
	killed := t.TempDir()
	if err := os.CopyFS(killed, os.DirFS(filepath.Dir(path))); err != nil {
		t.Fatal(err)
	}
	before := contents(t, killed)
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(filepath.Join(killed, "grantd.db"), link); err != nil {
		t.Fatal(err)
	}
	if err := Backup(t.Context(), link, filepath.Join(t.TempDir(), "backup.db")); err != nil {
		t.Fatal(err)
	}
	after := contents(t, killed)
	for _, name := range []string{"grantd.db", "grantd.db-wal"} { // readers may change the index of the log (-shm)
		if before[name] == "" || after[name] != before[name] {
			t.Errorf("%s had %d bytes, and has %d others", name, len(before[name]), len(after[name]))
		}
	}
}
