package opaque

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/storage"
)

// Source gives the keyring to use now. A Keyring is a Source of itself; a
// Loader gets it from a store.
type Source interface {
	// Keyring returns the keyring, or an error that wraps
	// storage.ErrUnavailable when it can't be had now.
	Keyring(ctx context.Context) (*Keyring, error)
}

// Keyring returns r.
func (r *Keyring) Keyring(context.Context) (*Keyring, error) { return r, nil }

// Loader is a Source that loads the keyring from a store when it is first
// asked, and again until it succeeds: a server may start before its store. It
// is safe for concurrent use.
type Loader struct {
	keys   storage.Keys
	sealer *Sealer

	loaded atomic.Pointer[Keyring]
	mu     sync.Mutex // held while loading
}

// NewLoader returns a source of the store's deployment keys. The first process
// to ask an empty store makes its first key.
func NewLoader(keys storage.Keys, sealer *Sealer) *Loader {
	return &Loader{keys: keys, sealer: sealer}
}

// Keyring returns the store's keyring. It returns ErrSealed when the deployment
// secret isn't the one that the keys were sealed under.
func (l *Loader) Keyring(ctx context.Context) (*Keyring, error) {
	if r := l.loaded.Load(); r != nil {
		return r, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.loaded.Load(); r != nil {
		return r, nil
	}
	r, err := l.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the deployment keys: %w", err)
	}
	l.loaded.Store(r)
	return r, nil
}

func (l *Loader) load(ctx context.Context) (*Keyring, error) {
	stored, err := l.keys.ListKeys(ctx)
	if err == nil && len(stored) == 0 {
		stored, err = l.first(ctx)
	}
	if err != nil {
		return nil, err
	}
	keys := make([]Key, len(stored))
	for i, k := range stored {
		if keys[i], err = l.sealer.Unseal(k.ID, k.Sealed); err != nil {
			return nil, err
		}
	}
	return NewKeyring(keys...)
}

// first makes the first key. When another process was faster, its key counts.
func (l *Loader) first(ctx context.Context) ([]storage.Key, error) {
	const firstID = 1
	k := storage.Key{ID: firstID, Sealed: l.sealer.Seal(NewKey(firstID)), Created: time.Now().UTC()}
	if err := l.keys.CreateKey(ctx, k); err != nil && !errors.Is(err, storage.ErrExists) {
		return nil, err
	}
	return l.keys.ListKeys(ctx)
}
