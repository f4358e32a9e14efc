package authserver

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/grantd/grantd/authserver/throttle"
	"github.com/grantd/grantd/storage"
)

// maxClientID is the longest client id that is looked up, in bytes.
const maxClientID = 256

// credentials are the client id and secret of a request. Basic credentials can
// have two readings: form-decoded, as RFC 6749 section 2.3.1 wants it, and raw,
// as curl -u and many libraries send them.
type credentials struct{ id, secret string }

// authenticateClient finds the client of a request and authenticates it (RFC
// 6749 sections 2.3 and 3.2.1). Every failure is ErrInvalidClient with the same
// text, except that a request with two methods is ErrInvalidRequest, and after
// too many failures the error is errThrottled.
func (s *Server) authenticateClient(r *http.Request, form params) (storage.Client, error) {
	return s.authenticate(r, form, func(c credentials) (storage.Client, error) { return s.verifyClient(r.Context(), c) })
}

// authenticateRecent is authenticateClient for a refresh and for introspection.
// It may use a client that was loaded a moment ago: see clientCache.
func (s *Server) authenticateRecent(r *http.Request, form params) (storage.Client, error) {
	known := ""
	client, err := s.authenticate(r, form, func(c credentials) (storage.Client, error) {
		now := s.now()
		client, recent, forgets := s.clients.recent(c.id, now)
		if recent && c.of(client, now) {
			known = client.ID
			return client, nil
		}
		client, err := s.verifyClient(r.Context(), c)
		if err == nil {
			s.clients.remember(client, now, forgets)
		}
		return client, err
	})
	if err != nil && known != "" { // right, but throttled: the refusal has to take as long as that of a wrong secret
		_, _ = s.loadClient(r.Context(), known)
	}
	return client, err
}

// authenticate tries each reading of the request's credentials. After too many
// failures it refuses even the right secret, or the refusal would tell wrong from
// right. If all readings are wrong, each counts against the client that it
// names. Requests that are tried at the same time don't wait for each other;
// the limit is checked again before any of them is told its outcome.
//
// A request without a secret, such as one of a public client, is no guess: it
// isn't counted and never throttled. Invented tokens aren't counted either, not
// even at /introspect. Their tag shows that they are invented, without a
// look-up, so scanning finds nothing. And a stranger who sends garbage to a
// resource server must not get that server locked out here.
func (s *Server) authenticate(r *http.Request, form params, verify func(credentials) (storage.Client, error)) (storage.Client, error) {
	readings, err := s.readCredentials(r.Header, form)
	if err != nil {
		return storage.Client{}, err
	}
	if readings[0].secret == "" {
		return tryReadings(readings, verify)
	}
	trial, err := s.try(r, readings)
	if err != nil {
		return storage.Client{}, err
	}
	client, err := tryReadings(readings, verify)
	if err == nil {
		if err := trial.Succeeded(r.Context()); err != nil {
			return storage.Client{}, throttled(err)
		}
		return client, nil
	}
	if !errors.Is(err, ErrInvalidClient) {
		return client, err
	}
	last, uncounted := trial.Failed(r.Context())
	if uncounted != nil {
		return client, throttled(uncounted)
	}
	return client, guessed(err, last)
}

// try begins a trial of the readings, which costs one failure for each if all
// are wrong. An id that no client can have counts for the network alone.
func (s *Server) try(r *http.Request, readings []credentials) (*throttle.Trial, error) {
	ids := make([]string, len(readings))
	for i, c := range readings {
		if len(c.id) <= maxClientID {
			ids[i] = c.id
		}
	}
	trial, err := s.limiter.Try(throttle.NetworkOf(s.cfg.RemoteAddr(r)), ids...)
	return trial, throttled(err)
}

// tryReadings returns the client of the first right reading. If all are wrong
// it returns the error of the first that names an existing client, or else of
// the last.
func tryReadings(readings []credentials, verify func(credentials) (storage.Client, error)) (storage.Client, error) {
	var failed error
	for _, c := range readings {
		client, err := verify(c)
		if !errors.Is(err, ErrInvalidClient) {
			return client, err
		}
		var known *Error
		if !errors.As(failed, &known) || known.claimed == "" {
			failed = err
		}
	}
	return storage.Client{}, failed
}

func (s *Server) verifyClient(ctx context.Context, c credentials) (storage.Client, error) {
	client, err := s.loadClient(ctx, c.id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		c.of(s.nobody, s.now()) // an unknown client has to take as long as a known one
		return client, ErrInvalidClient.reason("unknown client")
	case err != nil:
		return client, err
	case !c.of(client, s.now()):
		wrong := ErrInvalidClient.reason("wrong client secret")
		wrong.claimed = client.ID
		return client, wrong
	}
	return client, nil
}

// of reports whether the credentials are the client's: its current secret, its
// previous secret while that is still valid, or no secret for a public client.
func (c credentials) of(client storage.Client, now time.Time) bool {
	if client.Public {
		return c.secret == ""
	}
	return client.VerifySecret(c.secret, now)
}

func (s *Server) loadClient(ctx context.Context, id string) (storage.Client, error) {
	if id == "" || len(id) > maxClientID {
		return storage.Client{}, storage.ErrNotFound
	}
	return s.cfg.Store.LoadClient(ctx, id)
}

func (s *Server) readCredentials(h http.Header, form params) ([]credentials, error) {
	authorization := h.Values("Authorization")
	switch {
	case len(authorization) > 1:
		return nil, ErrInvalidRequest.telling("there is more than one Authorization header")
	case s.namesNoClient(h, form):
		return []credentials{{id: s.cfg.DefaultClient}}, nil
	case len(authorization) == 1:
		return basicCredentials(authorization[0], form)
	case form["client_assertion"] != "" || form["client_assertion_type"] != "":
		return nil, ErrInvalidClient.reason("client assertions are not offered")
	case form["client_id"] == "":
		return nil, ErrInvalidClient.reason("neither a client_id nor Basic credentials were sent")
	}
	return []credentials{{form["client_id"], form["client_secret"]}}, nil
}

// emptyBasic is the header that Swagger UI sends when its client fields are
// empty: ":", an empty user-id and an empty password (RFC 7617 section 2).
const emptyBasic = "Basic Og=="

// namesNoClient reports whether the request belongs to the default client:
// there is a default client, and the request names no client.
func (s *Server) namesNoClient(h http.Header, form params) bool {
	if s.cfg.DefaultClient == "" {
		return false
	}
	for _, name := range []string{"client_id", "client_secret", "client_assertion", "client_assertion_type"} {
		if form[name] != "" {
			return false
		}
	}
	authorization := h.Values("Authorization")
	return len(authorization) == 0 || len(authorization) == 1 && authorization[0] == emptyBasic
}

// basicCredentials reads the Authorization header, RFC 7617 section 2 and
// RFC 6749 section 2.3.1.
func basicCredentials(header string, form params) ([]credentials, error) {
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return nil, ErrInvalidClient.reason("the Authorization scheme is not Basic")
	}
	if form["client_secret"] != "" || form["client_assertion"] != "" {
		return nil, ErrInvalidRequest.telling("the client authenticates in two ways; use either the Authorization header or the body")
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimLeft(encoded, " "))
	if err != nil {
		return nil, ErrInvalidClient.reason("the Basic credentials are not base64")
	}
	id, secret, found := strings.Cut(string(raw), ":")
	if !found || !cleanCredentials(string(raw)) {
		return nil, ErrInvalidClient.reason("the Basic credentials are malformed")
	}
	return matchClientID(basicReadings(id, secret), form["client_id"])
}

// basicReadings returns the form-decoded reading first, and the raw one if it
// differs.
func basicReadings(id, secret string) []credentials {
	raw := credentials{id, secret}
	decodedID, errID := url.QueryUnescape(id)
	decodedSecret, errSecret := url.QueryUnescape(secret)
	decoded := credentials{decodedID, decodedSecret}
	if errID != nil || errSecret != nil || decoded == raw || !cleanCredentials(decodedID+decodedSecret) {
		return []credentials{raw}
	}
	return []credentials{decoded, raw}
}

// matchClientID drops the readings that contradict the client_id of the body:
// if both are sent they must agree (RFC 6749 section 2.3).
func matchClientID(readings []credentials, bodyID string) ([]credentials, error) {
	if bodyID == "" {
		return readings, nil
	}
	var agreeing []credentials
	for _, c := range readings {
		if c.id == bodyID {
			agreeing = append(agreeing, c)
		}
	}
	if len(agreeing) == 0 {
		return nil, ErrInvalidRequest.telling("client_id is not the client id in the Authorization header")
	}
	return agreeing, nil
}

// cleanCredentials reports whether s has no control characters, RFC 7617
// section 2.
func cleanCredentials(s string) bool {
	return cleanText(s) && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}
