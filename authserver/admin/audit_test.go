package admin_test

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

// auditPage is the answer of GET /audit.
type auditPage struct {
	Events []struct {
		ID          string     `json:"id"`
		Time        time.Time  `json:"time"`
		Action      string     `json:"action"`
		Outcome     string     `json:"outcome"`
		ActorUser   string     `json:"actor_user"`
		ActorUserID string     `json:"actor_user_id"`
		ActorClient string     `json:"actor_client"`
		Local       bool       `json:"local"`
		Username    string     `json:"username"`
		UserID      string     `json:"user_id"`
		ClientID    string     `json:"client_id"`
		GrantID     string     `json:"grant_id"`
		Object      string     `json:"object"`
		Address     netip.Addr `json:"address"`
		RequestID   string     `json:"request_id"`
		Detail      string     `json:"detail"`
	} `json:"events"`
	Next     string `json:"next"`
	Previous string `json:"previous"`
}

// ids are the request ids of the events.
func (p auditPage) ids() (ids []string) {
	for _, e := range p.Events {
		ids = append(ids, e.RequestID)
	}
	return ids
}

func (f *fixture) audit(t *testing.T, query string) (p auditPage) {
	t.Helper()
	a := f.send(t, "GET", "/audit?"+query, "").want(t, 200)
	a.into(t, &p)
	if p.Next == "" || !strings.Contains(a.body, `"events":[`) {
		t.Errorf("the answer lacks next or events: %s", a.body)
	}
	return p
}

// addEvents appends sign-ins of alice with the request ids r<from> up to
// r<to-1>, each edited by change, and returns the ids.
func (f *fixture) addEvents(t *testing.T, from, to int, change func(i int, e *storage.AuditEvent)) (ids []string) {
	t.Helper()
	for part := from; part < to; part += 500 {
		var events []storage.AuditEvent
		for i := part; i < min(part+500, to); i++ {
			e := storage.AuditEvent{
				Time: f.now(), Action: storage.ActSignIn, Outcome: storage.Success,
				ActorUser: "alice", ActorUserID: "usr_Alice", ActorClient: "web", RequestID: fmt.Sprint("r", i),
			}
			if change != nil {
				change(i, &e)
			}
			events = append(events, e)
			ids = append(ids, e.RequestID)
		}
		if err := f.store.AppendAudit(t.Context(), events...); err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

func wantIDs(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

func TestAuditHasEveryField(t *testing.T) {
	f := newFixture(t)
	f.addEvents(t, 0, 1, func(_ int, e *storage.AuditEvent) {
		e.Local, e.Username, e.UserID, e.ClientID, e.GrantID, e.Object = true, "bob", "usr_bob", "api", "g", "rev_1"
		e.Address, e.Detail = netip.MustParseAddr("192.0.2.7"), "why"
	})
	p := f.audit(t, "")
	e := p.Events[0]
	e.ID = ""
	const want = `{ID: Time:2030-01-02 03:04:05 +0000 UTC Action:signin Outcome:success ActorUser:alice ActorUserID:usr_Alice ActorClient:web Local:true ` +
		`Username:bob UserID:usr_bob ClientID:api GrantID:g Object:rev_1 Address:192.0.2.7 RequestID:r0 Detail:why}`
	if got := fmt.Sprintf("%+v", e); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAuditPages(t *testing.T) {
	f := newFixture(t)
	if p := f.audit(t, ""); len(p.Events) != 0 || p.Previous != "" {
		t.Errorf("an empty trail: %+v", p)
	}
	begin := f.audit(t, "").Next
	all := f.addEvents(t, 0, 10, nil)
	p := f.audit(t, "limit=4")
	wantIDs(t, p.ids(), all[6:])
	next := p.Next
	var back []string
	for p.Previous != "" {
		p = f.audit(t, "limit=4&before="+url.QueryEscape(p.Previous))
		back = append(p.ids(), back...)
	}
	wantIDs(t, back, all[:6])
	wantIDs(t, f.audit(t, "after="+begin).ids(), all)
	wantIDs(t, f.audit(t, "after="+p.Events[0].ID).ids(), all[1:]) // an id is a cursor
	if p := f.audit(t, "after="+next); len(p.Events) != 0 || p.Next != next {
		t.Errorf("at the end: %+v", p)
	}
	more := f.addEvents(t, 10, 12, nil)
	wantIDs(t, f.audit(t, "wait=25&after="+next).ids(), more)
}

func TestAuditFilters(t *testing.T) {
	f := newFixture(t)
	begin := f.audit(t, "").Next
	// Between the events that the filters match there are more than the store
	// looks at for one page.
	f.addEvents(t, 0, 2*storage.AuditScan+10, func(i int, e *storage.AuditEvent) {
		switch i {
		case 0:
			e.Action, e.ActorUser, e.ActorUserID, e.ActorClient = storage.ActUserUpdate, "root", "usr_Root", "grantd-cli"
		case 1:
			e.Action, e.Username = storage.ActUserDelete, "zoë"
		}
	})
	for query, want := range map[string][]string{
		"action=user.update":              {"r0"},
		"action=user":                     {"r0", "r1"},
		"action=user.create":              nil,
		"user=root":                       {"r0"},
		"user=ROOT":                       {"r0"},
		"user=usr_Root":                   {"r0"},
		"user=Zo%C3%AB":                   {"r1"},
		"user=zoe%CC%88":                  {"r1"},
		"client=grantd-cli":               {"r0"},
		"user=root&action=user":           {"r0"},
		"user=root&client=web":            nil,
		"action=user&limit=1":             {"r1"},
		"action=user&after=" + begin:      {"r0", "r1"},
		"user=root&wait=0&after=" + begin: {"r0"},
	} {
		p := f.audit(t, query)
		if d := slices.Equal(p.ids(), want); !d {
			t.Errorf("%s: %v, want %v", query, p.ids(), want)
		}
		if !strings.Contains(query, "after") && len(want) == 0 {
			wantIDs(t, f.audit(t, "after="+url.QueryEscape(p.Next)).ids(), nil) // the cursor is behind the latest event
		}
	}
}

// One request looks at a bounded number of events, however many there are.
func TestAuditLooksAtABoundedNumber(t *testing.T) {
	f := newFixture(t)
	f.addEvents(t, 0, 1, func(_ int, e *storage.AuditEvent) { e.Action = storage.ActReuse })
	f.addEvents(t, 1, 12*storage.AuditScan, nil)
	p := f.audit(t, "action=refresh.reuse")
	if len(p.Events) != 0 || p.Previous == "" {
		t.Fatalf("%d events, previous %q", len(p.Events), p.Previous)
	}
	wantIDs(t, f.audit(t, "action=refresh.reuse&before="+p.Previous).ids(), []string{"r0"})
}

func TestAuditRefuses(t *testing.T) {
	f := newFixture(t)
	f.addEvents(t, 0, 1, nil)
	id := f.audit(t, "").Events[0].ID
	for query, field := range map[string]string{
		"limit=0": "limit", "limit=1001": "limit", "limit=x": "limit",
		"after=x": "after", "before=x": "before", "before=-1": "before", "after=" + id + "&before=" + id: "before",
		"action=Sign-In": "action", "user=%00": "user", "user=" + strings.Repeat("a", 2000): "user",
		"wait=5": "wait", "wait=26&after=" + id: "wait", "wait=-1&after=" + id: "wait", "wait=1s&after=" + id: "wait",
		"cursor=x": "cursor", "wait=": "wait",
	} {
		t.Run(query[:min(40, len(query))], func(t *testing.T) {
			f.send(t, "GET", "/audit?"+query, "").problem(t, 400, "invalid_field", field)
		})
	}
	f.send(t, "POST", "/audit", "{}").problem(t, 405, "method_not_allowed")
}

func TestAuditWaits(t *testing.T) {
	f := newFixture(t)
	f.addEvents(t, 0, 1, nil)
	next := url.QueryEscape(f.audit(t, "").Next)

	began := time.Now()
	if p := f.audit(t, "wait=1&after="+next); len(p.Events) != 0 || time.Since(began) < time.Second {
		t.Errorf("after %v: %+v", time.Since(began), p)
	}
	answers := make(chan auditPage)
	ask := func(query string) {
		began = time.Now()
		go func() {
			var p auditPage
			defer func() { answers <- p }() // also if f.audit fails the test
			p = f.audit(t, query)
		}()
		time.Sleep(100 * time.Millisecond) // the request waits by now; if not, it will find the event at once
	}
	ask("wait=25&action=refresh&after=" + next)
	f.addEvents(t, 1, 2, nil) // an event that the filter excludes
	f.addEvents(t, 2, 3, func(_ int, e *storage.AuditEvent) { e.Action = storage.ActRetry })
	wantIDs(t, (<-answers).ids(), []string{"r2"})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the event was told after %v", took)
	}

	ask("wait=25&action=revocation&after=" + next)
	f.api.StopWaiting()
	if p := <-answers; len(p.Events) != 0 || time.Since(began) > 5*time.Second {
		t.Errorf("when the server stops: %+v after %v", p, time.Since(began))
	}
	if p := f.audit(t, "wait=25&action=revocation&after="+next); len(p.Events) != 0 || time.Since(began) > 5*time.Second {
		t.Errorf("when the server has stopped: %+v after %v", p, time.Since(began))
	}
}
