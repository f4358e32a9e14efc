package opaque_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// keyStore keeps keys in memory and fails on demand.
type keyStore struct {
	mu    sync.Mutex
	keys  []storage.Key
	lists int
	fault error
}

func (s *keyStore) CreateKey(_ context.Context, k storage.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.keys, func(have storage.Key) bool { return have.ID == k.ID }) {
		return storage.ErrExists
	}
	s.keys = append(s.keys, k)
	return s.fault
}

func (s *keyStore) ListKeys(context.Context) ([]storage.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	return slices.Clone(s.keys), s.fault
}

func (s *keyStore) DeleteKey(context.Context, byte) error { return nil }

func load(t testing.TB, s opaque.Source) *opaque.Keyring {
	t.Helper()
	r, err := s.Keyring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestKeyringIsASourceOfItself(t *testing.T) {
	if r := newKeyring(t, 1); load(t, r) != r {
		t.Error("another keyring came back")
	}
}

func TestLoaderMakesTheFirstKey(t *testing.T) {
	store, sealer := &keyStore{}, newSealer(t)
	text := mint(t, load(t, opaque.NewLoader(store, sealer)), opaque.Access).text
	if len(store.keys) != 1 || store.keys[0].Created.IsZero() {
		t.Fatalf("the store keeps %d keys, want 1 with its time", len(store.keys))
	}
	// A later process recognises what the first one minted.
	if _, err := load(t, opaque.NewLoader(store, sealer)).Parse(opaque.Access, text); err != nil {
		t.Error(err)
	}
}

func TestProcessesThatRaceForTheFirstKeyAgree(t *testing.T) {
	store, sealer := &keyStore{}, newSealer(t)
	rings := make([]*opaque.Keyring, 20)
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() { rings[i], _ = opaque.NewLoader(store, sealer).Keyring(t.Context()) })
	}
	wg.Wait()
	text := mint(t, rings[0], opaque.Access).text
	for i, r := range rings {
		if _, err := r.Parse(opaque.Access, text); err != nil {
			t.Errorf("process %d: %v", i, err)
		}
	}
}

func TestLoaderAsksTheStoreUntilItAnswersAndThenNoMore(t *testing.T) {
	store := &keyStore{fault: storage.ErrUnavailable}
	loader := opaque.NewLoader(store, newSealer(t))
	if _, err := loader.Keyring(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Fatalf("%v, want ErrUnavailable", err)
	}
	store.fault = nil
	first := load(t, loader)
	lists := store.lists
	for range 10 {
		if load(t, loader) != first {
			t.Error("another keyring came back")
		}
	}
	if store.lists != lists {
		t.Error("a loaded keyring was asked for again")
	}
}

func TestLoaderRefusesKeysOfAnotherDeploymentSecret(t *testing.T) {
	store := &keyStore{}
	load(t, opaque.NewLoader(store, newSealer(t)))
	if _, err := opaque.NewLoader(store, newSealer(t)).Keyring(t.Context()); !errors.Is(err, opaque.ErrSealed) {
		t.Errorf("%v, want ErrSealed", err)
	}
}
