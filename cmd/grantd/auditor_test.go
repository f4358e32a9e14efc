package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
)

// trail is a store for events that can be made to fail.
type trail struct {
	storage.Audit
	mu      sync.Mutex
	fault   error
	events  []storage.AuditEvent
	batches []int
	trims   int
}

func (t *trail) AppendAudit(_ context.Context, events ...storage.AuditEvent) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fault == nil {
		t.events = append(t.events, events...)
		t.batches = append(t.batches, len(events))
	}
	return t.fault
}

func (t *trail) TrimAudit(context.Context, time.Time, int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trims++
	return nil
}

func (t *trail) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fault = err
}

func (t *trail) names() (names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.events {
		names = append(names, e.RequestID)
	}
	return names
}

func newTestAuditor() (*auditor, *trail, *lockedBuffer) {
	log, kept := &lockedBuffer{}, &trail{}
	c := defaultConfig()
	return newAuditor(newLogger(log, logConfig{"info", "text"}), kept, &c), kept, log
}

func tellMany(a *auditor, from, to int) (names []string) {
	for i := from; i < to; i++ {
		names = append(names, fmt.Sprint("r", i))
		a.tell(storage.AuditEvent{Action: storage.ActRefresh, RequestID: names[len(names)-1]})
	}
	return names
}

func wantNames(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%d events are kept, want %d; the first is %.1q and the last %.1q", len(got), len(want), got[:min(1, len(got))], got[max(0, len(got)-1):])
	}
}

// await waits until the condition holds.
func await(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v: not %s", within, what)
		}
	}
}

func TestEventsAreKeptSoonInBatches(t *testing.T) {
	a, kept, log := newTestAuditor()
	stop := a.start()
	defer stop()
	want := tellMany(a, 0, 1000)
	await(t, 3*time.Second, "kept", func() bool { return len(kept.names()) == len(want) })
	wantNames(t, kept.names(), want)
	if len(kept.batches) > 10 {
		t.Errorf("1000 events were kept in %d batches", len(kept.batches))
	}
	if n := strings.Count(log.String(), "msg=audit"); n != len(want) {
		t.Errorf("the log has %d events, want %d", n, len(want))
	}
}

func TestStoppingKeepsWhatWasTold(t *testing.T) {
	a, kept, _ := newTestAuditor()
	stop := a.start()
	want := tellMany(a, 0, 300)
	stop()
	wantNames(t, kept.names(), want)
}

// A store that is down delays no request. When it is back, the events that
// there was room for are kept in order, and the others are counted.
func TestAStoreThatIsDown(t *testing.T) {
	a, kept, log := newTestAuditor()
	kept.fail(fmt.Errorf("%w: s\x1bick", storage.ErrUnavailable))
	stop := a.start()
	began := time.Now()
	first := tellMany(a, 0, auditQueue)
	if took := time.Since(began); took > 100*time.Millisecond {
		t.Errorf("telling %d events took %v", auditQueue, took)
	}
	await(t, 5*time.Second, "logged", func() bool { return strings.Count(log.String(), "msg=audit") == auditQueue })
	kept.fail(nil)
	await(t, 5*time.Second, "kept", func() bool { return len(kept.names()) == auditQueue })
	wantNames(t, kept.names(), first)
	stop()
	for text, times := range map[string]int{"can't be stored": 1, "s?ick": 1, "are stored again": 1, "are lost": 0} {
		if n := strings.Count(log.String(), text); n != times {
			t.Errorf("the log says %q %d times, want %d", text, n, times)
		}
	}
}

func TestEventsThatAreLostAreCounted(t *testing.T) {
	const surplus = 17
	a, kept, log := newTestAuditor()
	tellMany(a, 0, auditQueue+surplus) // nothing takes them out yet
	a.start()()
	if n := len(kept.names()); n != auditQueue {
		t.Errorf("%d events are kept, want %d", n, auditQueue)
	}
	if !strings.Contains(log.String(), fmt.Sprint("events=", surplus, "\n")) {
		t.Errorf("the log doesn't count %d lost events:\n%.300s", surplus, log.String()[max(0, len(log.String())-300):])
	}

	a, kept, log = newTestAuditor()
	kept.fail(storage.ErrUnavailable)
	for i := range auditBacklog + surplus {
		a.take(storage.AuditEvent{RequestID: fmt.Sprint("r", i)})
	}
	if n := a.lost.Load(); n != surplus || len(a.waiting) != auditBacklog {
		t.Errorf("%d events are lost and %d wait", n, len(a.waiting))
	}
	a.end()
	if !strings.Contains(log.String(), fmt.Sprint("events=", auditBacklog+surplus, "\n")) {
		t.Error("the log doesn't count what waited in vain")
	}
}

// A batch that failed may be in the store all the same. So it is tried again
// unchanged, without the events that came meanwhile.
func TestAFailedBatchIsTriedAgainAsItWas(t *testing.T) {
	a, kept, _ := newTestAuditor()
	kept.fail(storage.ErrUnavailable)
	for i := range 4 {
		a.take(storage.AuditEvent{RequestID: fmt.Sprint("r", i)})
		a.flush(t.Context()) // from the second time on, it leaves the store alone
	}
	kept.fail(nil)
	a.resume = time.Time{}
	a.flush(t.Context())
	if fmt.Sprint(kept.batches) != "[1 3]" {
		t.Errorf("batches of %v events, want the failed one alone and then the others", kept.batches)
	}
}

func TestABusyServerTrimsByItself(t *testing.T) {
	a, kept, _ := newTestAuditor()
	a.most = 5000
	for i := range 1024 {
		a.take(storage.AuditEvent{RequestID: fmt.Sprint("r", i)})
		if len(a.waiting) == auditBatch {
			a.flush(t.Context())
		}
	}
	if kept.trims != 2 {
		t.Errorf("after 1024 events in batches, with 5000 to keep: trimmed %d times, want 2", kept.trims)
	}
}

func TestAnActWithoutItsEventIsNotDone(t *testing.T) {
	kept, done := &trail{}, 0
	do := func() error { done++; return nil }
	ev := storage.AuditEvent{Action: storage.ActUserImport}
	kept.fail(storage.ErrUnavailable)
	if err := locally(t.Context(), kept, ev, do); !errors.Is(err, storage.ErrUnavailable) || done != 0 {
		t.Errorf("error %v, done %d times", err, done)
	}
	kept.fail(nil)
	broken := errors.New("broken")
	if err := errors.Join(locally(t.Context(), kept, ev, do), locally(t.Context(), kept, ev, func() error { return broken })); !errors.Is(err, broken) || done != 1 {
		t.Errorf("error %v, done %d times", err, done)
	}
	var outcomes []storage.AuditOutcome
	for _, e := range kept.events {
		if !e.Local || e.Action != storage.ActUserImport || time.Since(e.Time) > time.Minute {
			t.Errorf("event %+v", e)
		}
		outcomes = append(outcomes, e.Outcome)
	}
	if want := []storage.AuditOutcome{storage.Accepted, storage.Accepted, storage.Failure}; !slices.Equal(outcomes, want) {
		t.Errorf("outcomes %v, want %v", outcomes, want)
	}
}

// The cost of an event to its request, and in the background.
func BenchmarkAudit(b *testing.B) {
	c := defaultConfig()
	a := newAuditor(newLogger(io.Discard, c.Log), &trail{}, &c)
	ev := authserver.Event{
		ClientID: "demo", UserID: "usr_z6uk5d992UTwi3Sb", Username: "alice", GrantID: "w8hkJtK2nFdIFmK5Dq0S3w", Act: storage.ActRefresh,
	}
	rec := &record{requestID: "LqbIzEXE7QESZlqg", remote: netip.MustParseAddr("192.0.2.7")}
	ctx := context.WithValue(b.Context(), recordKey{}, rec)
	b.Run("note", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			a.note(ctx, ev)
			<-a.incoming
		}
	})
	a.note(ctx, ev)
	e := <-a.incoming
	b.Run("log", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			a.write(e)
		}
	})
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			storage.EncodeAudit([]storage.AuditEvent{e})
		}
	})
}
