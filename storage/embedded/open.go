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
	"runtime"
	"time"

	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// maxBusy bounds how long a write waits for another process's transaction. A
// write that is queued behind one that waits in vain waits twice as long.
const maxBusy = 500 * time.Millisecond

// maxOpening bounds how long Open waits for other processes that are opening
// the file too; one of them makes the tables.
const maxOpening = 10 * time.Second

// minReaders is the least number of readers, so that single reads go on while a
// list is read.
const minReaders = 4

func (s *Store) open(path string) error {
	if path == Memory {
		return s.openMemory()
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return unavailable(err)
	}
	if s.existing {
		_, err = os.Stat(abs)
	} else {
		err = makeFile(abs)
	}
	if err != nil {
		return unavailable(err)
	}
	return s.openFile(abs)
}

// makeFile makes an empty file that nobody else may read; SQLite gives its
// companions (-wal, -shm) the same mode. It never opens an existing file:
// closing it would drop the locks that this process has on it.
func makeFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// filePragmas: secure_delete overwrites deleted data, so that a closed retry
// window leaves no mix in the pages of the file. The log beside it (-wal) keeps
// the mix until a checkpoint overwrites it. busy_timeout is 0 because the
// writer waits for other processes itself: see begin.
var filePragmas = []string{"journal_mode(WAL)", "synchronous(FULL)", "secure_delete(FAST)", "busy_timeout(0)"}

func (s *Store) openFile(path string) error {
	s.identity = &identity{}
	if err := s.identity.add(path); err != nil {
		return err
	}
	uri := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"_pragma": filePragmas}.Encode()}
	if err := s.connect(uri.String()); err != nil {
		return err
	}
	writer, err := s.conn()
	if err != nil {
		return err
	}
	s.writers = newPool(writer)
	if err := migrate(writer); err != nil {
		return err
	}
	var readers []*conn
	for range max(minReaders, runtime.GOMAXPROCS(0)) {
		c, err := s.reader()
		if err != nil {
			return err
		}
		readers = append(readers, c)
	}
	s.readers = newPool(readers...)
	if err := s.identity.addLog(path); err != nil {
		return err
	}
	s.recent, err = newRecent(path, writer)
	return unavailable(err)
}

// reader opens a connection that only reads. Readers wait only for a process
// that recovers the log after a crash.
func (s *Store) reader() (*conn, error) {
	c, err := s.conn()
	for _, pragma := range []string{"PRAGMA busy_timeout = 250", "PRAGMA query_only = 1"} {
		if err == nil {
			_, err = c.exec(pragma)
		}
	}
	return c, err
}

// openMemory opens one connection for everything: the database belongs to the
// connection and vanishes with it.
func (s *Store) openMemory() error {
	if err := s.connect(Memory); err != nil {
		return err
	}
	c, err := s.conn()
	if err != nil {
		return err
	}
	s.readers = newPool(c)
	s.writers = s.readers
	return migrate(c)
}

func (s *Store) connect(dsn string) error {
	connector, err := sqlite.NewConnector(dsn)
	if err != nil {
		return unavailable(err)
	}
	s.db = sql.OpenDB(connector)
	return nil
}

// conn opens one more connection. It tries again while the database is busy:
// whatever the busy timeout, turning the log on fails while another process
// does the same.
func (s *Store) conn() (*conn, error) {
	var c *conn
	err := whileBusy(maxOpening, func() error {
		raw, err := s.db.Conn(context.Background())
		if err == nil {
			c = newConn(raw)
		}
		return unavailable(err)
	})
	return c, err
}

// whileBusy repeats do while another process holds the lock that it needs, up
// to the limit. SQLite's own wait sleeps longer and longer, and starves beside
// a process that writes without a pause.
func whileBusy(limit time.Duration, do func() error) error {
	const pause = time.Millisecond
	for end := time.Now().Add(limit); ; time.Sleep(pause) {
		err := do()
		if !busy(err) || time.Now().After(end) {
			return err
		}
	}
}

func busy(err error) bool { return code(err) == sqlite3.SQLITE_BUSY }

// code returns SQLite's primary code for the error, or 0 if the error isn't
// SQLite's.
func code(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	const primary = 0xff // an extended code has its primary code in the low byte
	return e.Code() & primary
}

// migrate makes the tables that an empty database, or one of an older grantd,
// lacks. It refuses a database that isn't grantd's.
func migrate(c *conn) error {
	if err := begin(c, maxOpening); err != nil {
		return err
	}
	err := makeTables(c)
	if err == nil {
		_, err = c.exec("COMMIT")
	}
	if err != nil {
		_, failed := c.exec("ROLLBACK")
		return errors.Join(unavailable(err), failed)
	}
	return nil
}

func makeTables(c *conn) error {
	var version, tables int
	_, err := c.row("SELECT user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_user_version", nil, &version, &tables)
	switch {
	case err != nil:
		return err
	case version > len(steps):
		return fmt.Errorf("a newer grantd wrote it: its schema is %d, and this grantd knows schemas up to %d", version, len(steps))
	case version == len(steps):
		return nil
	case version < 0 || version == 0 && tables != 0:
		return errForeign
	}
	for _, s := range steps[version:] {
		if err := s.take(c); err != nil {
			return err
		}
	}
	if err := mark(c, version, len(steps)); err != nil {
		return err
	}
	_, err = c.exec(fmt.Sprintf("PRAGMA user_version = %d", len(steps)))
	return err
}

var errForeign = errors.New("the file is a database, but not one of grantd")

func (s step) take(c *conn) error {
	for _, statement := range s.statements {
		if _, err := c.exec(statement); err != nil {
			return err
		}
	}
	if s.fill == nil {
		return nil
	}
	return s.fill(c)
}
