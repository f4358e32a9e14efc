package embedded

import (
	"bytes"
	"context"

	"github.com/grantd/grantd/storage"
)

// A dead grant has expired or is below a floor. Only statements that delete see
// it.
const (
	insertGrant = `INSERT INTO grants (id, user_id, client_id, epoch, generation, ends_at, expires_at, record, created_at)
		SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE ?4 = (SELECT epoch FROM epochs) ON CONFLICT DO NOTHING`
	loadGrant = `SELECT record FROM grants WHERE id = ? AND expires_at > ? AND ` + aboveFloors
	swapGrant = `UPDATE grants SET generation = ?, expires_at = ?, record = ?, retry = ?, retry_until = ?
		WHERE id = ? AND instr(record, ?) AND expires_at > ? AND ` + aboveFloors
	loadRetry = `SELECT retry FROM grants WHERE id = ? AND retry_until > ?2 AND expires_at > ?2 AND ` + aboveFloors
)

// CreateGrant keeps g; see storage.Grants.
func (s *Store) CreateGrant(ctx context.Context, g storage.Grant) error {
	record, err := storage.AppendGrant(nil, g)
	if err != nil {
		return err
	}
	return s.write(ctx, func(c *conn) error {
		n, err := c.exec(insertGrant, g.ID[:], g.UserID, g.ClientID, g.Epoch, g.Generation,
			g.End.UnixMilli(), g.Expiry().UnixMilli(), record, g.Created.UnixMilli())
		if err != nil || n == 1 {
			return err
		}
		return createdBefore(c, g.ID, record)
	})
}

// createdBefore returns why a grant wasn't inserted: nil for a repeated call,
// or an error because the id is taken or the epoch has passed.
func createdBefore(c *conn, id storage.GrantID, record []byte) error {
	const query = `SELECT record, ` + aboveFloors + ` FROM grants WHERE id = ?`
	var kept []byte
	var above bool
	found, err := c.row(query, []any{id[:]}, &kept, &above)
	switch {
	case err != nil:
		return err
	case !found || !above:
		return storage.ErrRevoked
	case !bytes.Equal(kept, record):
		return storage.ErrExists
	}
	return nil
}

// LoadGrant returns the live grant; see storage.Grants.
func (s *Store) LoadGrant(ctx context.Context, id storage.GrantID) (storage.Grant, error) {
	g, kept, before := s.recent.get(id)
	if now := s.millis(); kept && g.Expiry().UnixMilli() > now {
		return g, s.refused(ctx, now)
	}
	var record []byte
	err := s.read(ctx, func(c *conn) (err error) {
		var found bool
		record, found, err = c.point(id[:], s.millis())
		return orNotFound(found, err)
	})
	if err != nil {
		return storage.Grant{}, err
	}
	if g, err = storage.DecodeGrant(id, record); err != nil {
		return storage.Grant{}, unavailable(err)
	}
	s.recent.keep(g, before)
	return g, nil
}

// orNotFound turns the result of conn.row into an error: storage.ErrNotFound if
// there was no row.
func orNotFound(found bool, err error) error {
	if err == nil && !found {
		return storage.ErrNotFound
	}
	return err
}

// SwapGrant replaces old by next; see storage.Grants.
func (s *Store) SwapGrant(ctx context.Context, old, next storage.Grant, r storage.Retry) error {
	if err := old.CheckSuccessor(next); err != nil {
		return err
	}
	record, err := storage.AppendGrant(nil, next)
	if err != nil {
		return err
	}
	var retry, until any // NULL
	if !r.Until.IsZero() {
		retry, until = storage.AppendRetry(nil, r), r.Until.UnixMilli()
	}
	return s.write(ctx, func(c *conn) error {
		n, err := c.exec(swapGrant, next.Generation, next.Expiry().UnixMilli(), record, retry, until,
			old.ID[:], old.Access[:], s.millis())
		if err != nil || n == 1 {
			return err
		}
		return s.swappedBefore(c, old.ID, record)
	})
}

// swappedBefore returns why a swap changed nothing: nil for a repeated call, or
// an error because another swap was faster or the grant is gone.
func (s *Store) swappedBefore(c *conn, id storage.GrantID, record []byte) error {
	var kept []byte
	err := orNotFound(c.row(loadGrant, []any{id[:], s.millis()}, &kept))
	if err == nil && !bytes.Equal(kept, record) {
		return storage.ErrConflict
	}
	return err
}

// LoadRetry returns the Retry that the last swap kept; see storage.Grants.
func (s *Store) LoadRetry(ctx context.Context, id storage.GrantID) (storage.Retry, error) {
	var retry []byte
	err := s.read(ctx, func(c *conn) error {
		return orNotFound(c.row(loadRetry, []any{id[:], s.millis()}, &retry))
	})
	if err != nil {
		return storage.Retry{}, err
	}
	r, err := storage.DecodeRetry(retry)
	return r, unavailable(err)
}

// DeleteGrant ends the grant; see storage.Grants.
func (s *Store) DeleteGrant(ctx context.Context, id storage.GrantID) error {
	return s.write(ctx, func(c *conn) error {
		_, err := c.exec(`DELETE FROM grants WHERE id = ?`, id[:])
		return err
	})
}
