package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/grantd/grantd/internal/metrics"
	"github.com/grantd/grantd/internal/tracing"
)

// observer logs and counts every request once.
type observer struct {
	log      *slog.Logger
	proxies  proxies
	requests *metrics.Requests // nil: not counted
	tracer   *tracing.Tracer   // nil: not traced
}

// wrap gives each request a record, an id and a budget of waiting for the store. It
// answers 500 when next panics, and logs the record when the request is done.
func (o *observer) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := records.Get().(*record)
		from := peer(r)
		*rec = record{
			ResponseWriter: w,
			started:        time.Now(),
			requestID:      o.requestID(r),
			remote:         o.proxies.client(r, from),
		}
		w.Header()["X-Request-Id"] = []string{rec.requestID}
		ctx := r.Context()
		if o.tracer != nil {
			ctx, rec.span = o.tracer.Begin(ctx, knownMethod(r.Method), r.Header, rec.started)
		}
		r = r.WithContext(&requestContext{Context: ctx, rec: rec})
		defer o.finish(rec, r)
		next.ServeHTTP(rec, r)
		rec.route = r.Pattern
	})
}

// statusGone is the status, as some proxies log it, for a client that went away before
// it was answered. It appears in the log and the metrics only. Such a request is no
// fault of the server, and must not alert an operator.
const statusGone = 499

// finish ends the request. If a panic left an answer half written, it cuts the
// connection, so that the client doesn't take the half for the whole.
func (o *observer) finish(rec *record, r *http.Request) {
	panicked := recover()
	torn := panicked != nil && rec.status != 0
	if panicked != nil {
		rec.route = r.Pattern
		rec.panicked, rec.stack = panicked, debug.Stack()
		if !torn {
			writeJSONError(rec, http.StatusInternalServerError, "server_error", "The server met an unexpected condition.")
		}
	}
	if rec.status == 0 {
		rec.status = http.StatusOK // what net/http sends for a handler that wrote nothing
	}
	if rec.status == http.StatusServiceUnavailable && panicked == nil && errors.Is(r.Context().Err(), context.Canceled) {
		rec.status = statusGone
	}
	now := time.Now()
	took := now.Sub(rec.started)
	o.requests.Answered(rec.route, r.Method, rec.status, took)
	o.logRequest(rec, r, now, took)
	if o.tracer != nil {
		rec.span.End(tracing.Answer{
			Method: knownMethod(r.Method), Route: rec.route, Status: rec.status, RequestID: rec.requestID, GrantType: rec.grantType,
		})
	}
	*rec = record{}
	records.Put(rec)
	if torn {
		panic(http.ErrAbortHandler)
	}
}

// logRequest writes the log line of the request. The line has no query, header or path,
// since those may hold tokens and passwords.
func (o *observer) logRequest(rec *record, r *http.Request, now time.Time, took time.Duration) {
	level := slog.LevelInfo
	if rec.status >= http.StatusInternalServerError || rec.panicked != nil {
		level = slog.LevelError
	}
	ctx, h := r.Context(), o.log.Handler()
	if !h.Enabled(ctx, level) {
		return
	}
	const most = 13
	attrs := append(make([]slog.Attr, 0, most),
		slog.String("request_id", rec.requestID),
		slog.String("method", knownMethod(r.Method)),
		slog.String("route", rec.route),
		slog.Int("status", rec.status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.Int64("bytes", rec.bytes),
		slog.String("remote", rec.remote.String()),
	)
	if id := rec.span.TraceID(); id != "" {
		attrs = append(attrs, slog.String("trace_id", id))
	}
	if rec.clientID != "" {
		attrs = append(attrs, slog.String("client_id", printable(rec.clientID, 128)))
	}
	if rec.grantType != "" {
		attrs = append(attrs, slog.String("grant_type", printable(rec.grantType, 64)))
	}
	if rec.err != nil {
		attrs = append(attrs, slog.String("error", rec.errorText()))
	}
	if rec.panicked != nil {
		attrs = append(attrs, slog.String("panic", panicText(rec.panicked)), slog.String("stack", string(rec.stack)))
	}
	logAttrs(ctx, h, now, level, "request", attrs)
}

// panicText returns the value of a panic if it is a string or an error of the runtime.
// For other values, which may quote a request, it returns only the type.
func panicText(value any) string {
	switch v := value.(type) {
	case string:
		return printable(v, 200)
	case interface {
		error
		RuntimeError()
	}:
		return printable(v.Error(), 200)
	case error:
		if errors.Is(v, http.ErrAbortHandler) {
			return v.Error()
		}
	}
	return fmt.Sprintf("%T", value)
}

func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions, http.MethodTrace, http.MethodConnect:
		return m
	}
	return "OTHER"
}

// requestID returns the id that a trusted proxy gave the request, or a new one.
func (o *observer) requestID(r *http.Request) string {
	if given := r.Header["X-Request-Id"]; len(given) == 1 && validRequestID(given[0]) && o.proxies.trust(peer(r)) {
		return given[0]
	}
	var raw [12]byte
	rand.Read(raw[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

func validRequestID(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return id != "" && len(id) <= 64
}
