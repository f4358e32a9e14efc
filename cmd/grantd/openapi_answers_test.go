package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// dialogue sends requests to a process, and compares each request and answer
// with the OpenAPI document that the process serves.
type dialogue struct {
	t        *testing.T
	document *openapi3.T
	handler  http.Handler
	at       string          // the URL of the process in the document
	said     map[told]bool   // shared by the dialogues of one document
	codes    map[string]bool // of the errors that were answered; shared too
}

// told is an answer in the document: an operation's status, or "default", and
// the media type, which is "" for an answer without a body.
type told struct{ operation, status, mediaType string }

func (a told) String() string { return a.operation + " " + a.status + " " + a.mediaType }

func newDialogue(t *testing.T, handler http.Handler, at string) *dialogue {
	t.Helper()
	return &dialogue{t: t, document: openAPIOf(t, handler, openAPIPath), handler: handler, at: at, said: map[told]bool{}, codes: map[string]bool{}}
}

// with is a dialogue with another process that has the same document.
func (d *dialogue) with(handler http.Handler) *dialogue {
	other := *d
	other.handler = handler
	return &other
}

// question is a request and the status that it should get.
type question struct {
	operation string // its id
	target    string // the path with its parameters filled in, and the query; empty: the path, which has none
	header    []string
	form      url.Values // the body, or
	json      string
	from      string // the address of the client; a default
	chunked   bool   // the body is sent without its length
	subtle    bool   // the document says in words only what is wrong with it
	want      int    // 0: any
}

func authorization(id, secret string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(id, secret)
	return "Authorization: " + r.Header.Get("Authorization")
}

func bearer(token string) string { return "Authorization: Bearer " + token }

// ask sends the question, and compares it and its answer with the document:
// only questions that fit the document may be served.
func (d *dialogue) ask(q question) *httptest.ResponseRecorder {
	d.t.Helper()
	o := d.operation(q.operation)
	return d.send(o.method, o.path, q)
}

// operation is an operation in the document.
type operation struct {
	*openapi3.Operation
	method, path string
}

// operations returns all operations in the document, always in the same order.
func (d *dialogue) operations() []operation {
	var all []operation
	for path, item := range d.document.Paths.Map() {
		for method, o := range item.Operations() {
			all = append(all, operation{o, method, path})
		}
	}
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.path+" "+a.method, b.path+" "+b.method) })
	return all
}

func (d *dialogue) operation(id string) operation {
	d.t.Helper()
	for _, o := range d.operations() {
		if o.OperationID == id {
			return o
		}
	}
	d.t.Fatalf("the document has no operation %s", id)
	return operation{}
}

func (d *dialogue) send(method, path string, q question) *httptest.ResponseRecorder {
	d.t.Helper()
	if q.target == "" {
		q.target = path
	}
	body, mediaType := q.json, "application/json"
	if q.form != nil {
		body, mediaType = q.form.Encode(), "application/x-www-form-urlencoded"
	}
	request := func() *http.Request {
		r := httptest.NewRequestWithContext(d.t.Context(), method, d.at+q.target, strings.NewReader(body))
		if body != "" {
			r.Header.Set("Content-Type", mediaType)
		}
		for _, line := range q.header {
			name, value, _ := strings.Cut(line, ": ")
			if name == "Content-Type" {
				r.Header.Set(name, value)
			} else {
				r.Header.Add(name, value)
			}
		}
		if q.from != "" {
			r.RemoteAddr = q.from + ":1"
		}
		if q.chunked {
			r.ContentLength = -1
		}
		return r
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, request())
	what := fmt.Sprintf("%s %s %q: %d %s", method, q.target, q.header, w.Code, w.Body)
	if w.Code != q.want && q.want != 0 {
		d.t.Errorf("%s, want %d", what, q.want)
		return w
	}
	for _, o := range d.meant(method, path) {
		if err := d.compare(q, request(), w, o, path); err != nil {
			d.t.Errorf("%s, as %s: %v", what, o.OperationID, err)
		}
	}
	return w
}

// meant returns the operations that an answer may belong to: for a method that
// the path doesn't have, all operations of the path.
func (d *dialogue) meant(method, path string) []*openapi3.Operation {
	item := d.document.Paths.Value(path)
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if o := item.GetOperation(method); o != nil {
		return []*openapi3.Operation{o}
	}
	return slices.Collect(maps.Values(item.Operations()))
}

func (d *dialogue) compare(q question, r *http.Request, w *httptest.ResponseRecorder, o *openapi3.Operation, path string) error {
	item := d.document.Paths.Value(path)
	route := &routers.Route{Spec: d.document, Path: path, PathItem: item, Method: r.Method, Operation: o}
	input := &openapi3filter.RequestValidationInput{Request: r, Route: route, Options: &openapi3filter.Options{
		IncludeResponseStatus: true, RejectWhenRequestBodyNotSpecified: true, SkipSettingDefaults: true, AuthenticationFunc: presents,
	}}
	var err error
	if input.PathParams, err = pathParameters(path, r.URL); err != nil {
		return err
	}
	against := openapi3filter.ValidateRequest(r.Context(), input)
	switch {
	case w.Code < 300 && r.Method != http.MethodHead && against != nil:
		return fmt.Errorf("it was served, though the document is against it: %w", against)
	case saysMalformed(w) && against == nil && !q.subtle:
		return errors.New("it was refused, though the document has nothing against it")
	}
	status, response := fmt.Sprint(w.Code), o.Responses.Status(w.Code)
	if response == nil {
		if w.Code != http.StatusInternalServerError && w.Code != http.StatusRequestEntityTooLarge { // default is for these two
			return errors.New("the document hasn't that status")
		}
		status, response = "default", o.Responses.Default()
	}
	if err := undocumented(w.Header(), response.Value); err != nil {
		return err
	}
	mediaType, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	if len(response.Value.Content) == 0 && (mediaType != "" || w.Body.Len() > 0) {
		return fmt.Errorf("a body where the document has none: %s", w.Body)
	}
	d.said[told{o.OperationID, status, mediaType}] = true
	d.remember(w)
	return openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: w.Code, Header: w.Header(), Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())), Options: input.Options,
	})
}

// saysMalformed reports whether the answer says that the question was
// malformed, rather than too large for example.
func saysMalformed(w *httptest.ResponseRecorder) bool {
	says := func(code string) bool { return bytes.Contains(w.Body.Bytes(), []byte(code)) }
	return w.Code == http.StatusUnsupportedMediaType || w.Code == http.StatusBadRequest && (says("invalid_request") || says("invalid_field"))
}

// pathParameters returns the path's values for the names in braces of the
// template.
func pathParameters(template string, u *url.URL) (map[string]string, error) {
	values := map[string]string{}
	names, segments := strings.Split(template, "/"), strings.Split(u.EscapedPath(), "/")
	for i, name := range names {
		if len(segments) != len(names) || name != segments[i] && !strings.HasPrefix(name, "{") {
			return nil, fmt.Errorf("%s isn't %s", u.Path, template)
		}
		value, err := url.PathUnescape(segments[i])
		if err != nil {
			return nil, err
		}
		values[strings.Trim(name, "{}")] = value
	}
	return values, nil
}

// presents checks that the request has credentials of the kind.
func presents(_ context.Context, in *openapi3filter.AuthenticationInput) error {
	scheme := map[string]string{"oauth2": "Bearer ", "http": "Basic "}[in.SecurityScheme.Type]
	if !strings.HasPrefix(in.RequestValidationInput.Request.Header.Get("Authorization"), scheme) {
		return in.NewError(nil)
	}
	return nil
}

// undocumented returns an error if a header that means something to a client
// isn't in the document.
func undocumented(h http.Header, response *openapi3.Response) error {
	// Headers that any HTTP answer may have, or that only browsers heed.
	general := []string{"Content-Type", "Content-Length", "Connection", "X-Content-Type-Options", "Accept-Ranges", "Pragma", "Vary", "Access-Control-Expose-Headers"}
	for name := range h {
		if !slices.Contains(general, name) && response.Headers[name] == nil && response.Headers[headerSpelling[name]] == nil {
			return fmt.Errorf("the document hasn't the header %s: %q", name, h[name])
		}
	}
	return nil
}

// headerSpelling has the RFCs' spelling of headers that net/http spells
// otherwise.
var headerSpelling = map[string]string{"Www-Authenticate": "WWW-Authenticate", "Etag": "ETag"}

// remember remembers the code of an error.
func (d *dialogue) remember(w *httptest.ResponseRecorder) {
	var body struct{ Type, Error string }
	if w.Code >= 400 && json.Unmarshal(w.Body.Bytes(), &body) == nil {
		d.codes[body.Type+body.Error] = true
	}
}

// unsaidCodes are the codes of errors that are in the document, but were in no
// answer.
func (d *dialogue) unsaidCodes() []string {
	var unsaid []string
	for schema, member := range map[string]string{"Problem": "type", "Error": "error", "TokenError": "error"} {
		for _, code := range d.document.Components.Schemas[schema].Value.Properties[member].Value.Enum {
			if !d.codes[code.(string)] {
				unsaid = append(unsaid, code.(string))
			}
		}
	}
	slices.Sort(unsaid)
	return unsaid
}

// unsaid are the answers that are in the document, but were never given.
func (d *dialogue) unsaid() []string {
	var unsaid []string
	for _, o := range d.operations() {
		for status, response := range o.Responses.Map() {
			mediaTypes := slices.Collect(maps.Keys(response.Value.Content))
			if len(mediaTypes) == 0 {
				mediaTypes = []string{""}
			}
			for _, mediaType := range mediaTypes {
				if a := (told{o.OperationID, status, mediaType}); !d.said[a] {
					unsaid = append(unsaid, a.String())
				}
			}
		}
	}
	slices.Sort(unsaid)
	return unsaid
}
