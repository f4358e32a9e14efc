package resource

import (
	"net/http"

	"github.com/grantd/grantd/internal/jsonobject"
	"github.com/grantd/grantd/internal/wellknown"
)

// UsersMe returns the handler of GET /users/me, which tells whom the token of
// the request speaks for. It is guarded already and asks for no scope. The token
// is looked at before the method, so that a stranger learns nothing. Pages in
// browsers may call it from every origin: it is the token that counts. A request
// without an Origin gets no CORS headers; no cache keeps an answer, so none has to vary.
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

// me is the answer of GET /users/me. Its members are the claims of RFC 7662
// section 2.2; times are seconds since 1970.
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
