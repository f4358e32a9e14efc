package resource

import (
	"encoding/json"
	"net/http"

	"github.com/grantd/grantd/internal/wellknown"
)

// me is the answer of GET /users/me. Its members are the claims of RFC 7662
// section 2.2; times are seconds since 1970.
type me struct {
	Subject  string `json:"sub"`
	Username string `json:"username,omitempty"` // left out when there is no user
	Scope    string `json:"scope"`
	ClientID string `json:"client_id"`
	Audience any    `json:"aud,omitempty"` // of audienceMember
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

// UsersMe returns the handler of GET /users/me, which tells whom the token of
// the request speaks for. It is guarded already and asks for no scope. The token
// is looked at before the method, so that a stranger learns nothing. Pages in
// browsers may call it from every origin: it is the token that counts.
func (g *Guard) UsersMe() http.Handler {
	refusals := refusing(g.protection, nil)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wellknown.AnyOrigin(w, r) {
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
		body, _ := json.Marshal(&me{ // strings and integers always encode
			Subject:  id.Subject,
			Username: id.Username,
			Scope:    id.Scope,
			ClientID: id.ClientID,
			Audience: audienceMember(id.Audience),
			IssuedAt: id.IssuedAt.Unix(),
			Expires:  id.ExpiresAt.Unix(),
		})
		writeJSON(w, http.StatusOK, body)
	})
}

// audienceMember is a string when there is one, an array when there are several,
// and nil, left out, when there is none: as RFC 7662 section 2.2 has it.
func audienceMember(audience []string) any {
	switch len(audience) {
	case 0:
		return nil
	case 1:
		return audience[0]
	}
	return audience
}
