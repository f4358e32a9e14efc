package embedded

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/grantd/grantd/storage"
)

// CreateUser keeps u; see storage.Users.
func (s *Store) CreateUser(ctx context.Context, u storage.User) error {
	return users.createIn(ctx, s, u)
}

// LoadUser returns the user of that name; see storage.Users.
func (s *Store) LoadUser(ctx context.Context, name string) (storage.User, error) {
	return users.loadFrom(ctx, s, name)
}

// UpdateUser replaces the user of u.Name; see storage.Users.
func (s *Store) UpdateUser(ctx context.Context, u storage.User) error {
	return users.updateIn(ctx, s, u)
}

// DeleteUser forgets the user; see storage.Users.
func (s *Store) DeleteUser(ctx context.Context, name string) error {
	return users.deleteFrom(ctx, s, name)
}

// ListUsers returns users by name; see storage.Users.
func (s *Store) ListUsers(ctx context.Context, after string, limit int) ([]storage.User, error) {
	return users.listOf(ctx, s, after, limit)
}

// CreateClient keeps c; see storage.Clients.
func (s *Store) CreateClient(ctx context.Context, c storage.Client) error {
	return clients.createIn(ctx, s, c)
}

// LoadClient returns the client of that id; see storage.Clients.
func (s *Store) LoadClient(ctx context.Context, id string) (storage.Client, error) {
	return clients.loadFrom(ctx, s, id)
}

// UpdateClient replaces the client of c.ID; see storage.Clients.
func (s *Store) UpdateClient(ctx context.Context, c storage.Client) error {
	return clients.updateIn(ctx, s, c)
}

// DeleteClient forgets the client; see storage.Clients.
func (s *Store) DeleteClient(ctx context.Context, id string) error {
	return clients.deleteFrom(ctx, s, id)
}

// ListClients returns clients by id; see storage.Clients.
func (s *Store) ListClients(ctx context.Context, after string, limit int) ([]storage.Client, error) {
	return clients.listOf(ctx, s, after, limit)
}

// CreateKey keeps k; see storage.Keys.
func (s *Store) CreateKey(ctx context.Context, k storage.Key) error {
	record, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return s.write(ctx, func(c *conn) error {
		n, err := c.exec(`INSERT INTO keys VALUES (?, ?) ON CONFLICT DO NOTHING`, k.ID, record)
		if err == nil && n == 0 {
			return storage.ErrExists
		}
		return err
	})
}

// ListKeys returns all keys by id; see storage.Keys.
func (s *Store) ListKeys(ctx context.Context) ([]storage.Key, error) {
	var keys []storage.Key
	err := s.read(ctx, func(c *conn) error {
		return c.each(`SELECT record FROM keys ORDER BY id`, nil, func(rows *sql.Rows) error {
			var record []byte
			if err := rows.Scan(&record); err != nil {
				return err
			}
			var k storage.Key
			err := storage.DecodeRecord(record, &k)
			keys = append(keys, k)
			return err
		})
	})
	return keys, err
}

// DeleteKey forgets the key; see storage.Keys.
func (s *Store) DeleteKey(ctx context.Context, id byte) error {
	return s.write(ctx, func(c *conn) error {
		_, err := c.exec(`DELETE FROM keys WHERE id = ?`, id)
		return err
	})
}
