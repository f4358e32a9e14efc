package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Backup copies the store in the file from, as it is at one instant, into a new
// file to, which only its owner may read (mode 0600). Other processes may use
// the store meanwhile and aren't held up. The store may be of any version, and
// nothing is written to it.
//
// If a Store of this process has the file from open, it must not be closed
// meanwhile, or Backup loses its locks.
//
// The file to appears once all of it is on disk. Backup returns fs.ErrExist when to exists
// already, an *fs.PathError when to can't be written, and an error that wraps
// storage.ErrUnavailable when from can't be read or isn't a grantd store.
func Backup(ctx context.Context, from, to string) error {
	path, err := filepath.Abs(from)
	if err != nil {
		return unavailable(err)
	}
	return fresh(to, func(tmp string) error { return copyInto(ctx, path, tmp) })
}

// Restore makes a new store at to from the backup at from. It makes missing
// directories (mode 0700). It calls prepare with the new store before others
// can see it.
//
// Restore returns fs.ErrExist when to exists already, or a log beside it, which
// SQLite would take for the log of the new store. It returns an *fs.PathError
// when to can't be written, and an error that wraps storage.ErrUnavailable when
// from isn't a store that this version can read.
func Restore(ctx context.Context, from, to string, prepare func(*Store) error) error {
	path, err := filepath.Abs(from)
	if err != nil {
		return unavailable(err)
	}
	for _, companion := range []string{"-wal", "-shm", "-journal"} {
		if _, err := os.Lstat(to + companion); err == nil {
			return fmt.Errorf("%s: %w", to+companion, fs.ErrExist)
		}
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return fresh(to, func(tmp string) error {
		if err := copyInto(ctx, path, tmp); err != nil {
			return err
		}
		s, err := Open(tmp)
		if err != nil {
			return err
		}
		return errors.Join(prepare(s), s.Close())
	})
}

// fresh makes the file at path (mode 0600). It calls fill with a temporary file, and
// gives that the name path once it is on disk. It returns fs.ErrExist when path
// exists, and an *fs.PathError when it can't be written.
func fresh(path string, fill func(tmp string) error) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // of mode 0600
	if err != nil {
		return err
	}
	tmp := f.Name()
	defer func() { _ = os.Remove(tmp) }() // only path matters
	if err := f.Close(); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		if code(err) == sqlite3.SQLITE_FULL { // only the copy needs room
			return &fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
		}
		return err
	}
	if err := errors.Join(syncPath(tmp), os.Link(tmp, path)); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

// copyInto copies into to, which must exist and be empty. VACUUM reads all in
// one transaction and copies rows, not pages: the copy has no deleted data, and
// a damaged page is noticed.
func copyInto(ctx context.Context, from, to string) error {
	uri := url.URL{Scheme: "file", Path: from, RawQuery: url.Values{"mode": {copyMode(from)}, "_pragma": {"busy_timeout(250)"}}.Encode()}
	connector, err := sqlite.NewConnector(uri.String())
	if err != nil {
		return unavailable(err)
	}
	db := sql.OpenDB(connector)
	err = ofGrantd(ctx, db)
	if err == nil {
		_, err = db.ExecContext(ctx, "VACUUM INTO ?", to)
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("reading the store %s: %w", from, unavailable(err))
	}
	return nil
}

// copyMode returns the mode in which to open the file at path so that the files beside
// it don't change. If there is no log (-wal), reading makes one with its index (-shm),
// and only a connection that may write removes them at its end: "rw". If there is a
// log, because a server runs or was killed, a connection that may write would merge it
// into the file: "ro".
func copyMode(path string) string {
	path, err := filepath.EvalSymlinks(path) // beside the file itself
	if err != nil {
		return "ro"
	}
	if _, err := os.Lstat(path + "-wal"); errors.Is(err, fs.ErrNotExist) {
		return "rw"
	}
	return "ro"
}

func ofGrantd(ctx context.Context, db *sql.DB) error {
	const query = `SELECT user_version > 0 AND EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'grants') FROM pragma_user_version`
	var is bool
	if err := db.QueryRowContext(ctx, query).Scan(&is); err != nil {
		return err
	}
	if !is {
		return errForeign
	}
	return nil
}

// syncPath syncs a file, or the names in a directory, to disk.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
