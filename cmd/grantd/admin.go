package main

import (
	"context"
	"net/http"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/internal/wellknown"
	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// adminAPI returns the settings of an admin API on the store. The caller adds who
// acts and who is told of it.
func (c *config) adminAPI(store storage.Store, hasher *passhash.Hasher) admin.Config {
	return admin.Config{
		Store:         store,
		Passwords:     hasher,
		Keys:          c.deploymentKeys(store),
		Policy:        c.passwordPolicy(),
		Scopes:        c.Scopes,
		DefaultScopes: c.DefaultScopes,
		Strict:        c.strict(),
		Audit:         func(ctx context.Context, e storage.AuditEvent) error { return store.AppendAudit(ctx, e) },
	}
}

// deploymentKeys returns the deployment keys of the store. Without a deployment
// secret, as a command may be, they can't make a new key.
func (c *config) deploymentKeys(store storage.Keys) *opaque.Keys {
	sealer, err := opaque.NewSealer([]byte(c.Secret.Reveal()))
	if err != nil {
		sealer = nil
	}
	return opaque.NewKeys(store, sealer, nil)
}

// adminHandlers returns the handlers of the admin API by pattern. They take tokens
// with the scope admin for the resource server as a whole. p.auth must be set.
func (p *process) adminHandlers() (map[string]http.Handler, error) {
	base, _ := p.config.resources()
	guard, err := p.guardPart(base)
	if err != nil {
		return nil, usagef("%w", err)
	}
	issuer, err := wellknown.Parse(p.config.Issuer)
	if err != nil {
		return nil, usagef("issuer %w", err)
	}
	c := p.config.adminAPI(p.store, p.hasher)
	c.Path = issuer.Path
	c.Actor, c.Audit, c.Note = actor, p.audit.keep, p.noteAdmin
	c.Guard = guard.Require(authserver.AdminScope)
	c.Tell = func(_ context.Context, e storage.AuditEvent) { p.audit.tell(e) }
	c.ClientChanged, c.Revoked = p.auth.ForgetClient, p.metrics.Revoked
	c.Tokens, c.Throttle = p.keys, p.throttle
	if p.stock != nil {
		c.Legacy = p.stock
	}
	if p.admin, err = admin.New(c); err != nil {
		return nil, err
	}
	guarded := p.admin.Handler()
	found := map[string]http.Handler{}
	for _, path := range p.admin.Paths() {
		found[path] = guarded
	}
	return found, nil
}

// passwordHandlers returns the handlers, by path, with which users change their own
// password. Any token of the user will do. They belong to the listener that users
// reach. p.admin must be set.
func (p *process) passwordHandlers() (map[string]http.Handler, error) {
	base, usersMe := p.config.resources()
	guard, err := p.guardPart(usersMe, base)
	if err != nil {
		return nil, usagef("%w", err)
	}
	id, err := wellknown.Parse(base)
	if err != nil {
		return nil, usagef("resource %w", err)
	}
	guarded := guard.Require()(p.admin.OwnPassword())
	return map[string]http.Handler{
		admin.OwnPasswordPath:           guarded,
		id.Path + admin.OwnPasswordPath: guarded,
	}, nil
}

// actor returns whom the token of the request speaks for, and the address that the
// request comes from.
func actor(ctx context.Context) admin.Actor {
	id, _ := resource.IdentityFrom(ctx)
	a := admin.Actor{Username: id.Username, ClientID: id.ClientID}
	if !id.IsClient() {
		a.UserID = id.Subject
	}
	if rec := recordOf(ctx); rec != nil {
		a.Address, a.RequestID = rec.remote, rec.requestID
	}
	return a
}

// noteAdmin notes the error of a request in its record. An error in the background,
// after the request, gets a log line of its own.
func (p *process) noteAdmin(ctx context.Context, err error) {
	if recordOf(ctx) == nil {
		p.log.WarnContext(ctx, "background work of the admin API failed", "error", err.Error())
		return
	}
	note(ctx, err)
}
