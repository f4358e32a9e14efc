package authserver

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/internal/jsonobject"
	"github.com/grantd/grantd/storage"
)

// Error is an error response of an endpoint, RFC 6749 section 5.2. The texts
// that are sent are fixed: they hold nothing of the request and no secret.
type Error struct {
	Status      int    // HTTP status code
	Code        string // the "error" member
	Description string // the "error_description" member

	allow      string // the Allow header, for 405
	challenge  string // the WWW-Authenticate header, with %s for the realm; empty: Basic for a 401, else none
	retryAfter int    // seconds, the Retry-After header; 0 sends none
	cause      error  // logged, never sent
	claimed    string // id of the client that failed to authenticate, if there is such a client
	guess      *guess // set when the request guessed a client's secret
}

// The errors of RFC 6749 section 5.2.
var (
	ErrInvalidRequest = &Error{
		Status: http.StatusBadRequest, Code: "invalid_request",
		Description: "The request is malformed: a parameter is missing, repeated or not well-formed.",
	}
	ErrInvalidClient = &Error{
		Status: http.StatusUnauthorized, Code: "invalid_client",
		Description: "Client authentication failed: the client_id or its secret is missing or wrong.",
	}
	ErrInvalidGrant = &Error{
		Status: http.StatusBadRequest, Code: "invalid_grant",
		Description: "The credentials or the token are wrong, expired, revoked or issued to another client.",
	}
	ErrUnauthorizedClient = &Error{
		Status: http.StatusBadRequest, Code: "unauthorized_client",
		Description: "The client may not use this grant type.",
	}
	ErrUnsupportedGrantType = &Error{
		Status: http.StatusBadRequest, Code: "unsupported_grant_type",
		Description: "The server does not offer this grant type.",
	}
	ErrInvalidScope = &Error{
		Status: http.StatusBadRequest, Code: "invalid_scope",
		Description: "The scope is malformed, unknown or more than may be granted.",
	}
)

// ErrInvalidTarget is the error of RFC 8707 section 2.
var ErrInvalidTarget = &Error{
	Status: http.StatusBadRequest, Code: "invalid_target",
	Description: "A resource is malformed or unknown, or this client or grant may not use it.",
}

// Errors of HTTP in the form of RFC 6749 section 5.2, so that clients need to
// parse only one form.
var (
	errMethod = &Error{
		Status: http.StatusMethodNotAllowed, Code: "invalid_request", allow: http.MethodPost,
		Description: "Only POST is allowed here.",
	}
	errReadOnly = &Error{
		Status: http.StatusMethodNotAllowed, Code: "invalid_request", allow: "GET, HEAD",
		Description: "Only GET and HEAD are allowed here.",
	}
	errMediaType = &Error{
		Status: http.StatusUnsupportedMediaType, Code: "invalid_request",
		Description: "The body has to be application/x-www-form-urlencoded in UTF-8, uncompressed.",
	}
	errTooLarge = &Error{
		Status: http.StatusRequestEntityTooLarge, Code: "invalid_request",
		Description: "The body is larger than 32 KiB.",
	}
	errUnavailable = &Error{
		Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", retryAfter: 1,
		Description: "The server cannot answer now. Repeating the request is safe.",
	}
	errServer = &Error{
		Status: http.StatusInternalServerError, Code: "server_error",
		Description: "The server met an unexpected condition.",
	}
)

// Error returns the code and the cause, for the log.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Code + ": " + e.cause.Error()
	}
	return e.Code
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is an Error of the same code and status.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Status == e.Status
}

// because returns a copy of e with the cause err, which only the log shows.
func (e *Error) because(err error) *Error {
	c := *e
	c.cause = err
	return &c
}

// reason is because with a fixed text as the cause.
func (e *Error) reason(text fixed) *Error { return e.because(text) }

// fixed is a cause whose text holds nothing of the request, so that the audit
// trail may keep it.
type fixed string

func (f fixed) Error() string { return string(f) }

// telling is reason with a text that the client gets too, so that it can mend
// its request.
func (e *Error) telling(text fixed) *Error {
	c := e.reason(text)
	c.Description = strings.ToUpper(string(text[:1])) + string(text[1:]) + "."
	return c
}

// asError turns what a step returned into an error response.
func asError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, passhash.ErrBusy):
		return errUnavailable.because(err)
	default:
		return errServer.because(err)
	}
}

// writeError is the only place that writes an error response.
func (s *Server) writeError(w http.ResponseWriter, e *Error) {
	h := w.Header()
	switch {
	case e.challenge != "":
		h.Set("WWW-Authenticate", fmt.Sprintf(e.challenge, s.cfg.Realm))
	case e.Status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", s.challenge)
	case e.allow != "":
		h.Set("Allow", e.allow)
	case e.Status == http.StatusRequestEntityTooLarge:
		h.Set("Connection", "close")
	}
	if e.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(e.retryAfter))
	}
	const usual = 192 // bytes
	o := jsonobject.Begin(make([]byte, 0, usual))
	o.Text("error", e.Code)
	o.Text("error_description", e.Description)
	writeJSON(w, e.Status, o.End())
}

// Header values that all answers share; nobody may change them in place.
var (
	jsonType = []string{"application/json"}
	noStore  = []string{"no-store"}
	noCache  = []string{"no-cache"}
	noSniff  = []string{"nosniff"}
)

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	w.Write(body) // a client that went away is no fault of ours
}
