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

// credentials are what a request says of its client. A request is read into
// several when they can be read in several ways: Basic credentials form-decoded,
// as RFC 6749 section 2.3.1 has it, and as they stand, as curl -u and many
// libraries send them.
type credentials struct{ id, secret string }

// authenticateClient finds the client of a request and proves that it is that
// client (RFC 6749 sections 2.3 and 3.2.1). Whatever fails is ErrInvalidClient
// with the same text; only two methods at once are ErrInvalidRequest, and after
// too many failures it is errThrottled.
func (s *Server) authenticateClient(r *http.Request, form params) (storage.Client, error) {
	return s.authenticate(r, form, func(c credentials) (storage.Client, error) { return s.verifyClient(r.Context(), c) })
}

// authenticateRecent is authenticateClient for a refresh and for introspection: a
// client that was loaded a moment ago counts, see clientCache.
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
	if err != nil && known != "" { // it was refused all the same: that has to take as long as with a wrong secret
		_, _ = s.loadClient(r.Context(), known)
	}
	return client, err
}

// authenticate tries each reading of the request's credentials, unless too many
// failed before: then even the right one is refused, or it would be one guess more.
// Every reading counts, for the client that it names. Those that are tried at the same
// time don't wait for each other; what failed meanwhile is looked at before a right
// one is let in, and a wrong one told so.
//
// A request without a secret guesses none: it doesn't count and isn't refused,
// which is how public clients pass. Tokens aren't counted, at /introspect neither:
// the tag of a token stops what is made up, whoever sends it, without asking the
// store, so scanning finds nothing; and a stranger who sends garbage to a
// resource server, which asks here about it, must not have it locked out.
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

// try takes what the readings cost if all are wrong into account: an id that no
// client can have counts for the network alone.
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

// tryReadings fails with the error of the last reading, or of one that named a
// client that there is.
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
		c.of(s.nobody, s.now()) // so that an unknown client takes as long as a known one
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

// of reports whether the credentials are the client's: its secret, the one before
// while that is still good, or none for a public client.
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
		return nil, ErrInvalidRequest.telling("two Authorization headers")
	case s.namesNoClient(h, form):
		return []credentials{{id: s.cfg.DefaultClient}}, nil
	case len(authorization) == 1:
		return basicCredentials(authorization[0], form)
	case form["client_assertion"] != "" || form["client_assertion_type"] != "":
		return nil, ErrInvalidClient.reason("client assertions are not offered")
	}
	return []credentials{{form["client_id"], form["client_secret"]}}, nil
}

// emptyBasic is what Swagger UI sends when nobody filled in its client fields:
// ":", an empty user-id and an empty password (RFC 7617 section 2).
const emptyBasic = "Basic Og=="

// namesNoClient reports whether the request is the default client's: there is
// one, and the request names none.
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
		return nil, ErrInvalidRequest.telling("two client authentication methods")
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
// beside Basic credentials it may only say the same (RFC 6749 section 2.3).
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
		return nil, ErrInvalidRequest.telling("client_id differs from the Basic credentials")
	}
	return agreeing, nil
}

// cleanCredentials: no control characters, RFC 7617 section 2.
func cleanCredentials(s string) bool {
	return cleanText(s) && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}
