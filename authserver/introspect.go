package authserver

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/grantd/grantd/internal/jsonobject"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// IntrospectScope is the scope of an access token that may be used to
// introspect others. The server offers it only when it is among Config.Scopes.
const IntrospectScope = "introspect"

// The errors of a caller that may not introspect, RFC 7662 section 2.3. That
// section wants 401 also for a bearer token of too little scope, where RFC 6750
// has 403. It says nothing about an authenticated client without the right.
// That is a 403 here, because authenticating again wouldn't help.
var (
	errMayNotIntrospect = &Error{
		Status: http.StatusForbidden, Code: "unauthorized_client",
		Description: "The client may not introspect tokens.",
	}
	errBearerToken = &Error{
		Status: http.StatusUnauthorized, Code: "invalid_token",
		Description: "The access token is malformed, unknown, expired, revoked or for another server.",
		challenge:   `Bearer realm="%s", error="invalid_token"`,
	}
	errBearerScope = &Error{
		Status: http.StatusUnauthorized, Code: "insufficient_scope",
		Description: "The access token lacks the scope that introspection needs.",
		challenge:   `Bearer realm="%s", error="insufficient_scope", scope="` + IntrospectScope + `"`,
	}
)

// inactive is the answer of RFC 7662 section 2.2 for everything that isn't a
// live access token. It has no other member.
var inactive = []byte(`{"active":false}`)

// introspect answers POST /introspect, RFC 7662. Only access tokens are ever
// active. Callers are resource servers, and many of them check only the member
// active: they would accept a refresh token as a bearer token.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request, ev *Event) error {
	form, err := parseParams(w, r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	caller, err := s.introspector(r, form)
	ev.ClientID = caller.ID
	if err != nil {
		return err
	}
	if form["token"] == "" {
		return ErrInvalidRequest.telling("token is missing")
	}
	g, err := s.accessGrant(ctx, form["token"])
	audience, shown := shownTo(caller, g)
	switch {
	case errors.Is(err, storage.ErrNotFound), err == nil && !shown:
		writeJSON(w, http.StatusOK, inactive)
	case err != nil:
		return err
	default:
		writeJSON(w, http.StatusOK, s.introspectionOf(g, audience))
	}
	return nil
}

// introspectionOf returns the answer of RFC 7662 section 2.2; times are in
// seconds since 1970.
func (s *Server) introspectionOf(g storage.Grant, audience []string) []byte {
	subject := g.UserID
	if subject == "" {
		subject = g.ClientID
	}
	const usual = 384 // bytes
	o := jsonobject.Begin(make([]byte, 0, usual))
	o.Truth("active", true)
	o.TextIfAny("scope", g.AccessScope)
	o.Text("client_id", g.ClientID)
	o.TextIfAny("username", g.Username) // left out when there is no user
	o.Text("token_type", "Bearer")
	o.Number("exp", g.AccessExpiry.Unix())
	o.Number("iat", g.Issued.Unix())
	o.Number("nbf", g.Issued.Unix()) // tokens are valid as soon as they are issued
	o.Text("sub", subject)           // the client when there is no user, as RFC 9068 section 2.2 has it
	o.Texts("aud", audience)
	o.Text("iss", s.cfg.Issuer)
	return o.End()
}

// introspector returns the caller if it may introspect: a confidential client
// with that right, or the client of an access token of IntrospectScope.
func (s *Server) introspector(r *http.Request, form params) (storage.Client, error) {
	if text, given := bearerToken(r.Header); given {
		return s.bearerIntrospector(r.Context(), text, form)
	}
	client, err := s.authenticateRecent(r, form)
	switch {
	case err != nil:
		return storage.Client{}, err
	case client.Public:
		return storage.Client{}, ErrInvalidClient.reason("a public client proves nothing: the call is as good as anonymous")
	case !client.Introspect:
		return client, errMayNotIntrospect
	}
	return client, nil
}

// bearerIntrospector returns the client that the bearer token was issued to. A
// token with an audience has to be for this server (RFC 9700 section 2.3).
func (s *Server) bearerIntrospector(ctx context.Context, text string, form params) (storage.Client, error) {
	if form["client_secret"] != "" || form["client_assertion"] != "" {
		return storage.Client{}, ErrInvalidRequest.telling("the request has both a bearer token and client credentials; send only one of them")
	}
	g, err := s.accessGrant(ctx, text)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return storage.Client{}, errBearerToken.because(err)
	case err != nil:
		return storage.Client{}, err
	case g.AccessAudience != "" && !slices.Contains(strings.Fields(g.AccessAudience), s.cfg.Issuer):
		return storage.Client{ID: g.ClientID}, errBearerToken.reason("for another resource server")
	case !slices.Contains(strings.Fields(g.AccessScope), IntrospectScope):
		return storage.Client{ID: g.ClientID}, errBearerScope
	}
	client, err := s.cfg.Store.LoadClient(ctx, g.ClientID)
	if errors.Is(err, storage.ErrNotFound) {
		return client, errBearerToken.reason("its client was deleted")
	}
	return client, err
}

// bearerToken takes the token out of the Authorization header, if there is
// exactly one and its scheme is Bearer (RFC 6750 section 2.1). It doesn't check
// the token's grammar: a malformed token matches no grant.
func bearerToken(h http.Header) (text string, given bool) {
	headers := h["Authorization"]
	if len(headers) != 1 {
		return "", false
	}
	scheme, text, _ := strings.Cut(headers[0], " ")
	return strings.TrimLeft(text, " "), strings.EqualFold(scheme, "Bearer")
}

// accessGrant returns the grant whose current access token text is, or
// ErrNotFound. It finds legacy tokens too.
func (s *Server) accessGrant(ctx context.Context, text string) (storage.Grant, error) {
	g, err := s.issuer.tokens.load(ctx, opaque.Access, text)
	if errors.Is(err, errForeign) {
		return s.legacyAccess(ctx, text)
	}
	return g, err
}
