package storagetest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

var auditChecks = []check{
	{"events are listed in the order in which they came, with every field", auditFields},
	{"the trail can be paged through in both directions, and followed", auditPages},
	{"a page looks at a bounded number of events for those that are asked for", auditFilters},
	{"an event is found by its action, its users and its clients", auditMatches},
	{"events that are appended again are kept once", auditRepeated},
	{"the events of a call stay together, whoever else writes", auditWriters},
	{"old events are forgotten by number and by age", auditTrim},
	{"a cursor outlives its event, and no id is used again", auditCursors},
	{"a bad audit cursor is not found", auditBadCursor},
}

// event returns event number i of a test: a sign-in i milliseconds after Now.
func event(f Fixture, i int) storage.AuditEvent {
	return storage.AuditEvent{
		Time: f.Now().Add(time.Duration(i) * time.Millisecond), Action: storage.ActSignIn, Outcome: storage.Success,
		ActorUser: "alice", ActorUserID: alice, ActorClient: web, RequestID: fmt.Sprint("request ", i),
	}
}

func events(f Fixture, from, to int) []storage.AuditEvent {
	var all []storage.AuditEvent
	for i := from; i < to; i++ {
		all = append(all, event(f, i))
	}
	return all
}

func appendAudit(t *testing.T, f Fixture, events ...storage.AuditEvent) {
	t.Helper()
	wantErr(t, "AppendAudit", f.Store.AppendAudit(t.Context(), events...), nil)
}

func listAudit(t *testing.T, f Fixture, q storage.AuditQuery, limit int) storage.AuditPage {
	t.Helper()
	p, err := f.Store.ListAudit(t.Context(), q, limit)
	wantErr(t, "ListAudit", err, nil)
	if len(p.Events) > limit {
		t.Fatalf("a page of limit %d has %d events", limit, len(p.Events))
	}
	return p
}

// follow returns all events that q asks for, page by page from the beginning.
func follow(t *testing.T, f Fixture, q storage.AuditQuery, limit int) []storage.AuditEvent {
	t.Helper()
	var all []storage.AuditEvent
	for q.After = listAudit(t, f, storage.AuditQuery{}, 0).Next; ; {
		p := listAudit(t, f, q, limit)
		all = append(all, p.Events...)
		if p.Next == q.After {
			return all
		}
		q.After = p.Next
	}
}

// wantEvents fails unless got has the wanted events. Their ids aren't compared, but
// must be set and differ.
func wantEvents(t *testing.T, got []storage.AuditEvent, want ...storage.AuditEvent) {
	t.Helper()
	ids := map[string]bool{}
	got, want = slices.Clone(got), slices.Clone(want)
	for i := range got {
		if got[i].ID == "" || ids[got[i].ID] {
			t.Fatalf("event %d has the id %q, empty or another's", i, got[i].ID)
		}
		ids[got[i].ID] = true
		got[i].ID = ""
	}
	for i := range want {
		want[i].ID = ""
	}
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if d := diff(want, got); d != "" {
		t.Fatalf("events (-want +got):\n%s", d)
	}
}

func auditFields(t *testing.T, f Fixture) {
	wantEvents(t, listAudit(t, f, storage.AuditQuery{}, 10).Events)
	full := storage.AuditEvent{
		ID: "not taken", Time: f.Now().Add(123 * time.Nanosecond), Action: storage.ActUserPassword, Outcome: storage.Failure,
		ActorUser: "root", ActorUserID: bob, ActorClient: cli, Local: true,
		Username: "zoë \"x\" <李>\n", UserID: alice, ClientID: web, GrantID: storage.NewGrantID(alice).String(), Object: "rev_1",
		Address: netip.MustParseAddr("2001:db8::7"), RequestID: "r-1", Detail: "for people: é",
	}
	least := storage.AuditEvent{Time: f.Now(), Action: storage.ActRefresh, Outcome: storage.Accepted}
	elsewhere := event(f, -5)
	elsewhere.Time = elsewhere.Time.In(time.FixedZone("", 3600))
	appendAudit(t, f)
	appendAudit(t, f, full, least)
	appendAudit(t, f, elsewhere) // it happened earlier, but is appended later
	wantEvents(t, listAudit(t, f, storage.AuditQuery{}, 10).Events, full, least, event(f, -5))
}

func auditPages(t *testing.T, f Fixture) {
	all := events(f, 0, 25)
	appendAudit(t, f, all[:20]...)
	appendAudit(t, f, all[20:]...)

	latest := listAudit(t, f, storage.AuditQuery{}, 4)
	wantEvents(t, latest.Events, all[21:]...)
	back, p := slices.Clone(latest.Events), latest
	for pages := 1; p.Previous != ""; pages++ {
		if pages > 10 {
			t.Fatal("paging back has no end")
		}
		p = listAudit(t, f, storage.AuditQuery{Before: p.Previous}, 4)
		back = append(slices.Clone(p.Events), back...)
	}
	wantEvents(t, back, all...)
	for i, e := range back { // every id is a cursor
		wantEvents(t, listAudit(t, f, storage.AuditQuery{After: e.ID}, 100).Events, all[i+1:]...)
		wantEvents(t, listAudit(t, f, storage.AuditQuery{Before: e.ID}, 100).Events, all[:i]...)
	}
	for _, limit := range []int{1, 7, 100} {
		wantEvents(t, follow(t, f, storage.AuditQuery{}, limit), all...)
	}

	end := listAudit(t, f, storage.AuditQuery{After: latest.Next}, 10)
	if len(end.Events) != 0 || end.Next != latest.Next || end.Previous != "" {
		t.Fatalf("after the latest event: %+v", end)
	}
	more := events(f, 25, 27)
	appendAudit(t, f, more...)
	wantEvents(t, listAudit(t, f, storage.AuditQuery{After: end.Next}, 10).Events, more...)
}

// auditFilters has more events than a page looks at, and asks for few of them.
func auditFilters(t *testing.T, f Fixture) {
	all := events(f, 0, 2*storage.AuditScan+100)
	rare := []int{0, storage.AuditScan - 1, storage.AuditScan, 2*storage.AuditScan + 99}
	var want []storage.AuditEvent
	for _, i := range rare {
		all[i].Action = storage.ActReuse
		want = append(want, all[i])
	}
	for part := range slices.Chunk(all, 500) {
		appendAudit(t, f, part...)
	}
	q := storage.AuditQuery{Action: storage.ActReuse}
	for _, limit := range []int{1, 2, 100} {
		wantEvents(t, follow(t, f, q, limit), want...)
	}
	pages := 0
	var back []storage.AuditEvent
	for p := (storage.AuditPage{Previous: "-"}); p.Previous != ""; pages++ {
		p = listAudit(t, f, q, 100)
		back = append(p.Events, back...)
		q.Before = p.Previous
	}
	wantEvents(t, back, want...)
	if pages != 3 {
		t.Errorf("looking for events among %d took %d pages, want 3 of %d", len(all), pages, storage.AuditScan)
	}
	for _, limit := range []int{0, -1} {
		if p, err := f.Store.ListAudit(t.Context(), storage.AuditQuery{}, limit); err != nil || len(p.Events) > 0 {
			t.Errorf("a page of limit %d has %d events: %v", limit, len(p.Events), err)
		}
	}
	if n := len(listAudit(t, f, storage.AuditQuery{}, len(all)).Events); n != storage.AuditScan {
		t.Errorf("a page without a limit to speak of has %d events, want %d", n, storage.AuditScan)
	}
}

func auditMatches(t *testing.T, f Fixture) {
	act := func(action storage.AuditAction, set func(*storage.AuditEvent)) storage.AuditEvent {
		e := storage.AuditEvent{Time: f.Now(), Action: action, Outcome: storage.Success}
		set(&e)
		return e
	}
	all := []storage.AuditEvent{
		act("refresh", func(e *storage.AuditEvent) { e.ActorUser, e.ActorUserID, e.ActorClient = "alice", alice, web }),
		act("refresh.retry", func(e *storage.AuditEvent) { e.ActorUser, e.ActorUserID, e.ActorClient = "bob", bob, web }),
		act("refreshing", func(e *storage.AuditEvent) { e.ActorClient = cli }),
		act("user.delete", func(e *storage.AuditEvent) { e.ActorUser, e.Username, e.UserID = "bob", "alice", alice }),
		act("client.delete", func(e *storage.AuditEvent) { e.ActorUser, e.ClientID = "alic", web }),
	}
	appendAudit(t, f, all...)
	for _, c := range []struct {
		q    storage.AuditQuery
		want []int
	}{
		{storage.AuditQuery{}, []int{0, 1, 2, 3, 4}},
		{storage.AuditQuery{Action: "refresh"}, []int{0, 1}},
		{storage.AuditQuery{Action: "refresh.retry"}, []int{1}},
		{storage.AuditQuery{Action: "refr"}, nil},
		{storage.AuditQuery{Action: "user"}, []int{3}},
		{storage.AuditQuery{User: "alice"}, []int{0, 3}},
		{storage.AuditQuery{User: alice}, []int{0, 3}},
		{storage.AuditQuery{User: "bob"}, []int{1, 3}},
		{storage.AuditQuery{User: "ALICE"}, nil},
		{storage.AuditQuery{Client: web}, []int{0, 1, 4}},
		{storage.AuditQuery{Action: "refresh", User: "bob", Client: web}, []int{1}},
		{storage.AuditQuery{Action: "user", Client: web}, nil},
	} {
		var want []storage.AuditEvent
		for _, i := range c.want {
			want = append(want, all[i])
		}
		wantEvents(t, listAudit(t, f, c.q, 10).Events, want...)
		wantEvents(t, follow(t, f, c.q, 10), want...)
	}
}

func auditRepeated(t *testing.T, f Fixture) {
	first, second := events(f, 0, 300), events(f, 300, 302)
	appendAudit(t, f, first...)
	appendAudit(t, f, second...)
	appendAudit(t, f, first...)
	appendAudit(t, f, second...)
	third := events(f, 302, 303)
	appendAudit(t, f, third...)
	wantEvents(t, follow(t, f, storage.AuditQuery{}, 100), slices.Concat(first, second, third)...)
}

func auditWriters(t *testing.T, f Fixture) {
	const writers, calls, each = 8, 10, 5
	batch := func(i int) []storage.AuditEvent { return events(f, i*each, (i+1)*each) }
	errs := concurrently(writers, func(w int) error {
		for c := range calls {
			if err := f.Store.AppendAudit(t.Context(), batch(w*calls+c)...); err != nil {
				return err
			}
		}
		return nil
	})
	for _, err := range errs {
		wantErr(t, "AppendAudit beside others", err, nil)
	}
	all := follow(t, f, storage.AuditQuery{}, 100)
	if len(all) != writers*calls*each {
		t.Fatalf("%d events are kept, want %d", len(all), writers*calls*each)
	}
	last := make(map[int]int) // the latest call of each writer
	for part := range slices.Chunk(all, each) {
		var i int
		if _, err := fmt.Sscanf(part[0].RequestID, "request %d", &i); err != nil || i%each != 0 {
			t.Fatalf("the events of a call don't begin with %q", part[0].RequestID)
		}
		wantEvents(t, part, batch(i/each)...)
		writer, c := i/each/calls, i/each%calls+1
		if c != last[writer]+1 {
			t.Fatalf("call %d of a writer comes after call %d", c, last[writer])
		}
		last[writer] = c
	}
}

func auditTrim(t *testing.T, f Fixture) {
	trim := func(before time.Time, keep int) {
		t.Helper()
		wantErr(t, "TrimAudit", f.Store.TrimAudit(t.Context(), before, keep), nil)
	}
	trim(f.Now(), 10) // on an empty trail
	old := events(f, 0, 1200)
	appendAudit(t, f, old...)
	trim(f.Now(), 5000)
	wantEvents(t, follow(t, f, storage.AuditQuery{}, 500), old...)
	trim(f.Now().Add(-time.Hour), 700)
	wantEvents(t, follow(t, f, storage.AuditQuery{}, 500), old[500:]...)
	trim(f.Now().Add(600*time.Millisecond), 5000)
	wantEvents(t, follow(t, f, storage.AuditQuery{}, 500), old[600:]...)

	f.Advance(48 * time.Hour)
	fresh := []storage.AuditEvent{event(f, 0), event(f, -1), event(f, 1)}
	fresh[1].Time = fresh[1].Time.Add(-72 * time.Hour) // an old event, but behind one that stays
	appendAudit(t, f, fresh...)
	trim(f.Now().Add(-24*time.Hour), 5000)
	wantEvents(t, follow(t, f, storage.AuditQuery{}, 500), fresh...)
	trim(time.Time{}, 1)
	wantEvents(t, follow(t, f, storage.AuditQuery{}, 500), fresh[2])
	trim(time.Time{}, 0)
	wantEvents(t, follow(t, f, storage.AuditQuery{}, 500))
}

func auditCursors(t *testing.T, f Fixture) {
	appendAudit(t, f, events(f, 0, 3)...)
	first := listAudit(t, f, storage.AuditQuery{}, 10).Events
	wantErr(t, "TrimAudit", f.Store.TrimAudit(t.Context(), time.Time{}, 0), nil)
	more := events(f, 3, 6)
	appendAudit(t, f, more...)
	for _, e := range first {
		wantEvents(t, listAudit(t, f, storage.AuditQuery{After: e.ID}, 10).Events, more...)
		if p := listAudit(t, f, storage.AuditQuery{Before: e.ID}, 10); len(p.Events) != 0 || p.Previous != "" {
			t.Errorf("before an event that was forgotten: %+v", p)
		}
	}
}

func auditBadCursor(t *testing.T, f Fixture) {
	appendAudit(t, f, event(f, 0))
	id := listAudit(t, f, storage.AuditQuery{}, 1).Events[0].ID
	bad := []storage.AuditQuery{{After: id, Before: id}}
	for _, cursor := range []string{
		"!", "-", "+", "$", "*", "-1", "01", "1-", "-1-1", "1-01", "0x1", "1e3", " 1", "1 ", "(1", "1-1-1", "\x00", "é", strings.Repeat("9", 30), "not a cursor",
		"18446744073709551615-18446744073709551615", "99999999999999999999-1",
	} {
		bad = append(bad, storage.AuditQuery{After: cursor}, storage.AuditQuery{Before: cursor})
	}
	for _, q := range bad {
		_, err := f.Store.ListAudit(t.Context(), q, 10)
		wantErr(t, fmt.Sprintf("ListAudit of %+q", q), err, storage.ErrNotFound)
	}
}

// auditCalls returns calls of every method of storage.Audit, for outageChecks.
func auditCalls(f Fixture) map[string]func(ctx context.Context) error {
	return map[string]func(context.Context) error{
		"AppendAudit": func(ctx context.Context) error { return f.Store.AppendAudit(ctx, event(f, 1)) },
		"ListAudit":   func(ctx context.Context) error { return second(f.Store.ListAudit(ctx, storage.AuditQuery{}, 10)) },
		"TrimAudit":   func(ctx context.Context) error { return f.Store.TrimAudit(ctx, f.Now(), 10) },
	}
}
