package embedded

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"time"

	"github.com/grantd/grantd/storage"
)

// The values of floors.kind.
const (
	kindAll    = 0
	kindUser   = 1
	kindClient = 2
)

var errTarget = errors.New("embedded: a target needs exactly one of user, client and all")

// floorOf returns the kind and the name of the target's floor.
func floorOf(t storage.Target) (kind int, name string, err error) {
	switch t.Whose() {
	case storage.Target{All: true}:
		return kindAll, "", nil
	case storage.Target{UserID: t.UserID}:
		kind, name = kindUser, t.UserID
	case storage.Target{ClientID: t.ClientID}:
		kind, name = kindClient, t.ClientID
	}
	if name == "" {
		return 0, "", errTarget
	}
	return kind, name, nil
}

// always is the before of a floor without a time limit.
const always = math.MaxInt64

// beforeOf returns the before of the target's floor.
func beforeOf(t storage.Target) int64 {
	if t.Before.IsZero() {
		return always
	}
	return t.Before.UnixMilli()
}

func targetOf(kind int, name string, before int64) storage.Target {
	var t storage.Target
	switch kind {
	case kindUser:
		t.UserID = name
	case kindClient:
		t.ClientID = name
	default:
		t.All = true
	}
	if before != always {
		t.Before = instant(before)
	}
	return t
}

// instant turns a time of the tables into a time.Time.
func instant(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// revocation returns a revocation of the only partition at that epoch.
func revocation(t storage.Target, epoch uint32) storage.Revocation {
	return storage.Revocation{Target: t, Epochs: map[byte]uint32{0: epoch}}
}

// Epoch returns the current epoch; see storage.Revocations.
func (s *Store) Epoch(ctx context.Context, _ storage.GrantID) (uint32, error) {
	var epoch uint32
	err := s.read(ctx, func(c *conn) error {
		return orNotFound(c.row(`SELECT epoch FROM epochs WHERE `+marked, nil, &epoch))
	})
	return epoch, err
}

// Revoke ends all grants of the target; see storage.Revocations. The new floor
// replaces the target's earlier floors that it covers.
func (s *Store) Revoke(ctx context.Context, t storage.Target) (storage.Revocation, error) {
	kind, name, err := floorOf(t)
	if err != nil {
		return storage.Revocation{}, err
	}
	t = t.Rounded(s.now())
	var epoch uint32
	err = s.write(ctx, func(c *conn) error {
		if err := orNotFound(c.row(`UPDATE epochs SET epoch = epoch + 1 RETURNING epoch`, nil, &epoch)); err != nil {
			return err
		}
		if _, err := c.exec(`DELETE FROM floors WHERE kind = ? AND name = ? AND created_before <= ?`, kind, name, beforeOf(t)); err != nil {
			return err
		}
		_, err := c.exec(`INSERT INTO floors VALUES (?, ?, ?, ?)`, kind, name, beforeOf(t), epoch)
		return err
	})
	if err != nil {
		return storage.Revocation{}, err
	}
	return revocation(t, epoch), nil
}

// Unswept returns the revocations whose sweep has not finished; see
// storage.Revocations.
func (s *Store) Unswept(ctx context.Context) ([]storage.Revocation, error) {
	var all []storage.Revocation
	err := s.read(ctx, func(c *conn) error {
		return c.each(`SELECT kind, name, created_before, epoch FROM floors ORDER BY epoch`, nil, func(rows *sql.Rows) error {
			var kind int
			var name string
			var before int64
			var epoch uint32
			if err := rows.Scan(&kind, &name, &before, &epoch); err != nil {
				return err
			}
			all = append(all, revocation(targetOf(kind, name, before), epoch))
			return nil
		})
	})
	return all, err
}

// counts has, for each kind of target, the query for the number of its grants.
var counts = map[int]string{
	kindAll:    `SELECT count(*) FROM grants WHERE ?1 = ''`,
	kindUser:   `SELECT count(*) FROM grants WHERE user_id = ?1 AND user_id <> ''`,
	kindClient: `SELECT count(*) FROM grants WHERE client_id = ?1`,
}

// CountGrants counts the grants of the target; see storage.Revocations.
func (s *Store) CountGrants(ctx context.Context, t storage.Target) (int, error) {
	kind, name, err := floorOf(t)
	if err != nil {
		return 0, err
	}
	n := 0
	err = s.read(ctx, func(c *conn) error { return orNotFound(c.row(counts[kind], []any{name}, &n)) })
	return n, err
}
