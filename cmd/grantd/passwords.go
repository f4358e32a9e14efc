package main

import (
	"context"
	"slices"

	"github.com/grantd/grantd/storage"
)

// mayUsePasswords reports whether the client was given the password grant.
func mayUsePasswords(c storage.Client) bool {
	return slices.Contains(c.Grants, string(storage.Password))
}

// mostClients is how many clients warnOfPasswords checks at most.
const mostClients = 10_000

// warnOfPasswords logs a warning for each client that may use the password grant. It
// doesn't delay the start, and an error of it is only logged.
func (p *process) warnOfPasswords(ctx context.Context) {
	looked := 0
	err := eachClient(ctx, p.store, func(c storage.Client) bool {
		if looked == mostClients {
			p.log.Warn("only the first clients were checked for the password grant", "looked_at", looked)
			return false
		}
		looked++
		if mayUsePasswords(c) {
			p.log.Warn("the client may use the password grant; RFC 9700 section 2.4 advises against it", "client_id", c.ID)
		}
		return true
	})
	if err != nil && ctx.Err() == nil {
		p.log.Warn("clients couldn't be checked for the password grant", "error", err.Error())
	}
}
