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

// Backup writes the store in the file at from, as it is at one instant, into a new
// file at to, which only its owner may read (mode 0600). Other processes use the
// store meanwhile and aren't held up. The store may be of any version, and nothing
// is written to it.
//
// Where a Store of this process has the file at from open, it must not be closed
// meanwhile: that drops the locks of Backup.
//
// The file at to appears once all of it is on disk. Backup returns fs.ErrExist when
// there is one already, an *fs.PathError when to can't be written, and an error that wraps
// storage.ErrUnavailable when from can't be read or isn't a grantd store.
func Backup(ctx context.Context, from, to string) error {
	path, err := filepath.Abs(from)
	if err != nil {
		return unavailable(err)
	}
	return fresh(to, func(tmp string) error { return copyInto(ctx, path, tmp) })
}

// Restore makes a new store at to, in directories that it makes (mode 0700), of
// the backup at from. prepare is called with it before it is there for others.
//
// It returns fs.ErrExist when there is a store already, or the log of one, which
// would be taken for that of the new one, an *fs.PathError when to can't be written,
// and an error that wraps storage.ErrUnavailable when from is no store that this
// version can read.
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

// fresh makes the file at path, of mode 0600, of what fill puts into another one,
// once that is on disk. It returns fs.ErrExist when there is one, and an *fs.PathError
// when it can't be written.
func fresh(path string, fill func(tmp string) error) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // of mode 0600
	if err != nil {
		return err
	}
	tmp := f.Name()
	defer func() { _ = os.Remove(tmp) }() // what matters is path
	if err := f.Close(); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		if code(err) == sqlite3.SQLITE_FULL { // what is read needs no room
			return &fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
		}
		return err
	}
	if err := errors.Join(syncPath(tmp), os.Link(tmp, path)); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

// copyInto writes into a file that is there and empty. VACUUM reads all in one
// transaction and copies rows, not pages: what was deleted isn't in the copy, and
// a page that is damaged is noticed.
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

// copyMode is how to open the file at path so that what is beside it stays as it is.
// Reading makes a log (-wal) and its index (-shm) where there are none, which only who
// may write takes away again, being the last to close them. Where there is a log,
// because a server runs or was killed, who may write would put it into the file.
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

// syncPath has a file, or the names in a directory, on disk.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
