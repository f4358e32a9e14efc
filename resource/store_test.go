package resource_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

type store interface {
	Epoch(context.Context, storage.GrantID) (uint32, error)
	CreateGrant(context.Context, storage.Grant) error
	LoadGrant(context.Context, storage.GrantID) (storage.Grant, error)
	DeleteGrant(context.Context, storage.GrantID) error
}

type memory struct {
	sync.RWMutex
	m map[storage.GrantID]storage.Grant
}

func newStore(t testing.TB, now func() time.Time) store {
	return &memory{m: map[storage.GrantID]storage.Grant{}}
}

func (s *memory) Epoch(context.Context, storage.GrantID) (uint32, error) { return 1, nil }
func (s *memory) CreateGrant(_ context.Context, g storage.Grant) error {
	s.Lock()
	defer s.Unlock()
	s.m[g.ID] = g
	return nil
}
func (s *memory) DeleteGrant(_ context.Context, id storage.GrantID) error {
	s.Lock()
	defer s.Unlock()
	delete(s.m, id)
	return nil
}
func (s *memory) LoadGrant(_ context.Context, id storage.GrantID) (storage.Grant, error) {
	s.RLock()
	defer s.RUnlock()
	g, ok := s.m[id]
	if !ok {
		return g, storage.ErrNotFound
	}
	return g, nil
}
