package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

// Problem is the body of an error response, RFC 9457 section 3. Its texts are
// fixed: they hold nothing of the request but names of fields.
type Problem struct {
	Type      string       `json:"type"` // ProblemType and the code
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Detail    string       `json:"detail,omitempty"`
	Errors    []FieldError `json:"errors,omitempty"` // one for each wrong field
	RequestID string       `json:"request_id,omitempty"`
}

// FieldError tells what is wrong with a member of the body or a parameter of
// the query.
type FieldError struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// ProblemType is the beginning of every problem type.
const ProblemType = "urn:grantd:problem:"

// problem is a Problem as an error.
type problem struct {
	status     int
	code       string
	title      string
	detail     string
	fields     []FieldError
	madeUp     []string // the names in fields that the API doesn't know
	allow      string   // the Allow header, for 405
	retryAfter int      // seconds, the Retry-After header; 0 sends none
	cause      error    // logged, never sent
}

var (
	errRequest  = &problem{status: http.StatusBadRequest, code: "invalid_request", title: "The request is malformed"}
	errFields   = &problem{status: http.StatusBadRequest, code: "invalid_field", title: "A field is missing or wrong"}
	errNotFound = &problem{status: http.StatusNotFound, code: "not_found", title: "The resource doesn't exist"}
	errMethod   = &problem{
		status: http.StatusMethodNotAllowed, code: "method_not_allowed", title: "The method isn't allowed here",
		detail: "Use one of the methods in the header Allow.",
	}
	errMediaType = &problem{
		status: http.StatusUnsupportedMediaType, code: "unsupported_media_type", title: "The body isn't application/json",
		detail: "Send JSON in UTF-8, uncompressed, with the header Content-Type: application/json.",
	}
	errTooLarge = &problem{
		status: http.StatusRequestEntityTooLarge, code: "too_large", title: "The body is too large",
		detail: fmt.Sprintf("A body may have at most %d KiB.", maxBody>>10),
	}
	errExists = &problem{status: http.StatusConflict, code: "already_exists", title: "The name is already taken"}
	errStale  = &problem{
		status: http.StatusPreconditionFailed, code: "stale", title: "A precondition of the request failed",
		detail: "The resource doesn't exist, or its ETag isn't the one in If-Match any more. Read it again, and repeat the request with its current ETag.",
	}
	errConflict    = &problem{status: http.StatusConflict, code: "conflict", title: "The request conflicts with the current state"}
	errUnavailable = &problem{
		status: http.StatusServiceUnavailable, code: "unavailable", title: "The server can't answer now", retryAfter: 1,
		detail: "The request may or may not have been carried out. Repeating it is safe.",
	}
	errForbidden     = &problem{status: http.StatusForbidden, code: "forbidden", title: "The token doesn't allow this"}
	errWrongPassword = &problem{status: http.StatusForbidden, code: "wrong_password", title: "The old password is wrong"}
	errThrottled     = &problem{
		status: http.StatusTooManyRequests, code: "throttled", title: "Too many password attempts",
		detail: "Too many passwords were wrong. This one wasn't checked. Repeat the request after the time in Retry-After.",
	}
	errServer = &problem{status: http.StatusInternalServerError, code: "server_error", title: "The server met an unexpected condition"}
)

// Error returns the code, the fields and the cause, for the log. It leaves out
// field names that the API doesn't know, because one may be a misplaced token
// or password.
func (p *problem) Error() string {
	text := p.code
	for _, f := range p.fields {
		if !slices.Contains(p.madeUp, f.Field) {
			text += " " + f.Field
		}
	}
	if len(p.madeUp) > 0 {
		text += " (an unknown name)"
	}
	if p.cause != nil {
		text += ": " + p.cause.Error()
	}
	return text
}

// Unwrap returns the cause.
func (p *problem) Unwrap() error { return p.cause }

// because returns a copy of p with the cause err, which only the log shows.
func (p *problem) because(err error) *problem {
	c := *p
	c.cause = err
	return &c
}

// saying returns a copy of p with another detail.
func (p *problem) saying(detail string) *problem {
	c := *p
	c.detail = detail
	return &c
}

func (p *problem) allowing(methods []string) *problem {
	c := *p
	c.allow = strings.Join(methods, ", ")
	return &c
}

// wrong returns errFields with one wrong field.
func wrong(field, detail string) *problem { return wrongFields([]FieldError{{field, detail}}) }

func wrongFields(fields []FieldError) *problem {
	c := *errFields
	c.fields = fields
	return &c
}

// hiding returns a copy of p that keeps these field names out of the log.
func (p *problem) hiding(madeUp []string) *problem {
	c := *p
	c.madeUp = madeUp
	return &c
}

// asProblem turns what a step returned into a problem.
func asProblem(err error) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, passhash.ErrBusy), errors.Is(err, context.DeadlineExceeded):
		return errUnavailable.because(err)
	case errors.Is(err, storage.ErrNotFound):
		return errNotFound.because(err)
	case errors.Is(err, storage.ErrConflict):
		// Others were faster each time: see changeUser.
		return errConflict.saying("Other requests keep changing the same record. Repeat the request.").because(err)
	}
	return errServer.because(err)
}

// writeProblem is the only place that writes an error response.
func (a *API) writeProblem(w http.ResponseWriter, r *http.Request, p *problem) {
	h := w.Header()
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.status == http.StatusUnsupportedMediaType && r.Method == http.MethodPatch {
		h.Set("Accept-Patch", "application/json") // RFC 5789 section 2.2
	}
	if p.status == http.StatusRequestEntityTooLarge {
		h.Set("Connection", "close")
	}
	write(w, p.status, "application/problem+json", Problem{
		Type:      ProblemType + p.code,
		Title:     p.title,
		Status:    p.status,
		Detail:    p.detail,
		Errors:    p.fields,
		RequestID: a.cfg.Actor(r.Context()).RequestID,
	})
}

// writeJSON writes an answer.
func writeJSON(w http.ResponseWriter, status int, body any) error {
	write(w, status, "application/json", body)
	return nil
}

func write(w http.ResponseWriter, status int, mediaType string, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // callers pass only texts, numbers, times and lists of them
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	w.Write(b) // a client that went away is no fault of ours
}

func writeNothing(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}
