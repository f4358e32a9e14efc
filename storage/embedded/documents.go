package embedded

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/grantd/grantd/storage"
)

// documents is a table of JSON records by name, with a revision that every
// change raises by one. T is the type of the records.
type documents[T any] struct {
	create, load, update, remove, list string // statements

	decode   func(text []byte, record *T) error
	key      func(*T) *string
	revision func(*T) *uint64
}

func newDocuments[T any](table string, decode func([]byte, *T) error, key func(*T) *string, revision func(*T) *uint64) documents[T] {
	return documents[T]{
		create: `INSERT INTO ` + table + ` VALUES (?, 1, ?) ON CONFLICT DO NOTHING`,
		load:   `SELECT name, revision, record FROM ` + table + ` WHERE name = ?`,
		update: `UPDATE ` + table + ` SET revision = revision + 1, record = ?1 WHERE name = ?2 AND revision = ?3` +
			// Revisions begin anew when a name is deleted and made again.
			` AND record ->> 'id' = ?1 ->> 'id' AND record ->> 'created' = ?1 ->> 'created'`,
		remove:   `DELETE FROM ` + table + ` WHERE name = ?`,
		list:     `SELECT name, revision, record FROM ` + table + ` WHERE name > ? ORDER BY name LIMIT ?`,
		decode:   decode,
		key:      key,
		revision: revision,
	}
}

var (
	users = newDocuments("users", storage.DecodeRecord[storage.User],
		func(u *storage.User) *string { return &u.Name }, func(u *storage.User) *uint64 { return &u.Revision })
	clients = newDocuments("clients", new(storage.ClientDecoder).Decode,
		func(c *storage.Client) *string { return &c.ID }, func(c *storage.Client) *uint64 { return &c.Revision })
	receipts = newDocuments("receipts", storage.DecodeRecord[storage.Receipt],
		func(r *storage.Receipt) *string { return &r.ID }, func(r *storage.Receipt) *uint64 { return &r.Revision })
)

func (d documents[T]) createIn(ctx context.Context, s *Store, v T) error {
	record, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.write(ctx, func(c *conn) error {
		n, err := c.exec(d.create, *d.key(&v), record)
		if err == nil && n == 0 {
			return storage.ErrExists
		}
		return err
	})
}

// scan reads a row. Name and revision come from the columns, not from the JSON.
func (d documents[T]) scan(v *T, from func(dest ...any) error) error {
	var name string
	var revision uint64
	var record []byte
	if err := from(&name, &revision, &record); err != nil {
		return err
	}
	if err := d.decode(record, v); err != nil {
		return err
	}
	*d.key(v), *d.revision(v) = name, revision
	return nil
}

func (d documents[T]) loadFrom(ctx context.Context, s *Store, name string) (v T, err error) {
	err = s.read(ctx, func(c *conn) error {
		return d.scan(&v, func(dest ...any) error { return orNotFound(c.row(d.load, []any{name}, dest...)) })
	})
	return v, err
}

func (d documents[T]) updateIn(ctx context.Context, s *Store, v T) error {
	record, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.write(ctx, func(c *conn) error {
		n, err := c.exec(d.update, record, *d.key(&v), *d.revision(&v))
		if err != nil || n == 1 {
			return err
		}
		var now T
		err = d.scan(&now, func(dest ...any) error { return orNotFound(c.row(d.load, []any{*d.key(&v)}, dest...)) })
		if err != nil {
			return err
		}
		return storage.ErrConflict
	})
}

func (d documents[T]) deleteFrom(ctx context.Context, s *Store, name string) error {
	return s.write(ctx, func(c *conn) error {
		_, err := c.exec(d.remove, name)
		return err
	})
}

func (d documents[T]) listOf(ctx context.Context, s *Store, after string, limit int) ([]T, error) {
	var page []T
	err := s.read(ctx, func(c *conn) error {
		return c.each(d.list, []any{after, max(limit, 0)}, func(rows *sql.Rows) error {
			var v T
			err := d.scan(&v, rows.Scan)
			page = append(page, v)
			return err
		})
	})
	return page, err
}
