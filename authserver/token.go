package authserver

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/grantd/grantd/internal/jsonobject"
	"github.com/grantd/grantd/storage"
)

// The values of grant_type that the server knows; see grantTypes.
const (
	grantPassword          = string(storage.Password)
	grantClientCredentials = string(storage.ClientCredentials)
	grantRefreshToken      = "refresh_token"
)

// grantTypes are the values of grant_type that the server offers.
func (s *Server) grantTypes() []string {
	offered := []string{grantRefreshToken, grantClientCredentials}
	if !s.cfg.Strict {
		offered = append(offered, grantPassword)
	}
	return offered
}

// tokenRequest is a request as the grants see it.
type tokenRequest struct {
	params
	begun     beginning      // of a client credentials grant, from before its client was loaded
	client    storage.Client // authenticated
	audience  string         // of the grant to be made, see Server.audience
	address   netip.Addr
	userAgent string
	event     *Event
}

// tokenResponse is the answer of RFC 6749 section 5.1.
type tokenResponse struct {
	accessToken  string
	expiresIn    int64  // seconds
	refreshToken string // may be empty
	scope        string
}

func (t tokenResponse) json() []byte {
	const usual = 384 // bytes
	o := jsonobject.Begin(make([]byte, 0, usual))
	o.Text("access_token", t.accessToken)
	o.Text("token_type", "Bearer")
	o.Number("expires_in", t.expiresIn)
	o.TextIfAny("refresh_token", t.refreshToken)
	o.Text("scope", t.scope)
	return o.End()
}

// token answers POST /token, RFC 6749 section 3.2.
func (s *Server) token(w http.ResponseWriter, r *http.Request, ev *Event) error {
	form, err := parseParams(w, r)
	if err != nil {
		return err
	}
	if form["grant_type"] == "" && s.namesNoClient(r.Header, form) && form["username"] != "" {
		form["grant_type"] = grantPassword // a bare form with a username and a password
	}
	if form["grant_type"] != grantPassword { // a client that hung up gets no password hashed
		alone, done := s.withoutClient(r)
		defer done()
		r = alone
	}
	req := tokenRequest{
		params:    form,
		address:   s.cfg.RemoteAddr(r),
		userAgent: cutText(r.UserAgent(), storage.MaxUserAgent),
		event:     ev,
	}
	pair, err := s.authenticateAndGrant(w, r, req)
	if errors.Is(err, errClientChanged) {
		pair, err = s.authenticateAndGrant(w, r, req)
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, pair.json())
	return nil
}

func (s *Server) authenticateAndGrant(w http.ResponseWriter, r *http.Request, req tokenRequest) (tokenResponse, error) {
	authenticate := s.authenticateClient
	switch req.params["grant_type"] {
	case grantRefreshToken:
		authenticate = s.authenticateRecent
	case grantClientCredentials:
		req.begun.id = storage.NewGrantID("")
		authenticate = func(r *http.Request, form params) (storage.Client, error) {
			return s.authenticate(r, form, func(c credentials) (_ storage.Client, err error) {
				if req.begun, err = s.beginClient(r.Context(), req.begun.id); err != nil {
					return storage.Client{}, err
				}
				return s.verifyClient(r.Context(), c)
			})
		}
	}
	client, err := authenticate(r, req.params)
	if err != nil {
		return tokenResponse{}, err
	}
	allowOrigin(w, r, client)
	req.client = client
	req.event.ClientID = client.ID
	return s.grant(r.Context(), req)
}

// grant passes the request on to its grant type, if the client may use that.
func (s *Server) grant(ctx context.Context, req tokenRequest) (tokenResponse, error) {
	grantType := req.params["grant_type"]
	switch {
	case grantType == "":
		return tokenResponse{}, ErrInvalidRequest.telling("grant_type is missing")
	case !slices.Contains(s.grantTypes(), grantType):
		return tokenResponse{}, ErrUnsupportedGrantType
	}
	req.event.GrantType = grantType
	if !req.client.Public {
		req.event.Act = acts[grantType]
	}
	if !slices.Contains(req.client.Grants, grantType) {
		return tokenResponse{}, ErrUnauthorizedClient
	}
	switch grantType {
	case grantPassword:
		return s.password(ctx, req)
	case grantClientCredentials:
		return s.clientCredentials(ctx, req)
	default:
		return s.refresh(ctx, req)
	}
}

// respond describes the pair as of now: expires_in is the rest of the access
// token's life, in whole seconds.
func respond(g storage.Grant, now time.Time, access, refresh string) tokenResponse {
	return tokenResponse{
		accessToken:  access,
		expiresIn:    max(0, int64(g.AccessExpiry.Sub(now)/time.Second)),
		refreshToken: refresh,
		scope:        g.AccessScope,
	}
}

// now returns the time in milliseconds, the precision of stored grants.
func (s *Server) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Millisecond) }

// accessLifetime returns the client's own lifetime, or else the server's.
func (s *Server) accessLifetime(c storage.Client) time.Duration {
	if c.AccessLifetime > 0 {
		return c.AccessLifetime
	}
	return s.cfg.AccessLifetime
}

// cutText cuts s to at most n bytes of valid, printable UTF-8.
func cutText(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	for len(s) > n {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}
