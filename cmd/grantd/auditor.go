package main

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/internal/metrics"
	"github.com/grantd/grantd/storage"
)

const (
	// auditEvery is how long an event may wait to be stored together with others.
	auditEvery = 250 * time.Millisecond

	// auditPause is the pause after the store failed to take events.
	auditPause = time.Second

	auditBatch = 128 // events stored at once, at most: few enough that Redis keeps nobody waiting

	// auditQueue is how many events of requests may wait for the auditor, and
	// auditBacklog how many may wait for a store that can't take them.
	auditQueue   = 4096
	auditBacklog = 16384

	// auditTellEvery is the least time between two log lines that events are lost.
	auditTellEvery = 10 * time.Second

	// auditFarewell is how long storing the last events may take when the process
	// ends.
	auditFarewell = 2 * time.Second
)

// auditor writes the audit trail to the log and to the store. Events of requests are
// written in the background, in order, so that no request waits for them. If there
// is no room for an event it is lost; the log tells how many were lost.
type auditor struct {
	log       *slog.Logger
	store     storage.Audit
	retention time.Duration
	most      int
	metrics   *metrics.Metrics // nil: nothing is counted

	incoming chan storage.AuditEvent
	lost     atomic.Int64 // events, since the log last told of them
	failures failures

	// The fields below belong to the goroutine of keepAll.
	waiting  []storage.AuditEvent
	tried    int       // length of the first batch of waiting, which the store may already have
	resume   time.Time // no call to the store before
	failing  bool
	appended int       // events, since the trail was last trimmed here
	told     time.Time // when the log last told of lost events
}

func newAuditor(log *slog.Logger, store storage.Audit, c *config) *auditor {
	return &auditor{
		log: log, store: store, retention: c.AuditRetention, most: c.AuditEvents,
		incoming: make(chan storage.AuditEvent, auditQueue),
	}
}

// tell hands an event over to be written. It never waits.
func (a *auditor) tell(e storage.AuditEvent) {
	a.metrics.Audited(e)
	select {
	case a.incoming <- e:
	default:
		a.lose(1)
	}
}

// tellLog writes the event to the log only.
func (a *auditor) tellLog(e storage.AuditEvent) {
	a.metrics.Audited(e)
	a.write(e)
}

// lose counts lost events. The log tells of them soon.
func (a *auditor) lose(events int) {
	a.lost.Add(int64(events))
	a.metrics.AuditLost(events)
}

// keep returns when the event is in the store. It is for acts that must not be done
// without their event.
func (a *auditor) keep(ctx context.Context, e storage.AuditEvent) error {
	if err := a.store.AppendAudit(ctx, e); err != nil {
		return err
	}
	a.metrics.Audited(e)
	a.metrics.AuditWritten(1)
	a.write(e)
	return nil
}

// start writes events until stop is called. stop returns when the last events are
// written, or after auditFarewell.
func (a *auditor) start() (stop func()) {
	stopping := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { a.keepAll(stopping) })
	return func() {
		close(stopping)
		running.Wait()
	}
}

func (a *auditor) keepAll(stopping <-chan struct{}) {
	tick := time.NewTicker(auditEvery)
	defer tick.Stop()
	for {
		select {
		case e := <-a.incoming:
			if a.take(e); len(a.waiting) >= auditBatch {
				a.flush(context.Background())
			}
		case <-tick.C:
			a.flush(context.Background())
			a.tellLost(auditTellEvery)
		case <-stopping:
			a.end()
			return
		}
	}
}

// end writes the events that are left.
func (a *auditor) end() {
	for len(a.incoming) > 0 {
		a.take(<-a.incoming)
	}
	ctx, cancel := context.WithTimeout(context.Background(), auditFarewell)
	defer cancel()
	a.resume = time.Time{}
	a.flush(ctx)
	a.lose(len(a.waiting))
	a.tellLost(0)
}

func (a *auditor) take(e storage.AuditEvent) {
	a.write(e)
	if len(a.waiting) >= auditBacklog {
		a.lose(1)
		return
	}
	a.waiting = append(a.waiting, e)
}

// flush stores the events that wait, unless the store has just failed. A batch that
// failed may be in the store all the same; so it is tried again unchanged, and the
// store doesn't keep it twice.
func (a *auditor) flush(ctx context.Context) {
	for len(a.waiting) > 0 && !time.Now().Before(a.resume) {
		if a.tried == 0 {
			a.tried = min(len(a.waiting), auditBatch)
		}
		err := a.store.AppendAudit(ctx, a.waiting[:a.tried]...)
		a.report(err)
		if err != nil {
			a.resume = time.Now().Add(auditPause)
			return
		}
		a.appended += a.tried
		a.metrics.AuditWritten(a.tried)
		a.waiting = slices.Delete(a.waiting, 0, a.tried)
		a.tried = 0
	}
	// The janitor comes too seldom for a busy server.
	if a.appended >= max(a.most/10, auditBatch) {
		a.appended = 0
		a.trim(ctx)
	}
}

// report logs when the store begins to fail and when it works again.
func (a *auditor) report(err error) {
	switch {
	case err != nil && !a.failing:
		a.log.Warn("audit events can't be stored; they wait in memory as long as there is room", "error", printable(err.Error(), 300))
	case err == nil && a.failing:
		a.log.Info("audit events are stored again")
	}
	a.failing = err != nil
}

// tellLost logs how many events were lost, but not twice within the pause.
func (a *auditor) tellLost(pause time.Duration) {
	if time.Since(a.told) < pause {
		return
	}
	if n := a.lost.Swap(0); n > 0 {
		a.told = time.Now()
		a.log.Error("audit events are lost: they are missing from the store, and perhaps from the log too", "events", n)
	}
}

// trim deletes the events that are too old or too many.
func (a *auditor) trim(ctx context.Context) {
	if err := a.store.TrimAudit(ctx, time.Now().Add(-a.retention), a.most); err != nil && ctx.Err() == nil {
		a.log.Warn("the audit trail couldn't be trimmed", "error", printable(err.Error(), 300))
	}
}

// write writes the event to the log.
func (a *auditor) write(e storage.AuditEvent) {
	ctx, h := context.Background(), a.log.Handler()
	if !h.Enabled(ctx, slog.LevelInfo) {
		return
	}
	const most = 14
	attrs := make([]slog.Attr, 0, most)
	attrs = append(attrs, slog.String("action", string(e.Action)), slog.String("outcome", string(e.Outcome)))
	for _, text := range [...]struct{ key, value string }{
		{"actor_user", e.ActorUser},
		{"actor_user_id", e.ActorUserID},
		{"actor_client", e.ActorClient},
		{"username", e.Username},
		{"user_id", e.UserID},
		{"client_id", e.ClientID},
		{"grant_id", e.GrantID},
		{"object", e.Object},
		{"request_id", e.RequestID},
		{"detail", e.Detail},
	} {
		if text.value != "" {
			attrs = append(attrs, slog.String(text.key, printable(text.value, 256)))
		}
	}
	if e.Address.IsValid() {
		attrs = append(attrs, slog.String("remote", e.Address.String()))
	}
	if e.Local {
		attrs = append(attrs, slog.Bool("local", true))
	}
	logAttrs(ctx, h, e.Time, slog.LevelInfo, "audit", attrs)
}
