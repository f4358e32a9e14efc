package embedded

import (
	"database/sql"
	"fmt"

	"github.com/grantd/grantd/storage"
)

// steps make the tables. Step i brings a database of version i to the next
// version; an empty database has version 0. A released step is never changed.
// The version is kept as PRAGMA user_version.
var steps = []step{
	{statements: schema},
	{statements: revocationSchema, fill: fillCreated},
	{statements: auditSchema},
	{statements: guessSchema},
	{}, // the first with a mark
}

// mark renames the empty table that statements name through marked. If a newer
// version changes the tables while a process of an older version runs, the
// older one gets errOutdated from then on, instead of overlooking data that it
// doesn't know.
func mark(c *conn, before, now int) error {
	if _, err := c.exec(fmt.Sprintf("DROP TABLE IF EXISTS schema_%d", before)); err != nil {
		return err
	}
	_, err := c.exec(fmt.Sprintf("CREATE TABLE schema_%d (mark INTEGER PRIMARY KEY)", now))
	return err
}

// marked is true in a file of this schema, and an error in any other. Its
// number is the number of steps.
const marked = `NOT EXISTS (SELECT 1 FROM schema_5 WHERE mark = 1)`

// errOutdated is the error of a process whose file a newer grantd has changed.
var errOutdated = fmt.Errorf("%w: a newer grantd has changed the tables: run that version here too", storage.ErrUnavailable)

// current returns errOutdated unless the file is still of this schema.
func (c *conn) current() error {
	var version int
	if _, err := c.row("PRAGMA user_version", nil, &version); err != nil {
		return err
	}
	if version != len(steps) {
		return errOutdated
	}
	return nil
}

// step is some statements, and then a function for what statements can't do, or
// nil.
type step struct {
	statements []string
	fill       func(*conn) error
}

// schema makes the tables of grants and of the records that they rest on. Times
// are milliseconds since 1970.
//
// A grant's record comes from storage.AppendGrant; statements compare the
// columns beside it. Lists are ordered by ends_at because it never changes
// while a grant lives, and because new grants then append to the index instead
// of scattering over it. epoch is in the indexes so that a sweep can skip live
// grants without reading them.
var schema = []string{
	`CREATE TABLE grants (
		id          BLOB PRIMARY KEY,
		user_id     TEXT NOT NULL,
		client_id   TEXT NOT NULL,
		epoch       INTEGER NOT NULL,
		generation  INTEGER NOT NULL,
		ends_at     INTEGER NOT NULL,
		expires_at  INTEGER NOT NULL,
		record      BLOB NOT NULL,
		retry       BLOB,
		retry_until INTEGER
	) WITHOUT ROWID`,
	`CREATE INDEX grants_by_user ON grants (user_id, ends_at, id, epoch) WHERE user_id <> ''`,
	`CREATE INDEX grants_by_client ON grants (client_id, ends_at, id, epoch)`,
	`CREATE INDEX grants_by_expiry ON grants (expires_at)`,
	`CREATE INDEX grants_by_retry ON grants (retry_until) WHERE retry_until IS NOT NULL`,

	// One epoch for all: a store in one file has no partitions.
	`CREATE TABLE epochs (epoch INTEGER NOT NULL)`,
	`INSERT INTO epochs VALUES (1)`,
	`CREATE TABLE floors (
		kind  INTEGER NOT NULL, -- 0 everybody, 1 a user, 2 a client
		name  TEXT NOT NULL,
		epoch INTEGER NOT NULL,
		PRIMARY KEY (kind, name)
	) WITHOUT ROWID`,

	`CREATE TABLE users (name TEXT PRIMARY KEY, revision INTEGER NOT NULL, record BLOB NOT NULL) WITHOUT ROWID`,
	`CREATE TABLE clients (name TEXT PRIMARY KEY, revision INTEGER NOT NULL, record BLOB NOT NULL) WITHOUT ROWID`,
	`CREATE TABLE keys (id INTEGER PRIMARY KEY, record BLOB NOT NULL)`,
}

// revocationSchema gives floors a Before, and grants the time to compare it
// with, which is in the indexes like epoch. It makes the tables of sweeps and
// receipts.
var revocationSchema = []string{
	`ALTER TABLE grants ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0`,
	`DROP INDEX grants_by_user`,
	`DROP INDEX grants_by_client`,

	`ALTER TABLE floors RENAME TO floors_1`,
	`CREATE TABLE floors (
		kind           INTEGER NOT NULL, -- 0 everybody, 1 a user, 2 a client
		name           TEXT NOT NULL,
		created_before INTEGER NOT NULL, -- only grants created before it; the greatest number: all
		epoch          INTEGER NOT NULL,
		PRIMARY KEY (kind, name, created_before)
	) WITHOUT ROWID`,
	`INSERT INTO floors SELECT kind, name, 9223372036854775807, epoch FROM floors_1`,
	`DROP TABLE floors_1`,

	// What the sweeps of a revocation deleted, until they end.
	`CREATE TABLE sweeps (
		epoch      INTEGER PRIMARY KEY, -- of the revocation
		grants     INTEGER NOT NULL,
		oldest     INTEGER NOT NULL,
		newest     INTEGER NOT NULL,
		kept_until INTEGER NOT NULL
	)`,
	`CREATE TABLE receipts (name TEXT PRIMARY KEY, revision INTEGER NOT NULL, record BLOB NOT NULL) WITHOUT ROWID`,
}

// fillCreated gives every grant its created_at, and makes the indexes with it.
// A record that can't be read counts as the oldest.
func fillCreated(c *conn) error {
	for last := []byte{}; last != nil; {
		created := map[storage.GrantID]int64{}
		from := last
		last = nil
		err := c.each(`SELECT id, record FROM grants WHERE id > ? ORDER BY id LIMIT ?`, []any{from, batch}, func(rows *sql.Rows) error {
			var record []byte
			if err := rows.Scan(&last, &record); err != nil || len(last) != len(storage.GrantID{}) {
				return err
			}
			id := storage.GrantID(last)
			if g, err := storage.DecodeGrant(id, record); err == nil {
				created[id] = g.Created.UnixMilli()
			}
			return nil
		})
		if err != nil {
			return err
		}
		for id, ms := range created {
			if _, err := c.exec(`UPDATE grants SET created_at = ? WHERE id = ?`, ms, id[:]); err != nil {
				return err
			}
		}
	}
	for _, statement := range []string{
		`CREATE INDEX grants_by_user ON grants (user_id, ends_at, id, epoch, created_at) WHERE user_id <> ''`,
		`CREATE INDEX grants_by_client ON grants (client_id, ends_at, id, epoch, created_at)`,
	} {
		if _, err := c.exec(statement); err != nil {
			return err
		}
	}
	return nil
}

// aboveFloors is true for a grant that no revocation ended.
const aboveFloors = marked + ` AND
	NOT EXISTS (SELECT 1 FROM floors f WHERE f.kind = 0 AND f.name = ''
		AND f.created_before > grants.created_at AND f.epoch > grants.epoch) AND
	NOT EXISTS (SELECT 1 FROM floors f WHERE f.kind = 1 AND f.name = grants.user_id
		AND f.created_before > grants.created_at AND f.epoch > grants.epoch) AND
	NOT EXISTS (SELECT 1 FROM floors f WHERE f.kind = 2 AND f.name = grants.client_id
		AND f.created_before > grants.created_at AND f.epoch > grants.epoch)`
