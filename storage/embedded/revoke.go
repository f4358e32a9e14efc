package embedded

import (
	"context"
	"database/sql"
	"errors"

	"github.com/grantd/grantd/storage"
)

// What floors.kind says.
const (
	kindAll    = 0
	kindUser   = 1
	kindClient = 2
)

var errTarget = errors.New("embedded: a target needs exactly one of user, client and all")

// floorOf is the key of the target's floor.
func floorOf(t storage.Target) (kind int, name string, err error) {
	switch t {
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

func targetOf(kind int, name string) storage.Target {
	switch kind {
	case kindUser:
		return storage.Target{UserID: name}
	case kindClient:
		return storage.Target{ClientID: name}
	}
	return storage.Target{All: true}
}

// revocation is the one of an epoch of the only partition.
func revocation(t storage.Target, epoch uint32) storage.Revocation {
	return storage.Revocation{Target: t, Epochs: map[byte]uint32{0: epoch}}
}

// Epoch returns the current epoch; see storage.Revocations.
func (s *Store) Epoch(ctx context.Context, _ storage.GrantID) (uint32, error) {
	var epoch uint32
	err := s.read(ctx, func(c *conn) error {
		return orNotFound(c.row(`SELECT epoch FROM epochs`, nil, &epoch))
	})
	return epoch, err
}

// Revoke ends all grants of the target; see storage.Revocations.
func (s *Store) Revoke(ctx context.Context, t storage.Target) (storage.Revocation, error) {
	kind, name, err := floorOf(t)
	if err != nil {
		return storage.Revocation{}, err
	}
	var epoch uint32
	err = s.write(ctx, func(c *conn) error {
		if err := orNotFound(c.row(`UPDATE epochs SET epoch = epoch + 1 RETURNING epoch`, nil, &epoch)); err != nil {
			return err
		}
		_, err := c.exec(`INSERT INTO floors VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET epoch = excluded.epoch`,
			kind, name, epoch)
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
		return c.each(`SELECT kind, name, epoch FROM floors ORDER BY epoch`, nil, func(rows *sql.Rows) error {
			var kind int
			var name string
			var epoch uint32
			if err := rows.Scan(&kind, &name, &epoch); err != nil {
				return err
			}
			all = append(all, revocation(targetOf(kind, name), epoch))
			return nil
		})
	})
	return all, err
}

// place is where a walk over the grants of a target stands.
type place struct {
	endsAt int64
	id     []byte
}

// walks has, for each kind of target, the query for the next ids and epochs.
// The walk reads beside the writers, so that live grants hold nobody up.
var walks = map[int]string{
	kindAll: `SELECT id, 0, epoch FROM grants WHERE id > ?3 ORDER BY id LIMIT ?4`,
	kindUser: `SELECT id, ends_at, epoch FROM grants
		WHERE user_id = ?1 AND user_id <> '' AND (ends_at, id) > (?2, ?3) ORDER BY ends_at, id LIMIT ?4`,
	kindClient: `SELECT id, ends_at, epoch FROM grants
		WHERE client_id = ?1 AND (ends_at, id) > (?2, ?3) ORDER BY ends_at, id LIMIT ?4`,
}

// Sweep deletes the grants that r ended; see storage.Revocations. All of them
// were there when Revoke returned, because CreateGrant refuses their epochs
// since, so one walk over the target finds them all.
func (s *Store) Sweep(ctx context.Context, r storage.Revocation) (int, error) {
	kind, name, err := floorOf(r.Target)
	if err != nil {
		return 0, err
	}
	total, at := 0, &place{id: []byte{}}
	for at != nil {
		var dead [][]byte
		if dead, at, err = s.dead(ctx, r, *at); err != nil {
			return total, err
		}
		n, err := s.bury(ctx, dead, r.Epochs[0])
		if total += n; err != nil {
			return total, err
		}
	}
	return total, s.write(ctx, func(c *conn) error {
		_, err := c.exec(`DELETE FROM floors WHERE kind = ? AND name = ? AND epoch = ?`, kind, name, r.Epochs[0])
		return err
	})
}

// dead returns the ids of the next grants that r ended, and where to go on, nil
// at the end.
func (s *Store) dead(ctx context.Context, r storage.Revocation, at place) ([][]byte, *place, error) {
	kind, name, err := floorOf(r.Target)
	if err != nil {
		return nil, nil, err
	}
	var ids [][]byte
	seen, next := 0, &at
	err = s.read(ctx, func(c *conn) error {
		return c.each(walks[kind], []any{name, at.endsAt, at.id, batch}, func(rows *sql.Rows) error {
			var epoch uint32
			next = &place{}
			if err := rows.Scan(&next.id, &next.endsAt, &epoch); err != nil {
				return err
			}
			if seen++; epoch < r.Epochs[0] {
				ids = append(ids, next.id)
			}
			return nil
		})
	})
	if seen < batch {
		next = nil
	}
	return ids, next, err
}

// bury deletes those of the grants whose epoch is below the floor.
func (s *Store) bury(ctx context.Context, ids [][]byte, floor uint32) (int, error) {
	if len(ids) == 0 {
		return 0, nil
	}
	total := 0
	err := s.write(ctx, func(c *conn) error {
		total = 0
		for _, id := range ids {
			n, err := c.exec(`DELETE FROM grants WHERE id = ? AND epoch < ?`, id, floor)
			if err != nil {
				return err
			}
			total += n
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return total, nil
}
