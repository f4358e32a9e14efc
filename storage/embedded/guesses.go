package embedded

import (
	"bytes"
	"context"
	"time"

	"github.com/grantd/grantd/storage"
)

var guessSchema = []string{
	`CREATE TABLE guesses (
		key        BLOB PRIMARY KEY,
		expires_at INTEGER NOT NULL,
		record     BLOB NOT NULL
	) WITHOUT ROWID`,
	`CREATE INDEX guesses_by_expiry ON guesses (expires_at)`,
}

// LoadGuesses returns a throttle's record; see storage.Guesses.
func (s *Store) LoadGuesses(ctx context.Context, key storage.GuessKey) (record []byte, err error) {
	err = s.read(ctx, func(c *conn) error {
		record, err = guesses(c, key)
		return err
	})
	return record, err
}

func guesses(c *conn, key storage.GuessKey) (record []byte, err error) {
	_, err = c.row(`SELECT record FROM guesses WHERE key = ?`, []any{key[:]}, &record)
	return record, err
}

// SwapGuesses replaces a throttle's record; see storage.Guesses. A power
// failure may lose the last changes, which is worth a few guesses at most. In
// return a sign-in doesn't wait for the disk three times.
func (s *Store) SwapGuesses(ctx context.Context, key storage.GuessKey, old, next []byte, expiry time.Time) ([]byte, error) {
	var now []byte
	err := s.writeSoft(ctx, func(c *conn) (err error) {
		now, err = guesses(c, key)
		switch {
		case err != nil || bytes.Equal(now, next):
			return err
		case !bytes.Equal(now, old):
			return storage.ErrConflict
		case next == nil:
			_, err = c.exec(`DELETE FROM guesses WHERE key = ?`, key[:])
		default:
			_, err = c.exec(`INSERT INTO guesses VALUES (?, ?, ?)
				ON CONFLICT DO UPDATE SET expires_at = excluded.expires_at, record = excluded.record`,
				key[:], expiry.UnixMilli(), next)
		}
		now = next
		return err
	})
	return now, err
}
