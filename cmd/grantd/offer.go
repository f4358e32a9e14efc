package main

import (
	"maps"
	"net/http"
	"strings"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/internal/wellknown"
	"github.com/grantd/grantd/resource"
)

// offerAll returns the authorization server and the resource server for one
// listener, and the admin API for the same listener or for its own.
func (p *process) offerAll(defaultClient string) (handlers, error) {
	auth, err := p.authHandlers(defaultClient)
	if err != nil {
		return handlers{}, err
	}
	api, err := p.resourceHandlers()
	if err != nil {
		return handlers{}, err
	}
	maps.Copy(auth, api)
	h := handlers{oauth: auth, metrics: p.mainMetrics()}
	if h.admin, err = p.adminHandlers(); err != nil {
		return handlers{}, err
	}
	h.nothing = p.admin.NotFound()
	for pattern := range h.admin {
		if strings.HasSuffix(pattern, "/") {
			h.escaped = append(h.escaped, pattern)
		}
	}
	password, err := p.passwordHandlers()
	if err != nil {
		return handlers{}, err
	}
	maps.Copy(auth, password)
	if p.config.AdminAddr == "" {
		maps.Copy(auth, h.admin)
		h.admin = nil
	}
	return h, p.describe(p.config.Issuer, h)
}

// offerResource returns the resource server alone.
func (p *process) offerResource() (handlers, error) {
	api, err := p.resourceHandlers()
	if err != nil {
		return handlers{}, err
	}
	h := handlers{oauth: api, metrics: p.mainMetrics()}
	base, _ := p.config.resources()
	return h, p.describe(base, h)
}

// authHandlers returns the handlers of the authorization server by path.
// defaultClient may be empty.
func (p *process) authHandlers(defaultClient string) (map[string]http.Handler, error) {
	base, usersMe := p.config.resources()
	server, err := authserver.New(authserver.Config{
		Issuer:          p.config.Issuer,
		Audiences:       []string{base, usersMe},
		Store:           p.store,
		Keys:            p.keys,
		Legacy:          p.legacy(),
		Passwords:       p.hasher,
		Scopes:          p.config.Scopes,
		DefaultScopes:   p.config.DefaultScopes,
		AccessLifetime:  p.config.AccessLifetime,
		RefreshIdle:     p.config.RefreshIdle,
		RefreshAbsolute: p.config.RefreshAbsolute,
		RetryWindow:     p.config.RetryWindow,
		Strict:          p.config.strict(),
		DefaultClient:   defaultClient,
		Unthrottled:     p.throttle == nil,
		Throttle:        p.throttle,
		RemoteAddr:      remoteAddr,
		Note:            p.noteOAuth,
	})
	if err != nil {
		return nil, usagef("%w", err)
	}
	p.auth = server
	return server.Routes(), nil
}

// resourceHandlers returns the handlers of the resource server by path. There are
// two resources with metadata of their own: the server as a whole, and /users/me,
// whose metadata has to name the URL that clients call (RFC 9728 section 3.3).
// /users/me answers below the path of the server, and also at the root, for a proxy
// that strips the path.
func (p *process) resourceHandlers() (map[string]http.Handler, error) {
	base, usersMe := p.config.resources()
	whole, err := p.guard(base, "grantd")
	if err != nil {
		return nil, usagef("%w", err)
	}
	me, err := p.guard(usersMe, "grantd: whom a token speaks for", base)
	if err != nil {
		return nil, usagef("%w", err)
	}
	id, err := wellknown.Parse(base)
	if err != nil {
		return nil, usagef("resource %w", err)
	}
	return map[string]http.Handler{
		"/users/me":           me.UsersMe(),
		id.Path + "/users/me": me.UsersMe(),
		me.MetadataPath():     me.Metadata(),
		whole.MetadataPath():  whole.Metadata(),
	}, nil
}

// guard returns the guard of the resource with the identifier. It also accepts
// tokens for the audiences in others.
func (p *process) guard(identifier, name string, others ...string) (*resource.Guard, error) {
	return resource.New(resource.Config{
		Validator:            p.validator(),
		Resource:             identifier,
		Audiences:            others,
		AuthorizationServers: []string{p.config.Issuer},
		Name:                 name,
		Note:                 p.noteBearer,
	})
}

// guardPart returns a guard for an endpoint without metadata of its own. Tokens have
// to be for one of the audiences. Challenges name no metadata, because a client must
// not use metadata that names another URL than the one it called (RFC 9728 section
// 3.3).
func (p *process) guardPart(audiences ...string) (*resource.Guard, error) {
	return resource.New(resource.Config{Validator: p.validator(), Audiences: audiences, Note: p.noteBearer})
}
