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

// filler leaves grants behind as the password grant does, without its hashing: its
// records are real ones, made by the store's own calls, and their tokens are good.
type filler struct {
	store     storage.Store
	keys      *opaque.Keyring
	address   netip.Addr
	userAgent string
}

// aClient is the address that grants come from.
var aClient = netip.MustParseAddr("192.0.2.1")

// account is a user whom grants are made for. A grant needs no record of the user.
type account struct{ id, name string }

// create makes the record of the user.
func (f filler) create(ctx context.Context, a account) error {
	return f.store.CreateUser(ctx, storage.User{ID: a.id, Name: a.name, Created: time.Now()})
}

// signIn leaves n grants of the user behind and returns their tokens.
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

// fillers is how many goroutines fill a store: their writes share pipelines or
// transactions.
const fillers = 256

// each calls do with the numbers below n, many at once.
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

// keysOf are the deployment keys of a grantd that runs on the store.
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
