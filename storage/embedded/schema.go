package embedded

// steps make the tables: each brings a database of the version that is its index
// to the next one, an empty one being of version 0. A step that was released is
// never changed. The version is kept as PRAGMA user_version.
var steps = [][]string{
	schema,
	auditSchema,
	guessSchema,
}

// schema makes the tables of grants and of what they rest on. Times are
// milliseconds since 1970.
//
// A grant's record is storage.AppendGrant; the columns beside it are what
// statements compare. Lists go by ends_at because it never changes while a
// grant lives, and because new grants then append to the index instead of
// scattering over it. epoch stands in the indexes so that a sweep can pass over
// live grants without reading them.
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

// aboveFloors is true of a grant that no revocation ended.
const aboveFloors = `epoch >= max(
	ifnull((SELECT f.epoch FROM floors f WHERE f.kind = 0 AND f.name = ''), 0),
	ifnull((SELECT f.epoch FROM floors f WHERE f.kind = 1 AND f.name = user_id), 0),
	ifnull((SELECT f.epoch FROM floors f WHERE f.kind = 2 AND f.name = client_id), 0))`
