package redisstore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
)

// CreateUser implements storage.Users.
func (s *Store) CreateUser(ctx context.Context, u storage.User) error {
	u.Revision = 1
	return s.users.create(ctx, u.Name, u)
}

// LoadUser implements storage.Users.
func (s *Store) LoadUser(ctx context.Context, name string) (storage.User, error) {
	return s.users.load(ctx, name)
}

// UpdateUser implements storage.Users.
func (s *Store) UpdateUser(ctx context.Context, u storage.User) error {
	replaced := u.Revision
	u.Revision++
	return s.users.update(s.confirmed(ctx), u.Name, u, replaced)
}

// DeleteUser implements storage.Users.
func (s *Store) DeleteUser(ctx context.Context, name string) error {
	return s.users.remove(s.confirmed(ctx), name)
}

// ListUsers implements storage.Users.
func (s *Store) ListUsers(ctx context.Context, after string, limit int) ([]storage.User, error) {
	return s.users.page(ctx, after, limit)
}

// CreateClient implements storage.Clients.
func (s *Store) CreateClient(ctx context.Context, c storage.Client) error {
	c.Revision = 1
	return s.clients.create(ctx, c.ID, c)
}

// LoadClient implements storage.Clients.
func (s *Store) LoadClient(ctx context.Context, id string) (storage.Client, error) {
	return s.clients.load(ctx, id)
}

// UpdateClient implements storage.Clients.
func (s *Store) UpdateClient(ctx context.Context, c storage.Client) error {
	replaced := c.Revision
	c.Revision++
	return s.clients.update(s.confirmed(ctx), c.ID, c, replaced)
}

// DeleteClient implements storage.Clients.
func (s *Store) DeleteClient(ctx context.Context, id string) error {
	return s.clients.remove(s.confirmed(ctx), id)
}

// ListClients implements storage.Clients.
func (s *Store) ListClients(ctx context.Context, after string, limit int) ([]storage.Client, error) {
	return s.clients.page(ctx, after, limit)
}

// CreateKey implements storage.Keys.
func (s *Store) CreateKey(ctx context.Context, k storage.Key) error {
	text, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("redisstore: %w", err)
	}
	cmd := redis.NewCmd(ctx, "HSETNX", keysKey, strconv.Itoa(int(k.ID)), text)
	_ = s.client.Process(ctx, once{cmd}) // its error is the command's
	isNew, err := cmd.Bool()
	if err == nil && !isNew {
		return storage.ErrExists
	}
	return unavailable(ctx, err)
}

// ListKeys implements storage.Keys.
func (s *Store) ListKeys(ctx context.Context) ([]storage.Key, error) {
	texts, err := s.client.HVals(ctx, keysKey).Result()
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	keys := make([]storage.Key, len(texts))
	for i, text := range texts {
		if err := storage.DecodeRecord([]byte(text), &keys[i]); err != nil {
			return nil, fmt.Errorf("redisstore: key: %w", err)
		}
	}
	slices.SortFunc(keys, func(a, b storage.Key) int { return int(a.ID) - int(b.ID) })
	return keys, nil
}

// DeleteKey implements storage.Keys.
func (s *Store) DeleteKey(ctx context.Context, id byte) error {
	return unavailable(ctx, s.client.HDel(s.confirmed(ctx), keysKey, strconv.Itoa(int(id))).Err())
}
