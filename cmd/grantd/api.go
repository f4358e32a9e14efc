package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/authserver/admin"
)

// api is the admin API as the commands use it: on a server, or in this process on a
// store. Both have the same implementation.
type api struct {
	base   string // URL that admin.Root is below
	user   string // who is signed in by grantd login; else ""
	client *http.Client
	local  *local // of an API in this process, else nil
}

// hintVersion is the hint for an answer that no server of this version gives.
const hintVersion = "check that it is a grantd server of the same version as this command"

// mostAnswer is the size of the largest answer that is read, in bytes.
const mostAnswer = 64 << 20

// get sends a GET and reads the answer into out.
func (a *api) get(ctx context.Context, path string, query url.Values, out any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return a.send(ctx, http.MethodGet, path, nil, out)
}

// send sends in and reads the answer into out; either may be nil. path is below
// admin.Root, escaped. It returns a refusal as a *problem.
func (a *api) send(ctx context.Context, method, path string, in, out any) error {
	_, err := a.exchange(ctx, method, path, in, out)
	return err
}

// exchange is send that also returns the status.
func (a *api) exchange(ctx context.Context, method, path string, in, out any) (status int, err error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+admin.Root+path, body)
	if err != nil {
		return 0, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return a.do(req, out)
}

// none is the error that something doesn't exist.
type none string

func (n none) Error() string { return string(n) }

// surely is for commands that delete what is at the path. If err says that there is none,
// surely sends the DELETE all the same, so that the server makes sure of it: an earlier try
// may not have reached the replicas of Redis. It returns the server's refusal, or else err.
// Something new at the path isn't deleted, because its ETag doesn't match.
func (a *api) surely(ctx context.Context, err error, path string) error {
	if !errors.As(err, new(none)) {
		return err
	}
	req, wrong := http.NewRequestWithContext(ctx, http.MethodDelete, a.base+admin.Root+path, nil)
	if wrong != nil {
		return wrong
	}
	req.Header.Set("If-Match", `"none"`)
	if status, refused := a.do(req, nil); refused != nil && status != http.StatusPreconditionFailed {
		return refused
	}
	return err
}

// do sends the request, and reads the answer as send does.
func (a *api) do(req *http.Request, out any) (status int, err error) {
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, unreachable(a.base, err)
	}
	defer resp.Body.Close()
	answer := io.LimitReader(resp.Body, mostAnswer)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return resp.StatusCode, readProblem(resp, answer)
	}
	if out == nil {
		return resp.StatusCode, nil
	}
	if err := json.NewDecoder(answer).Decode(out); err != nil {
		return resp.StatusCode, failedf("the answer of the server at %s is not JSON, or is cut off", a.base).
			withHint(hintVersion)
	}
	return resp.StatusCode, nil
}

// segment escapes a name for use in a path. It escapes only what it must, since
// servers may refuse needless escapes.
func segment(name string) string {
	return strings.ReplaceAll((&url.URL{Path: name}).EscapedPath(), "/", "%2F")
}

// problem is a refusal in the words of the server.
type problem struct {
	admin.Problem
	bearer string        // RFC 6750 error code if the token was refused; else ""
	wait   time.Duration // from Retry-After; 0: none
}

// readProblem reads a refusal. It may come from a proxy instead of grantd.
func readProblem(resp *http.Response, body io.Reader) *problem {
	p := &problem{}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")) // "" if it isn't well formed
	switch kind {
	case "application/problem+json":
		if json.NewDecoder(body).Decode(&p.Problem) != nil {
			p = &problem{}
		}
	case "application/json":
		var told struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		if json.NewDecoder(body).Decode(&told) == nil {
			p.bearer, p.Detail = told.Error, told.Description
		}
	}
	p.Status = resp.StatusCode // a proxy may have changed it
	if seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		p.wait = time.Duration(seconds) * time.Second
	}
	return p
}

// code returns the last part of the type, or "".
func (p *problem) code() string { return strings.TrimPrefix(p.Type, admin.ProblemType) }

// Error returns the text of the server, made safe for a terminal.
func (p *problem) Error() string {
	text := cmp.Or(p.Detail, p.Title)
	if p.code() == "invalid_field" {
		var all []string
		for _, e := range p.Errors {
			all = append(all, e.Field+" "+e.Detail)
		}
		text = strings.Join(all, "; ")
	}
	if text == "" {
		text = "the server answers " + strconv.Itoa(p.Status)
	}
	return printable(text, longestText)
}

// isProblem reports whether err is a refusal with the code.
func isProblem(err error, code string) bool {
	var p *problem
	return errors.As(err, &p) && p.code() == code
}

// explain turns a refusal into a failure for the person at the terminal, unless the
// command has done so.
func (a *api) explain(err error) error {
	var known *failure
	var p *problem
	if errors.As(err, &known) || !errors.As(err, &p) {
		return err
	}
	switch {
	case p.Status == http.StatusUnauthorized:
		return failedf("the server at %s doesn't accept the token", a.base).
			withHint("sign in again with grantd login, or put a token that is still valid into GRANTD_TOKEN")
	case p.Status == http.StatusForbidden && p.bearer == "insufficient_scope":
		return failedf("the server at %s accepts the token, but the token lacks the scope admin", a.base).
			withHint("sign in as an admin: grantd login --username NAME")
	case p.Status == http.StatusNotFound && p.Type == "":
		return failedf("there is no admin API at %s", a.base).
			withHint("check the URL; if the server has admin_addr, name that address too: grantd login --admin-server URL")
	case p.code() == "invalid_field", p.code() == "invalid_request":
		return usagef("%w", err)
	case p.Type == "" && p.bearer == "" && p.Status != http.StatusServiceUnavailable:
		return failedf("%w", err).withHint("check that there is a grantd server of the same version as this command at " + a.base)
	case p.Status == http.StatusServiceUnavailable:
		return failedf("%w", err).withHint("try again in a moment; the server's log says what is wrong")
	case p.wait > 0:
		return failedf("%w", err).withHint(fmt.Sprintf("try again in %s", p.wait))
	case p.Status >= http.StatusInternalServerError && p.RequestID != "":
		return failedf("%w", err).withHint("the server's log says why: look for request_id " + printable(p.RequestID, longestCell))
	}
	return err
}
