package main

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
)

// deployment is a dialogue with a process, and dialogues with broken variants
// of it.
type deployment struct {
	*dialogue
	process *process
	down    *dialogue // its store can only load grants
	torn    *dialogue // its store panics unless it loads a grant
	shut    *dialogue // it hasn't loaded its keys yet
	odd     *dialogue // its store fails in an unknown way

	contended *dialogue // another writer is always faster to change something
	slow      *dialogue // the sweep after a revocation takes a while
}

func everything(t *testing.T, p *process) http.Handler {
	t.Helper()
	handler, _ := offered(t, p, func() (handlers, error) { return p.offerAll("") })
	t.Cleanup(p.admin.Close)
	return handler
}

// on is the process on another store.
func (p *process) on(s storage.Store) *process {
	other := *p
	other.store = s
	return &other
}

// onlyGrants is a store that loads the grants of another store. All the rest is
// its own.
type onlyGrants struct {
	storage.Store
	grants storage.Grants
}

// LoadGrant asks the store of the grants first.
func (s onlyGrants) LoadGrant(ctx context.Context, id storage.GrantID) (storage.Grant, error) {
	if g, err := s.grants.LoadGrant(ctx, id); err == nil {
		return g, nil
	}
	return s.Store.LoadGrant(ctx, id)
}

// oddStore fails in a way that no store should.
type oddStore struct{ storage.Store }

var errOdd = errors.New("odd")

// LoadUser fails.
func (oddStore) LoadUser(context.Context, string) (storage.User, error) {
	return storage.User{}, errOdd
}

// LoadClient fails.
func (oddStore) LoadClient(context.Context, string) (storage.Client, error) {
	return storage.Client{}, errOdd
}

// LoadGrant fails unless the grant exists.
func (s oddStore) LoadGrant(ctx context.Context, id storage.GrantID) (storage.Grant, error) {
	g, err := s.Store.LoadGrant(ctx, id)
	if err != nil {
		err = errOdd
	}
	return g, err
}

// ListKeys fails.
func (oddStore) ListKeys(context.Context) ([]storage.Key, error) { return nil, errOdd }

// contendedStore is a store in which another writer is always faster.
type contendedStore struct{ storage.Store }

// UpdateUser is too late.
func (contendedStore) UpdateUser(context.Context, storage.User) error { return storage.ErrConflict }

// UpdateClient is too late.
func (contendedStore) UpdateClient(context.Context, storage.Client) error { return storage.ErrConflict }

// slowStore is slow to sweep grants that were ended.
type slowStore struct{ storage.Store }

// Sweep begins late.
func (s slowStore) Sweep(ctx context.Context, r storage.Revocation, report func(storage.Swept) error) (storage.Swept, error) {
	select {
	case <-time.After(200 * time.Millisecond):
	case <-ctx.Done():
	}
	return s.Store.Sweep(ctx, r, report)
}

// outOfOrder is a store that can only load grants.
func outOfOrder(t *testing.T, grants storage.Grants) storage.Store {
	t.Helper()
	s, err := embedded.Open(embedded.Memory)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return onlyGrants{s, grants}
}

// unstarted is the process before its start: its keys can't be used yet.
func (p *process) unstarted() *process {
	other := *p
	other.keys, other.health = &gate{loader: p.keys.loader}, &health{check: p.store.Health}
	return &other
}

const (
	userPassword  = "correct horse battery"
	adminPassword = "staple of the admin"
)

// seedSite makes the users alice and root, who is an admin, and clients of each kind.
func seedSite(t *testing.T, p *process) {
	t.Helper()
	signUp(t, p, "alice", userPassword)
	signUp(t, p, "root", adminPassword)
	all := []string{"password", "refresh_token", "client_credentials"}
	for _, c := range []storage.Client{
		{ID: "web", Secret: storage.NewSecretVerifier(secret32), Grants: all, Scopes: []string{"read", "write", "admin", "introspect"}, Origins: []string{"https://app.example"}},
		{ID: "other", Secret: storage.NewSecretVerifier(secret32), Grants: []string{"client_credentials", "authorization_code"}, Scopes: []string{"read"}}, // as the demo's
		{ID: "app", Public: true, Grants: []string{"password"}, Scopes: []string{"read"}},
		{ID: "api", Secret: storage.NewSecretVerifier(secret32), Introspect: true},
	} {
		if err := p.store.CreateClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
}

// signUp makes a user; root is an admin.
func signUp(t *testing.T, p *process, name, password string) {
	t.Helper()
	hash, err := p.hasher.Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.store.CreateUser(t.Context(), newUser(name, hash, name == "root")); err != nil {
		t.Fatal(err)
	}
}

var asWeb = authorization("web", secret32)
