package main

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/internal/tracing"
	"github.com/grantd/grantd/storage"
)

// record collects what the log will say of one request. Only the goroutine that serves
// the request may use it, and nobody after the handler has returned.
type record struct {
	http.ResponseWriter
	status int   // 0 until the header is written
	bytes  int64 // of the body

	started   time.Time
	requestID string
	remote    netip.Addr
	route     string
	span      tracing.Request

	clientID  string
	grantType string
	err       error
	panicked  any
	stack     []byte
}

var records = sync.Pool{New: func() any { return new(record) }}

// requestContext is the context of a request. It holds the record and the budget of
// waiting for the store, so that both take one allocation. The budget isn't part of the
// record, which another request reuses while background work of this one may still use
// its context.
type requestContext struct {
	context.Context
	rec    *record
	budget storage.Budget
}

type recordKey struct{}

// Value implements context.Context.
func (c *requestContext) Value(key any) any {
	switch key.(type) {
	case recordKey:
		return c.rec
	case storage.BudgetKey:
		return &c.budget
	}
	return c.Context.Value(key)
}

// recordOf returns the record of the request, or nil outside a request.
func recordOf(ctx context.Context) *record {
	rec, _ := ctx.Value(recordKey{}).(*record)
	return rec
}

// note puts the error of a refused request into its record. It ignores nil.
func note(ctx context.Context, err error) {
	if rec := recordOf(ctx); rec != nil && err != nil {
		rec.err = err
	}
}

// noteEvent puts the outcome of a token request into its record.
func noteEvent(ctx context.Context, ev authserver.Event) {
	rec := recordOf(ctx)
	if rec == nil {
		return
	}
	rec.clientID, rec.grantType = ev.ClientID, ev.GrantType
	note(ctx, ev.Err)
}

// remoteAddr returns the address that the request comes from, as the observer found
// it.
func remoteAddr(r *http.Request) netip.Addr {
	if rec := recordOf(r.Context()); rec != nil {
		return rec.remote
	}
	return netip.Addr{}
}

// WriteHeader remembers the status; informational ones aren't the answer.
func (rec *record) WriteHeader(status int) {
	if rec.status == 0 && status >= http.StatusOK {
		rec.status = status
	}
	rec.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes.
func (rec *record) Write(b []byte) (int, error) {
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	n, err := rec.ResponseWriter.Write(b)
	rec.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (rec *record) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// errorText returns the error for the log. A cause may quote what a client sent, so the
// text is made safe: it can't forge a log line or control a terminal.
func (rec *record) errorText() string {
	const longest = 300
	return printable(rec.err.Error(), longest)
}

// printable replaces each character that isn't visible or a space, and cuts s to at most
// n bytes.
func printable(s string, n int) string {
	if len(s) <= n && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return s // as nearly all texts
	}
	clean := make([]byte, 0, min(len(s), n))
	for _, r := range s {
		if !unicode.IsPrint(r) {
			r = '?'
		}
		if len(clean)+len(string(r)) > n {
			break
		}
		clean = append(clean, string(r)...)
	}
	return string(clean)
}
