package embedded

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
)

// conn is one connection and the statements prepared on it. It is used by one
// goroutine at a time.
//
// Its methods take no context: every statement is short, none waits for a lock,
// and a context that can be cancelled costs the driver a goroutine for each
// statement. Callers check the context before and while they wait.
type conn struct {
	raw        *sql.Conn
	statements map[string]*sql.Stmt
	load       driver.StmtQueryContext // see point; nil until its first call
	hasty      bool                    // a commit doesn't wait for the disk
}

func newConn(raw *sql.Conn) *conn {
	return &conn{raw: raw, statements: make(map[string]*sql.Stmt)}
}

func (c *conn) prepared(query string) (*sql.Stmt, error) {
	if st, found := c.statements[query]; found {
		return st, nil
	}
	st, err := c.raw.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, unavailable(err)
	}
	c.statements[query] = st
	return st, nil
}

// wait sets whether the next commits wait for the disk. At first they do.
func (c *conn) wait(wait bool) error {
	if c.hasty == !wait {
		return nil
	}
	pragma := "PRAGMA synchronous = NORMAL"
	if wait {
		pragma = "PRAGMA synchronous = FULL"
	}
	_, err := c.exec(pragma)
	if err == nil {
		c.hasty = !wait
	}
	return err
}

// exec runs a statement and returns how many rows it changed.
func (c *conn) exec(query string, args ...any) (int, error) {
	st, err := c.prepared(query)
	if err != nil {
		return 0, err
	}
	result, err := st.Exec(args...)
	if err != nil {
		return 0, unavailable(err)
	}
	n, err := result.RowsAffected()
	return int(n), unavailable(err)
}

// row reads the one row of a query into dest and reports whether there is one.
func (c *conn) row(query string, args []any, dest ...any) (bool, error) {
	st, err := c.prepared(query)
	if err != nil {
		return false, err
	}
	err = st.QueryRow(args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, unavailable(err)
}

// point reads the only column of the only row of loadGrant and reports whether
// there is a row. It does what row does, but calls the driver directly: the
// check of a token may read a grant, and package database/sql would take as
// long as SQLite itself.
func (c *conn) point(id []byte, now int64) (record []byte, found bool, err error) {
	err = c.raw.Raw(func(dc any) error {
		if c.load == nil {
			st, err := dc.(driver.ConnPrepareContext).PrepareContext(context.Background(), loadGrant)
			if err != nil {
				return err
			}
			c.load = st.(driver.StmtQueryContext)
		}
		rows, err := c.load.QueryContext(context.Background(), []driver.NamedValue{{Ordinal: 1, Value: id}, {Ordinal: 2, Value: now}})
		if err != nil {
			return err
		}
		var columns [1]driver.Value
		err = rows.Next(columns[:])
		found = err == nil
		switch v := columns[0].(type) {
		case []byte:
			record = v
		case string: // not written by grantd: it won't decode
			record = []byte(v)
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return errors.Join(err, rows.Close())
	})
	return record, found, unavailable(err)
}

// each calls scan for every row of a query.
func (c *conn) each(query string, args []any, scan func(*sql.Rows) error) error {
	st, err := c.prepared(query)
	if err != nil {
		return err
	}
	rows, err := st.Query(args...)
	if err != nil {
		return unavailable(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return unavailable(err)
		}
	}
	return unavailable(rows.Err())
}

func (c *conn) close() {
	for _, st := range c.statements {
		st.Close()
	}
	if c.load != nil {
		_ = c.raw.Raw(func(any) error { return c.load.(driver.Stmt).Close() }) // closed with the connection anyway
	}
	c.raw.Close() // it goes back to the database, which is closed next and reports
}
