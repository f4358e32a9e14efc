package main

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// filler creates grants as the password grant does, but hashes no password. It makes
// real records through the calls of the store, and their tokens are good.
type filler struct {
	store     storage.Store
	keys      *opaque.Keyring
	address   netip.Addr
	userAgent string
}

// aClient is the address of the client that signs in.
var aClient = netip.MustParseAddr("192.0.2.1")

// account is a user with grants. A grant needs no record of the user.
type account struct{ id, name string }

// create creates the record of the user.
func (f filler) create(ctx context.Context, a account) error {
	return f.store.CreateUser(ctx, storage.User{ID: a.id, Name: a.name, Created: time.Now()})
}

// signIn creates n grants of the user and returns their tokens.
func (f filler) signIn(ctx context.Context, a account, n int) ([]pair, error) {
	var held []pair
	now := time.Now().UTC().Truncate(time.Millisecond)
	for range n {
		g := storage.Grant{
			ID: storage.NewGrantID(a.id), Type: storage.Password, UserID: a.id, Username: a.name, ClientID: "demo",
			Scope: "read", AccessScope: "read", Generation: 1, Created: now, Issued: now,
			AccessExpiry: now.Add(12 * time.Hour), RefreshExpiry: now.Add(30 * 24 * time.Hour), End: now.Add(90 * 24 * time.Hour),
			Address: f.address, UserAgent: f.userAgent,
		}
		var p pair
		p.Access, g.Access = f.keys.Mint(opaque.Access, g.ID, 1)
		p.Refresh, g.Refresh = f.keys.Mint(opaque.Refresh, g.ID, 1)
		var err error
		if g.Epoch, err = f.store.Epoch(ctx, g.ID); err == nil {
			err = f.store.CreateGrant(ctx, g)
		}
		if err != nil {
			return nil, err
		}
		held = append(held, p)
	}
	return held, nil
}

// fillers is how many goroutines fill a store. Their writes share pipelines or
// transactions.
const fillers = 256

// each calls do with each number below n, many at once.
func each(n int, do func(i int) error) error {
	var next atomic.Int64
	return together(fillers, func() error {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			if err := do(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// keysOf returns the deployment keys of the grantd that runs on the store.
func keysOf(ctx context.Context, s *server, store storage.Keys) (*opaque.Keyring, error) {
	secret, err := os.ReadFile(filepath.Join(s.dir, ".grantd", "secret"))
	if err != nil {
		return nil, err
	}
	sealer, err := opaque.NewSealer(bytes.TrimSpace(secret))
	if err != nil {
		return nil, err
	}
	return opaque.NewLoader(store, sealer).Keyring(ctx)
}
