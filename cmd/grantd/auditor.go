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
	// auditEvery is how long an event waits for others to be kept with it.
	auditEvery = 250 * time.Millisecond

	// auditPause is the pause after a store failed to keep events.
	auditPause = time.Second

	auditBatch = 128 // most events in one call: few enough that Redis keeps nobody waiting

	// auditQueue is how many events requests may hand over before the auditor takes
	// any. auditBacklog is how many may wait for a store that can't keep them.
	auditQueue   = 4096
	auditBacklog = 16384

	// auditTellEvery is how often the log says that events are lost, at most.
	auditTellEvery = 10 * time.Second

	// auditFarewell is how long the last events may take when the process ends.
	auditFarewell = 2 * time.Second
)

// auditor keeps the audit trail, in the log and in the store. It keeps the
// events of requests in the background, in order, and never holds requests up.
// If there is no room for an event it is lost, and the log says how many were
// lost.
type auditor struct {
	log       *slog.Logger
	store     storage.Audit
	retention time.Duration
	most      int
	metrics   *metrics.Metrics // nil: nothing is counted

	incoming chan storage.AuditEvent
	lost     atomic.Int64 // since the log was told
	failures failures

	// What follows belongs to the goroutine of keepAll.
	waiting  []storage.AuditEvent
	tried    int       // how many of waiting are a batch that the store may have kept already
	resume   time.Time // no call of the store before then
	failing  bool
	appended int // events since this process trimmed the trail
	told     time.Time
}

func newAuditor(log *slog.Logger, store storage.Audit, c *config) *auditor {
	return &auditor{
		log: log, store: store, retention: c.AuditRetention, most: c.AuditEvents,
		incoming: make(chan storage.AuditEvent, auditQueue),
	}
}

// tell hands an event over. It never waits.
func (a *auditor) tell(e storage.AuditEvent) {
	a.metrics.Audited(e)
	select {
	case a.incoming <- e:
	default:
		a.lose(1)
	}
}

// tellLog writes the event to the log only, not to the store.
func (a *auditor) tellLog(e storage.AuditEvent) {
	a.metrics.Audited(e)
	a.write(e)
}

// lose counts events that aren't kept, for a line in the log soon.
func (a *auditor) lose(events int) {
	a.lost.Add(int64(events))
	a.metrics.AuditLost(events)
}

// keep returns once the event is in the store. It is for acts that must not be
// done without their event.
func (a *auditor) keep(ctx context.Context, e storage.AuditEvent) error {
	if err := a.store.AppendAudit(ctx, e); err != nil {
		return err
	}
	a.metrics.Audited(e)
	a.metrics.AuditWritten(1)
	a.write(e)
	return nil
}

// start keeps events until stop is called. stop returns when the last of them
// are kept, or after auditFarewell.
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

// end keeps the events that came before it.
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

// flush keeps the waiting events, unless the store has just failed. A batch
// that may be in the store already is tried again unchanged, so that the store
// doesn't keep it twice.
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
	// A busy server would fill the store until the janitor comes.
	if a.appended >= max(a.most/10, auditBatch) {
		a.appended = 0
		a.trim(ctx)
	}
}

// report tells the log when the store begins to fail and when that ends.
func (a *auditor) report(err error) {
	switch {
	case err != nil && !a.failing:
		a.log.Warn("audit events can't be kept, and are held back as long as there is room", "error", printable(err.Error(), 300))
	case err == nil && a.failing:
		a.log.Info("audit events are kept again")
	}
	a.failing = err != nil
}

// tellLost tells the log that events are lost, unless it was told so lately.
func (a *auditor) tellLost(pause time.Duration) {
	if time.Since(a.told) < pause {
		return
	}
	if n := a.lost.Swap(0); n > 0 {
		a.told = time.Now()
		a.log.Error("audit events are lost: they aren't in the store, or not in the log either", "events", n)
	}
}

// trim deletes events that are too old or too many.
func (a *auditor) trim(ctx context.Context) {
	if err := a.store.TrimAudit(ctx, time.Now().Add(-a.retention), a.most); err != nil && ctx.Err() == nil {
		a.log.Warn("trimming the audit trail", "error", printable(err.Error(), 300))
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
