package resource

import (
	"errors"
	"net/http"
	"strings"
)

// refusal is an error as the client sees it, RFC 6750 section 3.1. The texts
// are fixed: they repeat nothing of the request, and they are the same for
// expired, revoked and unknown tokens.
type refusal struct {
	status      int
	code        string // of the challenge and the body; empty when no credentials were sent
	description string // characters of RFC 6750 section 3
}

var (
	noCredentials = refusal{status: http.StatusUnauthorized}

	invalidRequest = refusal{http.StatusBadRequest, "invalid_request",
		"The request is malformed or carries more than one access token."}

	invalidToken = refusal{http.StatusUnauthorized, "invalid_token",
		"The access token is malformed, unknown, expired, revoked or for another server."}

	insufficientScope = refusal{http.StatusForbidden, "insufficient_scope",
		"The access token lacks a scope that this request needs."}

	unavailable = refusal{http.StatusServiceUnavailable, "temporarily_unavailable", ""}
)

// refusalFor checks for ErrUnavailable first: it may wrap the error of a
// validator, which may wrap any of the others.
func refusalFor(err error) *refusal {
	switch {
	case errors.Is(err, ErrUnavailable):
		return &unavailable
	case errors.Is(err, ErrNoCredentials):
		return &noCredentials
	case errors.Is(err, ErrInvalidRequest):
		return &invalidRequest
	case errors.Is(err, ErrInvalidToken):
		return &invalidToken
	case errors.Is(err, ErrInsufficientScope):
		return &insufficientScope
	}
	return &unavailable
}

// refusals are the answers to refused requests. They are made once for each
// guarded handler. Only refusals writes Bearer challenges; a 503 has none,
// because it says nothing about the credentials.
type refusals map[*refusal]answer

type answer struct {
	challenge []string // header WWW-Authenticate
	body      []byte
}

// refusing returns the refusals of a handler that needs the scopes.
func refusing(protection string, scopes []string) refusals {
	all := refusals{}
	for _, f := range []*refusal{&noCredentials, &invalidRequest, &invalidToken, &insufficientScope, &unavailable} {
		all[f] = answer{[]string{f.challenge(protection, scopes)}, f.body()}
	}
	return all
}

func (all refusals) write(w http.ResponseWriter, err error) {
	f := refusalFor(err)
	if f.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	} else {
		w.Header()["Www-Authenticate"] = all[f].challenge
	}
	writeJSON(w, f.status, all[f].body)
}

// challenge returns the WWW-Authenticate header. protection holds the realm,
// and the resource_metadata of RFC 9728 section 5.1 if there is one, as
// attributes. There is always a realm, because RFC 6750 section 3 forbids a
// bare "Bearer".
func (f *refusal) challenge(protection string, scopes []string) string {
	var b strings.Builder
	b.WriteString("Bearer " + protection)
	if f.code != "" {
		b.WriteString(`, error="` + f.code + `", error_description="` + f.description + `"`)
	}
	if f.code == insufficientScope.code {
		b.WriteString(`, scope="` + strings.Join(scopes, " ") + `"`)
	}
	return b.String()
}

// body returns the JSON body. A request without credentials gets no error
// member here either (RFC 6750 section 3.1).
func (f *refusal) body() []byte {
	switch {
	case f.code == "":
		return []byte(`{"message":"This resource needs an access token: send it as Authorization: Bearer."}`)
	case f.description == "":
		return []byte(`{"error":"` + f.code + `"}`)
	}
	return []byte(`{"error":"` + f.code + `","error_description":"` + f.description + `"}`)
}

// Header values that all answers share; nobody may change them in place.
var (
	jsonType = []string{"application/json"}
	noStore  = []string{"no-store"}
)

// writeJSON answers with a body that no cache may keep (RFC 9111 section 3.5
// lets shared caches keep some answers to requests with Authorization).
func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = jsonType, noStore
	w.WriteHeader(status)
	w.Write(body) // an error means that the client is gone
}

// quoted returns s as a quoted-string of RFC 9110 section 5.6.4.
func quoted(s string) (string, error) {
	if strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		return "", errors.New("must have only visible ASCII characters and spaces")
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`, nil
}
