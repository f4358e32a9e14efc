package main

import (
	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/stockredis"
)

// openStores opens the store, and the stock tokens that migrate_from names (nil
// without it). Revocations in the returned store end stock tokens too, and closing it
// closes both.
func openStores(c *config) (storage.Store, *stockredis.Store, error) {
	store, err := openStore(c)
	if err != nil || c.MigrateFrom.IsZero() {
		return store, nil, err
	}
	stock, err := stockredis.Open(c.stock(store))
	if err != nil {
		_ = store.Close() // nothing was written
		return nil, nil, usagef("migrate_from: %w", err)
	}
	return stock.Cover(store), stock, nil
}

func (c *config) stock(store storage.Store) stockredis.Config {
	var audiences []string // as authserver sets them when no audience was asked for
	if c.strict() {
		base, usersMe := c.resources()
		audiences = []string{base, usersMe}
	}
	return stockredis.Config{
		URL:             c.MigrateFrom.Reveal(),
		Store:           store,
		Username:        passhash.Username,
		Scopes:          c.Scopes,
		DefaultScopes:   c.DefaultScopes,
		AdminScope:      authserver.AdminScope,
		Audiences:       audiences,
		RefreshAbsolute: c.RefreshAbsolute,
	}
}

// checkMigrateFrom only parses the URL: Open doesn't connect.
func (c *config) checkMigrateFrom(f *faults) {
	if c.MigrateFrom.IsZero() {
		return
	}
	s, err := stockredis.Open(c.stock(nil))
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		f.addf("migrate_from", "%v", err)
	}
}

// validator returns the validator of access tokens. It honours stock tokens too if
// migrate_from is set.
func (p *process) validator() resource.Validator {
	if p.stock == nil {
		return resource.NewStoreValidator(p.keys, p.store)
	}
	return resource.NewStoreValidator(p.keys, p.store, resource.WithLegacy(p.stock))
}

// legacy returns the stock tokens for the authorization server, or nil.
func (p *process) legacy() authserver.Legacy {
	if p.stock == nil {
		return nil
	}
	return p.stock
}
