// Package tracing sends spans of requests, and of the work that they waited
// for, to an OpenTelemetry collector by OTLP over HTTP. Start reading at [Read]
// and [New].
//
// A span holds the pattern of a route, never a path or a query, and names of
// operations, never their arguments. So it has no secret, no key of the store
// and no user's name.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracer makes spans and sends them in the background. It drops spans that
// can't be sent: requests never wait for the collector. It is safe for
// concurrent use. A nil Tracer can be closed.
type Tracer struct {
	provider  *sdk.TracerProvider
	tracer    trace.Tracer
	propagate bool
}

// New returns a tracer, or nil when c.Export is false. The errors of the
// libraries, above all that the collector can't be reached, go to the log now
// and then.
func New(ctx context.Context, c Config, version string, log *slog.Logger) (*Tracer, error) {
	for _, name := range c.Ignored {
		log.Warn("a variable asks for what isn't offered: traces go by otlp and http/protobuf", "name", name)
	}
	if !c.Export {
		return nil, nil
	}
	faults := &faults{log: log}
	otel.SetErrorHandler(faults)
	otel.SetLogger(logr.FromSlogHandler(log.Handler()))
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "grantd"), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv(), // last, since OTEL_SERVICE_NAME wins
	)
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, errors.Join(fmt.Errorf("tracing: %w", err), exporter.Shutdown(ctx))
	}
	return newTracer(sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about)), version, c.Propagate), nil
}

func newTracer(provider *sdk.TracerProvider, version string, propagate bool) *Tracer {
	const name = "github.com/grantd/grantd"
	return &Tracer{
		provider:  provider,
		tracer:    provider.Tracer(name, trace.WithInstrumentationVersion(version)),
		propagate: propagate,
	}
}

// Close sends the remaining spans, until ctx ends, and ends the tracer.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("sending the last traces: %w", err)
	}
	return nil
}

// Request is the span of a request. The zero Request has no span.
type Request struct{ span trace.Span }

// Begin begins the span of a request, as a child of the span in its traceparent
// (W3C Trace Context), if there is one. Use the returned context for the work
// that the request waits for.
func (t *Tracer) Begin(ctx context.Context, method string, header http.Header, began time.Time) (context.Context, Request) {
	if t.propagate {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(header))
	}
	ctx, span := t.tracer.Start(ctx, method, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(began))
	return ctx, Request{span}
}

// TraceID returns the id of the request's trace, "" without one.
func (r Request) TraceID() string {
	if r.span == nil {
		return ""
	}
	return r.span.SpanContext().TraceID().String()
}

// Answer is the outcome of a request.
type Answer struct {
	Method, Route string // the method, one of a few, and the route's pattern
	Status        int
	RequestID     string
	GrantType     string // may be empty
}

// End ends the span. A status of 500 or more is a fault, a lower one isn't:
// semantic conventions of HTTP server spans.
func (r Request) End(a Answer) {
	if r.span == nil {
		return
	}
	if r.span.IsRecording() {
		r.span.SetName(a.Method + " " + a.Route)
		r.span.SetAttributes(
			attribute.String("http.request.method", a.Method),
			attribute.String("http.route", a.Route),
			attribute.Int("http.response.status_code", a.Status),
			attribute.String("grantd.request_id", a.RequestID),
		)
		if a.GrantType != "" {
			r.span.SetAttributes(attribute.String("grantd.grant_type", a.GrantType))
		}
		if a.Status >= http.StatusInternalServerError {
			r.span.SetStatus(codes.Error, "")
		}
	}
	r.span.End()
}

// Work is finished work that a request waited for.
type Work struct {
	Name   string // one of a few
	System string // the other program that did the work, such as the name of a database; may be empty
	Fault  string // the kind of its failure, one of a few; empty: none
	Began  time.Time
	Took   time.Duration
}

// Did adds the work to the request of ctx. Work in the background, without a
// request, isn't traced.
func (t *Tracer) Did(ctx context.Context, w Work) {
	if t == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return
	}
	_, span := t.tracer.Start(ctx, w.Name, trace.WithTimestamp(w.Began), trace.WithSpanKind(w.kind()))
	if w.System != "" {
		span.SetAttributes(attribute.String("db.system.name", w.System))
	}
	if w.Fault != "" {
		span.SetAttributes(attribute.String("error.type", w.Fault))
		span.SetStatus(codes.Error, w.Fault)
	}
	span.End(trace.WithTimestamp(w.Began.Add(w.Took)))
}

func (w Work) kind() trace.SpanKind {
	if w.System != "" {
		return trace.SpanKindClient
	}
	return trace.SpanKindInternal
}
