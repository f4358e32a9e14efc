package watched

import (
	"context"
	"time"

	"github.com/grantd/grantd/storage"
)

// Health implements storage.Store. That the store is down is told as its failure.
func (s *store) Health(ctx context.Context) storage.Health {
	began := time.Now()
	h := s.Store.Health(ctx)
	var err error
	if h.State == storage.Down {
		err = storage.ErrUnavailable
	}
	s.tell(ctx, Health, began, err)
	return h
}

// Ping implements storage.Store.
func (s *store) Ping(ctx context.Context) error {
	began := time.Now()
	err := s.Store.Ping(ctx)
	s.tell(ctx, Ping, began, err)
	return err
}

// CreateUser implements storage.Users.
func (s *store) CreateUser(ctx context.Context, u storage.User) error {
	began := time.Now()
	err := s.Store.CreateUser(ctx, u)
	s.tell(ctx, CreateUser, began, err)
	return err
}

// LoadUser implements storage.Users.
func (s *store) LoadUser(ctx context.Context, name string) (storage.User, error) {
	began := time.Now()
	value, err := s.Store.LoadUser(ctx, name)
	s.tell(ctx, LoadUser, began, err)
	return value, err
}

// UpdateUser implements storage.Users.
func (s *store) UpdateUser(ctx context.Context, u storage.User) error {
	began := time.Now()
	err := s.Store.UpdateUser(ctx, u)
	s.tell(ctx, UpdateUser, began, err)
	return err
}

// DeleteUser implements storage.Users.
func (s *store) DeleteUser(ctx context.Context, name string) error {
	began := time.Now()
	err := s.Store.DeleteUser(ctx, name)
	s.tell(ctx, DeleteUser, began, err)
	return err
}

// ListUsers implements storage.Users.
func (s *store) ListUsers(ctx context.Context, after string, limit int) ([]storage.User, error) {
	began := time.Now()
	value, err := s.Store.ListUsers(ctx, after, limit)
	s.tell(ctx, ListUsers, began, err)
	return value, err
}

// CreateClient implements storage.Clients.
func (s *store) CreateClient(ctx context.Context, c storage.Client) error {
	began := time.Now()
	err := s.Store.CreateClient(ctx, c)
	s.tell(ctx, CreateClient, began, err)
	return err
}

// LoadClient implements storage.Clients.
func (s *store) LoadClient(ctx context.Context, id string) (storage.Client, error) {
	began := time.Now()
	value, err := s.Store.LoadClient(ctx, id)
	s.tell(ctx, LoadClient, began, err)
	return value, err
}

// UpdateClient implements storage.Clients.
func (s *store) UpdateClient(ctx context.Context, c storage.Client) error {
	began := time.Now()
	err := s.Store.UpdateClient(ctx, c)
	s.tell(ctx, UpdateClient, began, err)
	return err
}

// DeleteClient implements storage.Clients.
func (s *store) DeleteClient(ctx context.Context, id string) error {
	began := time.Now()
	err := s.Store.DeleteClient(ctx, id)
	s.tell(ctx, DeleteClient, began, err)
	return err
}

// ListClients implements storage.Clients.
func (s *store) ListClients(ctx context.Context, after string, limit int) ([]storage.Client, error) {
	began := time.Now()
	value, err := s.Store.ListClients(ctx, after, limit)
	s.tell(ctx, ListClients, began, err)
	return value, err
}

// CreateKey implements storage.Keys.
func (s *store) CreateKey(ctx context.Context, k storage.Key) error {
	began := time.Now()
	err := s.Store.CreateKey(ctx, k)
	s.tell(ctx, CreateKey, began, err)
	return err
}

// ListKeys implements storage.Keys.
func (s *store) ListKeys(ctx context.Context) ([]storage.Key, error) {
	began := time.Now()
	value, err := s.Store.ListKeys(ctx)
	s.tell(ctx, ListKeys, began, err)
	return value, err
}

// DeleteKey implements storage.Keys.
func (s *store) DeleteKey(ctx context.Context, id byte) error {
	began := time.Now()
	err := s.Store.DeleteKey(ctx, id)
	s.tell(ctx, DeleteKey, began, err)
	return err
}

// LoadGuesses implements storage.Guesses.
func (s *store) LoadGuesses(ctx context.Context, key storage.GuessKey) ([]byte, error) {
	began := time.Now()
	value, err := s.Store.LoadGuesses(ctx, key)
	s.tell(ctx, LoadGuesses, began, err)
	return value, err
}

// SwapGuesses implements storage.Guesses.
func (s *store) SwapGuesses(ctx context.Context, key storage.GuessKey, old, next []byte, expiry time.Time) ([]byte, error) {
	began := time.Now()
	value, err := s.Store.SwapGuesses(ctx, key, old, next, expiry)
	s.tell(ctx, SwapGuesses, began, err)
	return value, err
}

// AppendAudit implements storage.Audit.
func (s *store) AppendAudit(ctx context.Context, events ...storage.AuditEvent) error {
	began := time.Now()
	err := s.Store.AppendAudit(ctx, events...)
	s.tell(ctx, AppendAudit, began, err)
	return err
}

// ListAudit implements storage.Audit.
func (s *store) ListAudit(ctx context.Context, q storage.AuditQuery, limit int) (storage.AuditPage, error) {
	began := time.Now()
	value, err := s.Store.ListAudit(ctx, q, limit)
	s.tell(ctx, ListAudit, began, err)
	return value, err
}

// TrimAudit implements storage.Audit.
func (s *store) TrimAudit(ctx context.Context, before time.Time, keep int) error {
	began := time.Now()
	err := s.Store.TrimAudit(ctx, before, keep)
	s.tell(ctx, TrimAudit, began, err)
	return err
}
