package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/internal/metrics"
	"github.com/grantd/grantd/internal/tracing"
	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/watched"
)

// metricsPath is the path of the metrics for Prometheus.
const metricsPath = "/metrics"

// aboutTraces is part of the help of the commands that serve.
const aboutTraces = `

The environment variables of OpenTelemetry configure tracing: traces are sent by
OTLP over HTTP if OTEL_EXPORTER_OTLP_ENDPOINT names a collector.`

// mainMetrics returns the handler of GET /metrics for the main listener, or nil if
// metrics have a listener of their own.
func (p *process) mainMetrics() http.Handler {
	if p.config.MetricsAddr != "" {
		return nil
	}
	return p.metrics.Handler()
}

// vitals returns what the metrics call when somebody reads them. Nobody does before the
// process is complete.
func (p *process) vitals() metrics.Process {
	state := func() storage.HealthState { return p.health.storeHealth(context.Background()).State }
	up := func() bool { return serves(state()) }
	asked := metrics.Process{
		Version:      versionText(),
		StoreUp:      up,
		StoreState:   state,
		Ready:        func() bool { return p.health.started.Load() && !p.health.stopping.Load() && up() },
		Hashing:      func() (running, waiting int) { return p.hasher.Load() },
		AuditWaiting: func() int { return len(p.audit.incoming) },
	}
	if p.keyPair != nil {
		asked.CertificateEnd = p.keyPair.notAfter
	}
	return asked
}

// noteStore counts a call of the store, and adds it to the trace of its request.
func (p *process) noteStore(ctx context.Context, c watched.Call) {
	p.metrics.StoreCalled(c)
	if p.tracer == nil {
		return
	}
	system := "redis"
	if p.config.Redis.URL == "" {
		system = "sqlite"
	}
	p.tracer.Did(ctx, tracing.Work{
		Name: "store." + c.Method.String(), System: system, Fault: metrics.ErrorKind(c.Err), Began: c.Began, Took: c.Took,
	})
}

// noteHash does the same for the hashing of a password and for the wait before it.
func (p *process) noteHash(ctx context.Context, r passhash.Run) {
	p.metrics.Hashed(r.Waited, r.Took, r.Busy)
	if p.tracer == nil {
		return
	}
	wait := tracing.Work{Name: "password.wait", Began: r.Began, Took: r.Waited}
	if r.Busy {
		wait.Fault = "busy"
	}
	p.tracer.Did(ctx, wait)
	if !r.Busy {
		p.tracer.Did(ctx, tracing.Work{Name: "password.hash", Began: r.Began.Add(r.Waited), Took: r.Took})
	}
}

// noteOAuth counts the outcome of a request to the authorization server, and tells the
// log and the audit trail of it.
func (p *process) noteOAuth(ctx context.Context, ev authserver.Event) {
	p.countRefusal(ev)
	p.countAct(ev)
	p.audit.note(ctx, ev)
}

func (p *process) countRefusal(ev authserver.Event) {
	var e *authserver.Error
	if !errors.As(ev.Err, &e) {
		return
	}
	code := e.Code
	if e.Status == http.StatusTooManyRequests {
		code = metrics.Throttled
	}
	p.metrics.OAuthRefused(ev.GrantType, code)
	if ev.GrantType == "refresh_token" && ev.Act != storage.ActReuse && e.Status < http.StatusInternalServerError {
		p.metrics.Refreshed(metrics.Refused)
	}
}

func (p *process) countAct(ev authserver.Event) {
	done := ev.Err == nil
	switch {
	case ev.Act == storage.ActReuse: // it is refused, but has ended the grant
		p.metrics.Refreshed(metrics.Reused)
		p.metrics.Revoked(storage.ActReuse)
	case ev.Act == storage.ActRefresh && done:
		p.metrics.Refreshed(metrics.Rotated)
	case ev.Act == storage.ActRetry && done:
		p.metrics.Refreshed(metrics.Retried)
	case ev.Act == storage.ActSignIn && done:
		p.metrics.Issued(ev.GrantType)
	case ev.Act == storage.ActRevoke && done:
		p.metrics.Revoked(storage.ActRevoke)
	}
}

// noteBearer counts a request that was refused because of its token, and puts the error
// into its record.
func (p *process) noteBearer(ctx context.Context, err error) {
	note(ctx, err)
	for _, known := range []struct {
		err  error
		code string
	}{
		{resource.ErrInvalidToken, "invalid_token"},
		{resource.ErrNoCredentials, "no_token"},
		{resource.ErrInsufficientScope, "insufficient_scope"},
		{resource.ErrInvalidRequest, "invalid_request"},
	} {
		if errors.Is(err, known.err) {
			p.metrics.BearerRefused(known.code)
			return
		}
	}
	p.metrics.BearerRefused("unavailable")
}

// traceFarewell is how long the last traces may take when the process ends.
const traceFarewell = 5 * time.Second

// endTraces sends the traces that are left, until the deadline of the shutdown. It only
// logs an error.
func (p *process) endTraces(deadline time.Time) {
	if soon := time.Now().Add(traceFarewell); deadline.IsZero() || deadline.After(soon) {
		deadline = soon
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if err := p.tracer.Close(ctx); err != nil {
		p.log.Warn("traces are lost", "error", printable(err.Error(), 300))
	}
}
