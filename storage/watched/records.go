package watched

import (
	"context"
	"time"

	"github.com/grantd/grantd/storage"
)

// Health implements storage.Store. If the store is down, the call is noted as
// failed.
func (s *store) Health(ctx context.Context) storage.Health {
	w := begin(ctx)
	h := s.Store.Health(w.ctx)
	var err error
	if h.State == storage.Down {
		err = storage.ErrUnavailable
	}
	_ = s.end(ctx, Health, w, err)
	return h
}

// Ping implements storage.Store.
func (s *store) Ping(ctx context.Context) error {
	w := begin(ctx)
	err := s.Store.Ping(w.ctx)
	return s.end(ctx, Ping, w, err)
}

// CreateUser implements storage.Users.
func (s *store) CreateUser(ctx context.Context, u storage.User) error {
	w := beginLong(ctx)
	err := s.Store.CreateUser(w.ctx, u)
	return s.end(ctx, CreateUser, w, err)
}

// LoadUser implements storage.Users.
func (s *store) LoadUser(ctx context.Context, name string) (storage.User, error) {
	w := begin(ctx)
	value, err := s.Store.LoadUser(w.ctx, name)
	return value, s.end(ctx, LoadUser, w, err)
}

// UpdateUser implements storage.Users.
func (s *store) UpdateUser(ctx context.Context, u storage.User) error {
	w := begin(ctx)
	err := s.Store.UpdateUser(w.ctx, u)
	return s.end(ctx, UpdateUser, w, err)
}

// DeleteUser implements storage.Users.
func (s *store) DeleteUser(ctx context.Context, name string) error {
	w := beginLong(ctx)
	err := s.Store.DeleteUser(w.ctx, name)
	return s.end(ctx, DeleteUser, w, err)
}

// ListUsers implements storage.Users.
func (s *store) ListUsers(ctx context.Context, after string, limit int) ([]storage.User, error) {
	w := beginLong(ctx)
	value, err := s.Store.ListUsers(w.ctx, after, limit)
	return value, s.end(ctx, ListUsers, w, err)
}

// CreateClient implements storage.Clients.
func (s *store) CreateClient(ctx context.Context, c storage.Client) error {
	w := beginLong(ctx)
	err := s.Store.CreateClient(w.ctx, c)
	return s.end(ctx, CreateClient, w, err)
}

// LoadClient implements storage.Clients.
func (s *store) LoadClient(ctx context.Context, id string) (storage.Client, error) {
	w := begin(ctx)
	value, err := s.Store.LoadClient(w.ctx, id)
	return value, s.end(ctx, LoadClient, w, err)
}

// UpdateClient implements storage.Clients.
func (s *store) UpdateClient(ctx context.Context, c storage.Client) error {
	w := begin(ctx)
	err := s.Store.UpdateClient(w.ctx, c)
	return s.end(ctx, UpdateClient, w, err)
}

// DeleteClient implements storage.Clients.
func (s *store) DeleteClient(ctx context.Context, id string) error {
	w := beginLong(ctx)
	err := s.Store.DeleteClient(w.ctx, id)
	return s.end(ctx, DeleteClient, w, err)
}

// ListClients implements storage.Clients.
func (s *store) ListClients(ctx context.Context, after string, limit int) ([]storage.Client, error) {
	w := beginLong(ctx)
	value, err := s.Store.ListClients(w.ctx, after, limit)
	return value, s.end(ctx, ListClients, w, err)
}

// CreateKey implements storage.Keys.
func (s *store) CreateKey(ctx context.Context, k storage.Key) error {
	w := begin(ctx)
	err := s.Store.CreateKey(w.ctx, k)
	return s.end(ctx, CreateKey, w, err)
}

// ListKeys implements storage.Keys.
func (s *store) ListKeys(ctx context.Context) ([]storage.Key, error) {
	w := begin(ctx)
	value, err := s.Store.ListKeys(w.ctx)
	return value, s.end(ctx, ListKeys, w, err)
}

// DeleteKey implements storage.Keys.
func (s *store) DeleteKey(ctx context.Context, id byte) error {
	w := begin(ctx)
	err := s.Store.DeleteKey(w.ctx, id)
	return s.end(ctx, DeleteKey, w, err)
}

// LoadGuesses implements storage.Guesses.
func (s *store) LoadGuesses(ctx context.Context, key storage.GuessKey) ([]byte, error) {
	w := begin(ctx)
	value, err := s.Store.LoadGuesses(w.ctx, key)
	return value, s.end(ctx, LoadGuesses, w, err)
}

// SwapGuesses implements storage.Guesses.
func (s *store) SwapGuesses(ctx context.Context, key storage.GuessKey, old, next []byte, expiry time.Time) ([]byte, error) {
	w := begin(ctx)
	value, err := s.Store.SwapGuesses(w.ctx, key, old, next, expiry)
	return value, s.end(ctx, SwapGuesses, w, err)
}

// AppendAudit implements storage.Audit.
func (s *store) AppendAudit(ctx context.Context, events ...storage.AuditEvent) error {
	w := begin(ctx)
	err := s.Store.AppendAudit(w.ctx, events...)
	return s.end(ctx, AppendAudit, w, err)
}

// ListAudit implements storage.Audit.
func (s *store) ListAudit(ctx context.Context, q storage.AuditQuery, limit int) (storage.AuditPage, error) {
	w := begin(ctx)
	value, err := s.Store.ListAudit(w.ctx, q, limit)
	return value, s.end(ctx, ListAudit, w, err)
}

// TrimAudit implements storage.Audit.
func (s *store) TrimAudit(ctx context.Context, before time.Time, keep int) error {
	w := begin(ctx)
	err := s.Store.TrimAudit(w.ctx, before, keep)
	return s.end(ctx, TrimAudit, w, err)
}
