package resource

import (
	"net/http"

	"github.com/grantd/grantd/internal/jsonobject"
	"github.com/grantd/grantd/internal/wellknown"
)

// UsersMe returns the handler of GET /users/me, which describes the identity behind the
// request's token. It is guarded already and needs no scope. It checks the token before
// the method, so that a stranger learns nothing. Pages of every origin may call it,
// because only the token counts. A request without an Origin gets no CORS headers;
// answers need no Vary header, because no cache keeps them.
func (g *Guard) UsersMe() http.Handler {
	refusals := refusing(g.protection, nil)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header["Origin"]) != 0 && wellknown.AnyOrigin(w, r) {
			return
		}
		id, err := g.identify(w, r)
		if err != nil {
			g.note(r.Context(), err)
			refusals.write(w, err)
			return
		}
		if !readOnly(w, r) {
			return
		}
		writeJSON(w, http.StatusOK, me(id))
	})
}

// me returns the answer of GET /users/me. Its members are the claims of RFC
// 7662 section 2.2; times are in seconds since 1970.
func me(id Identity) []byte {
	const usual = 256 // bytes
	o := jsonobject.Begin(make([]byte, 0, usual))
	o.Text("sub", id.Subject)
	o.TextIfAny("username", id.Username) // left out when there is no user
	o.Text("scope", id.Scope)
	o.Text("client_id", id.ClientID)
	o.Texts("aud", id.Audience)
	if !id.IssuedAt.IsZero() {
		o.Number("iat", id.IssuedAt.Unix())
	}
	if !id.ExpiresAt.IsZero() {
		o.Number("exp", id.ExpiresAt.Unix())
	}
	return o.End()
}
