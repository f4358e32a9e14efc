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

	sqlite "modernc.org/sqlite"
)

// Backup writes the store in the file at from, as it is at one instant, into a new
// file at to, which only its owner may read (mode 0600). Other processes use the
// store meanwhile and aren't held up. The store may be of any version, and nothing
// is written to it.
//
// The file at to appears once all of it is on disk. Backup returns fs.ErrExist when
// there is one already, and an error that wraps storage.ErrUnavailable when from
// can't be read or isn't a grantd store.
func Backup(ctx context.Context, from, to string) error {
	path, err := filepath.Abs(from)
	if err != nil {
		return unavailable(err)
	}
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%s: %w", to, fs.ErrExist)
	}
	tmp, err := os.CreateTemp(filepath.Dir(to), ".new-*") // of mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // what matters is to
	if err := errors.Join(copyInto(ctx, path, tmp.Name()), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// copyInto writes into a file that is there and empty. VACUUM reads all in one
// transaction and copies rows, not pages: what was deleted isn't in the copy, and
// a page that is damaged is noticed.
func copyInto(ctx context.Context, from, to string) error {
	uri := url.URL{Scheme: "file", Path: from, RawQuery: url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(250)"}}.Encode()}
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

// syncDir has the name of a new file on disk as well.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
