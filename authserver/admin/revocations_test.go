package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// keyring returns a keyring with a new key, to mint tokens for the fixture.
func keyring(t *testing.T) *opaque.Keyring {
	t.Helper()
	keys, err := opaque.NewKeyring(opaque.NewKey(1))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// revoke posts a revocation, which must be complete at once, and returns the
// receipt.
func (f *fixture) revoke(t *testing.T, body string) admin.Receipt {
	t.Helper()
	a := f.send(t, "POST", "/revocations", body)
	f.api.Wait()
	if a.status != http.StatusOK && a.status != http.StatusAccepted {
		t.Fatalf("%s: status %d: %s", body, a.status, a.body)
	}
	var posted admin.Receipt
	a.into(t, &posted)
	if want := "/tenant/admin/v1/revocations/" + posted.ID; a.header.Get("Location") != want {
		t.Errorf("Location is %q, want %q", a.header.Get("Location"), want)
	}
	if (a.status == http.StatusOK) != (posted.Status == "complete") {
		t.Errorf("status %d with a receipt that is %s", a.status, posted.Status)
	}
	return f.receipt(t, posted.ID)
}

func (f *fixture) receipt(t *testing.T, id string) (r admin.Receipt) {
	t.Helper()
	f.send(t, "GET", "/revocations/"+id, "").want(t, http.StatusOK).into(t, &r)
	return r
}

// world is some users, clients and grants.
type world struct {
	*fixture
	keys   *opaque.Keyring
	ids    map[string]string // of users, by name
	grants map[string]storage.GrantID
}

// newWorld returns a fixture with three grants of alice, two at the client cli
// and one at web, and one grant of bob at web. Those at cli are half an hour
// older.
func newWorld(t *testing.T, options ...option) *world {
	t.Helper()
	w := &world{keys: keyring(t), ids: map[string]string{}, grants: map[string]storage.GrantID{}}
	w.fixture = newFixture(t, append(options, func(c *admin.Config) { c.Tokens = w.keys })...)
	for _, name := range []string{"alice", "bob"} {
		w.ids[name] = w.addUser(t, `{"username":"`+name+`"}`).ID
	}
	for _, id := range []string{"cli", "web"} {
		w.send(t, "POST", "/clients", `{"client_id":"`+id+`","grant_types":["password"]}`).want(t, http.StatusCreated)
	}
	now := w.now()
	for name, grant := range map[string][2]string{
		"alice-cli-1": {"alice", "cli"}, "alice-cli-2": {"alice", "cli"}, "alice-web": {"alice", "web"}, "bob-web": {"bob", "web"},
	} {
		if w.setClock(now); grant[1] == "cli" {
			w.setClock(now.Add(-30 * time.Minute))
		}
		w.grants[name] = w.addGrant(t, w.ids[grant[0]], grant[1])
	}
	w.setClock(now.Add(time.Second))
	return w
}

// living returns the names of the grants that are good.
func (w *world) living(t *testing.T) string {
	t.Helper()
	var living []string
	for _, name := range []string{"alice-cli-1", "alice-cli-2", "alice-web", "bob-web"} {
		if w.lives(t, w.grants[name]) {
			living = append(living, name)
		}
	}
	return strings.Join(living, " ")
}

func TestRevocation(t *testing.T) {
	const everybody = "alice-cli-1 alice-cli-2 alice-web bob-web"
	for _, test := range []struct {
		name   string
		body   func(w *world) string
		target admin.ReceiptTarget
		event  storage.AuditEvent // target and detail expected in the event
		ended  int
		living string
		oldest time.Duration // how much older than the newest grant
	}{
		{
			"of a user", func(*world) string { return `{"user":"Alice"}` }, // in any case
			admin.ReceiptTarget{User: "alice"}, storage.AuditEvent{Username: "alice", Detail: "of a user"}, 3, "bob-web", 30 * time.Minute,
		},
		{
			"of a client", func(*world) string { return `{"client":"cli"}` },
			admin.ReceiptTarget{Client: "cli"}, storage.AuditEvent{ClientID: "cli", Detail: "of a client"}, 2, "alice-web bob-web", 0,
		},
		{
			"of everybody", func(*world) string { return `{"all":true}` },
			admin.ReceiptTarget{All: true}, storage.AuditEvent{Detail: "all"}, 4, "", 30 * time.Minute,
		},
		{
			"of one, by its id", func(w *world) string { return `{"grant":"` + w.grants["alice-web"].String() + `"}` },
			admin.ReceiptTarget{}, storage.AuditEvent{Username: "somebody", ClientID: "web", Detail: "by its id"}, 1, "alice-cli-1 alice-cli-2 bob-web", 0,
		},
		{
			"of one that isn't there", func(*world) string { return `{"grant":"` + storage.NewGrantID("x").String() + `"}` },
			admin.ReceiptTarget{}, storage.AuditEvent{Detail: "by its id"}, 0, everybody, 0,
		},
		{
			"of one, by an access token", func(w *world) string { return w.token(opaque.Access, "alice-web", 1) },
			admin.ReceiptTarget{}, storage.AuditEvent{Username: "somebody", ClientID: "web", Detail: "by a token"}, 1, "alice-cli-1 alice-cli-2 bob-web", 0,
		},
		{
			"of one, by a refresh token that was replaced", func(w *world) string { return w.token(opaque.Refresh, "alice-web", 7) },
			admin.ReceiptTarget{}, storage.AuditEvent{Username: "somebody", ClientID: "web", Detail: "by a token"}, 1, "alice-cli-1 alice-cli-2 bob-web", 0,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			began := len(w.events.all())
			r := w.revoke(t, test.body(w))
			if living := w.living(t); living != test.living {
				t.Errorf("these live: %s; want %s", living, test.living)
			}
			if test.target == (admin.ReceiptTarget{}) {
				test.target.Grant = r.Target.Grant
				if _, err := storage.ParseGrantID(r.Target.Grant); err != nil {
					t.Errorf("the grant is %q", r.Target.Grant)
				}
			}
			want := admin.Receipt{
				ID: r.ID, Target: test.target, Requested: w.now(), By: "root", Cause: "revocation", Status: "complete",
				Grants: admin.ReceiptGrants{Expected: &test.ended, Ended: test.ended}, Completed: w.now(),
				Verified: &admin.Verification{At: w.now()},
			}
			if want.Grants.Newest = r.Grants.Newest; test.ended > 0 {
				want.Grants.Oldest = r.Grants.Newest.Add(-test.oldest)
			}
			if d := cmp.Diff(want, r); d != "" || r.Grants.Newest.IsZero() != (test.ended == 0) {
				t.Errorf("the receipt (-want +got):\n%s", d)
			}
			w.wantEvent(t, began, test.event, r)
			if again := w.revoke(t, test.body(w)); again.Grants.Ended != 0 {
				t.Errorf("repeated, it ended %d", again.Grants.Ended)
			}
		})
	}
}

// token returns the body of a revocation that names a token of the grant.
func (w *world) token(kind opaque.Kind, grant string, generation uint32) string {
	text, _ := w.keys.Mint(kind, w.grants[grant], generation)
	return `{"token":"` + text + `"}`
}

// wantEvent fails the test unless the only event from index since on is that of
// the revocation.
func (w *world) wantEvent(t *testing.T, since int, want storage.AuditEvent, r admin.Receipt) {
	t.Helper()
	events := w.events.all()[since:]
	if len(events) != 1 {
		t.Fatalf("events: %+v, want one", events)
	}
	want.Action, want.Outcome, want.Object, want.GrantID = storage.ActRevocation, storage.Accepted, r.ID, r.Target.Grant
	got := events[0]
	for _, e := range []*storage.AuditEvent{&got, &want} { // the fields that act fills in are checked by its own tests
		e.Time, e.ActorUser, e.ActorUserID, e.ActorClient, e.Address, e.RequestID, e.UserID = time.Time{}, "", "", "", root.Address, "", ""
	}
	if got != want {
		t.Errorf("the event is\n%+v, want\n%+v", got, want)
	}
}

func TestRevocationOfWhatWasIssuedBefore(t *testing.T) {
	for _, target := range []string{`"user":"alice"`, `"client":"cli"`, `"all":true`} {
		w := newWorld(t)
		half := w.now().Add(-15 * time.Minute)
		r := w.revoke(t, `{`+target+`,"issued_before":"`+half.Format(time.RFC3339Nano)+`"}`)
		if living := w.living(t); living != "alice-web bob-web" || r.Grants.Ended != 2 || !r.IssuedBefore.Equal(half) {
			t.Errorf("%s: these live: %s; the receipt: %+v", target, living, r)
		}
		for _, none := range []string{"0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999999-12:00"} {
			if r := w.revoke(t, `{`+target+`,"issued_before":"`+none+`"}`); r.Grants.Ended != 0 || r.IssuedBefore.IsZero() {
				t.Errorf("%s before %s: %+v", target, none, r)
			}
		}
		future := w.now().Add(time.Hour).In(time.FixedZone("", 3600))
		if r := w.revoke(t, `{`+target+`,"issued_before":"`+future.Format(time.RFC3339)+`"}`); !r.IssuedBefore.IsZero() {
			t.Errorf("%s before %s: %+v, want one of all", target, future, r)
		}
	}
}

func TestMalformedRevocation(t *testing.T) {
	w := newWorld(t)
	began := len(w.events.all())
	id := w.grants["alice-web"].String()
	forged, _ := keyring(t).Mint(opaque.Access, w.grants["alice-web"], 1) // with another key
	for _, test := range []struct {
		body   string
		status int
		code   string
		fields []string
	}{
		{`{}`, 400, "invalid_request", nil},
		{`{"issued_before":"2026-01-01T00:00:00Z"}`, 400, "invalid_request", nil},
		{`{"user":"alice","client":"web"}`, 400, "invalid_field", []string{"client", "user"}},
		{`{"user":"alice","client":"web","all":true,"grant":"x","token":"y"}`, 400, "invalid_field", []string{"all", "client", "grant", "token", "user"}},
		{`{"user":"alice","all":false}`, 400, "invalid_field", []string{"all", "user"}},
		{`{"all":false}`, 400, "invalid_field", []string{"all"}},
		{`{"all":"true"}`, 400, "invalid_field", []string{"all"}},
		{`{"user":null}`, 400, "invalid_field", []string{"user"}},
		{`{"users":"alice"}`, 400, "invalid_field", []string{"users"}},
		{`{"grant":"` + id + `","issued_before":"2026-01-01T00:00:00Z"}`, 400, "invalid_field", []string{"issued_before"}},
		{`{"token":"x","issued_before":"2026-01-01T00:00:00Z"}`, 400, "invalid_field", []string{"issued_before"}},
		{`{"all":true,"issued_before":"yesterday"}`, 400, "invalid_field", []string{"issued_before"}},
		{`{"all":true,"issued_before":"2026-01-01"}`, 400, "invalid_field", []string{"issued_before"}},
		{`{"all":true,"issued_before":1}`, 400, "invalid_field", []string{"issued_before"}},
		{`{"all":true,"issued_before":""}`, 400, "invalid_field", []string{"issued_before"}},
		{`{"grant":""}`, 400, "invalid_field", []string{"grant"}},
		{`{"grant":"` + id + `="}`, 400, "invalid_field", []string{"grant"}},
		{`{"token":""}`, 400, "invalid_field", []string{"token"}},
		{`{"token":"SECRET-that-is-no-token"}`, 400, "invalid_field", []string{"token"}},
		{`{"token":"` + forged + `"}`, 400, "invalid_field", []string{"token"}},
		{`{"user":"nobody"}`, 404, "not_found", nil},
		{`{"user":""}`, 404, "not_found", nil},
		{`{"user":"not a name"}`, 404, "not_found", nil},
		{`{"client":"nothing"}`, 404, "not_found", nil},
		{`{"client":""}`, 404, "not_found", nil},
	} {
		a := w.send(t, "POST", "/revocations", test.body)
		a.problem(t, test.status, test.code, test.fields...)
		if strings.Contains(a.body, "SECRET") || strings.Contains(a.body, forged) {
			t.Errorf("the token is told back: %s", a.body)
		}
	}
	if events := w.events.all()[began:]; len(events) > 0 {
		t.Errorf("something was done: %+v", events)
	}
	if living := w.living(t); living != "alice-cli-1 alice-cli-2 alice-web bob-web" {
		t.Errorf("these live: %s", living)
	}
}

// An unknown grant counts as none, and so does the id of zeros.
func TestAGrantThatNeverWasIsntCounted(t *testing.T) {
	w := newWorld(t)
	for _, id := range []storage.GrantID{{}, storage.NewGrantID("")} {
		r := w.revoke(t, `{"grant":"`+id.String()+`"}`)
		if *r.Grants.Expected != 0 || r.Grants.Ended != 0 || !r.Grants.Oldest.IsZero() {
			t.Errorf("%s: %+v", id, r.Grants)
		}
	}
}

// Neither the log nor the audit trail gets the token.
func TestATokenIsToldToNobody(t *testing.T) {
	var mu sync.Mutex
	var notes []string
	w := newWorld(t, func(c *admin.Config) {
		c.Note = func(_ context.Context, err error) {
			mu.Lock()
			defer mu.Unlock()
			notes = append(notes, err.Error())
		}
	})
	body := w.token(opaque.Access, "alice-web", 1)
	w.revoke(t, body)
	w.send(t, "POST", "/revocations", `{"token":"gat_SECRET"}`).want(t, http.StatusBadRequest)
	w.events.fill(true)
	w.send(t, "POST", "/revocations", body).problem(t, http.StatusServiceUnavailable, "unavailable")
	all := fmt.Sprintf("%+v %q", w.events.all(), notes)
	if len(notes) != 2 || strings.Contains(all, "gat_") || strings.Contains(all, body[10:40]) {
		t.Errorf("told: %s", all)
	}
}

// A revocation that the audit trail can't record isn't done, and one that fails
// is recorded as failed.
func TestRevocationThatFails(t *testing.T) {
	w := newWorld(t)
	bodies := []string{`{"user":"alice"}`, `{"all":true}`, `{"grant":"` + w.grants["alice-web"].String() + `"}`}
	w.events.fill(true)
	for _, body := range bodies {
		w.send(t, "POST", "/revocations", body).problem(t, http.StatusServiceUnavailable, "unavailable")
	}
	w.send(t, "DELETE", "/grants/"+w.grants["alice-web"].String(), "").problem(t, http.StatusServiceUnavailable, "unavailable")
	if living := w.living(t); living != "alice-cli-1 alice-cli-2 alice-web bob-web" {
		t.Errorf("these live: %s", living)
	}
	w.events.fill(false)
	w.store.revoke.Store(true)
	began := len(w.events.all())
	w.send(t, "POST", "/revocations", `{"user":"alice"}`).problem(t, http.StatusServiceUnavailable, "unavailable")
	events := w.events.all()[began:]
	if len(events) != 2 || events[0].Outcome != storage.Accepted || events[1].Outcome != storage.Failure {
		t.Errorf("events: %+v", events)
	}
	var list receiptList
	w.send(t, "GET", "/revocations", "").want(t, http.StatusOK).into(t, &list)
	if len(list.Revocations) != 0 {
		t.Errorf("receipts of what wasn't done: %+v", list)
	}
}

// A revocation that ended its grants doesn't count as failed because its
// receipt couldn't be kept. The records are swept all the same.
func TestWithoutReceiptsAccessEnds(t *testing.T) {
	w := newWorld(t)
	w.store.full.Store(true)
	began := len(w.events.all())
	for _, act := range []struct {
		method, path, body string
		living             string
	}{
		{"DELETE", "/grants/" + w.grants["alice-web"].String(), "", "alice-cli-1 alice-cli-2 bob-web"},
		{"POST", "/revocations", `{"grant":"` + w.grants["alice-cli-2"].String() + `"}`, "alice-cli-1 bob-web"},
		{"POST", "/revocations", `{"user":"alice"}`, "bob-web"},
		{"PATCH", "/users/bob", `{"disabled":true}`, ""},
		{"DELETE", "/users/bob", "", ""},
		{"PATCH", "/clients/web", `{"scopes":[]}`, ""},
		{"DELETE", "/clients/web", "", ""},
	} {
		a := w.send(t, act.method, act.path, act.body)
		w.api.Wait()
		if a.status >= 300 {
			t.Errorf("%s %s: %d %s", act.method, act.path, a.status, a.body)
		}
		w.store.full.Store(false)
		if living := w.living(t); living != act.living {
			t.Errorf("%s %s: these live: %s, want %s", act.method, act.path, living, act.living)
		}
		w.store.full.Store(true)
	}
	for _, e := range w.events.all()[began:] {
		if e.Outcome != storage.Accepted {
			t.Errorf("told as failed: %+v", e)
		}
	}
	if unswept, err := w.store.Unswept(t.Context()); err != nil || len(unswept) != 0 {
		t.Errorf("unswept: %+v, %v", unswept, err)
	}
}

// A receipt that couldn't be kept at first is kept after the sweep.
func TestAReceiptIsKeptAfterTheSweep(t *testing.T) {
	w := newWorld(t)
	w.store.full.Store(true)
	goesOn := func() error { w.store.full.Store(false); return nil }
	w.store.sweep.Store(&goesOn)
	if r := w.revoke(t, `{"user":"alice"}`); r.Status != "complete" || r.Grants.Ended != 3 || r.Verified == nil {
		t.Errorf("the receipt: %+v", r)
	}
}

type receiptList struct {
	Revocations []admin.Receipt `json:"revocations"`
	Next        string          `json:"next"`
}

// A sweep that takes longer than the request waits goes on, and the receipt
// tells its progress. The grants are dead meanwhile.
func TestRevocationWhoseSweepTakesLong(t *testing.T) {
	w := newWorld(t)
	hold := make(chan struct{})
	waits := func() error { <-hold; return nil }
	w.store.sweep.Store(&waits)
	a := w.send(t, "POST", "/revocations", `{"user":"alice"}`).want(t, http.StatusAccepted)
	var r admin.Receipt
	a.into(t, &r)
	if r.Status != "sweeping" || r.Grants.Ended != 0 || *r.Grants.Expected != 3 || r.Verified != nil || !r.Completed.IsZero() {
		t.Errorf("the receipt: %+v", r)
	}
	if living := w.living(t); living != "bob-web" {
		t.Errorf("these live: %s", living)
	}
	if d := cmp.Diff(r, w.receipt(t, r.ID)); d != "" {
		t.Errorf("the receipt, read again:\n%s", d)
	}
	w.send(t, "GET", "/revocations/"+r.ID+"?verify=true", "").want(t, http.StatusOK).into(t, &r)
	if r.Verified == nil || r.Verified.Survivors != 3 || r.Status != "sweeping" {
		t.Errorf("verified before the sweep: %+v", r)
	}
	close(hold)
	w.api.Wait()
	if r = w.receipt(t, r.ID); r.Status != "complete" || r.Grants.Ended != 3 || r.Verified.Survivors != 0 {
		t.Errorf("after the sweep: %+v", r)
	}
}

// The verification looks again whenever it is asked to.
func TestVerifyLooksAgain(t *testing.T) {
	w := newWorld(t)
	many, one := w.revoke(t, `{"user":"alice"}`), w.revoke(t, `{"grant":"`+w.grants["bob-web"].String()+`"}`)
	w.setClock(w.now().Add(time.Minute))
	for _, r := range []admin.Receipt{many, one} {
		for _, query := range []string{"", "?verify=false"} {
			if r := w.receipt(t, r.ID+query); !r.Verified.At.Equal(w.now().Add(-time.Minute)) {
				t.Errorf("%q: %+v", query, r.Verified)
			}
		}
		if again := w.receipt(t, r.ID+"?verify=true"); *again.Verified != (admin.Verification{At: w.now()}) {
			t.Errorf("%+v", again.Verified)
		}
		if kept := w.receipt(t, r.ID); !kept.Verified.At.Equal(w.now()) {
			t.Errorf("kept: %+v", kept.Verified)
		}
	}
	w.send(t, "GET", "/revocations/"+many.ID+"?verify=yes", "").problem(t, 400, "invalid_field", "verify")
	for _, id := range []string{storage.NewReceiptID(w.now()), "rev_", "rev_x", many.ID + "0", strings.ToUpper(many.ID)} {
		w.send(t, "GET", "/revocations/"+id, "").problem(t, 404, "not_found")
	}
}

// Every act that ends grants leaves a receipt with its cause.
func TestReceiptsOfOtherActs(t *testing.T) {
	w := newWorld(t)
	for _, step := range []struct {
		method, path, body string
		cause              storage.AuditAction
		target             admin.ReceiptTarget
		ended              int
	}{
		{"DELETE", "/grants/" + w.grants["alice-cli-1"].String(), "", "grant.end", admin.ReceiptTarget{Grant: w.grants["alice-cli-1"].String()}, 1},
		{"PATCH", "/users/bob", `{"disabled":true}`, "user.update", admin.ReceiptTarget{User: "bob"}, 1},
		{"PUT", "/users/alice/password", `{"password":"correct horse battery"}`, "user.password", admin.ReceiptTarget{User: "alice"}, 2},
		{"DELETE", "/users/bob", "", "user.delete", admin.ReceiptTarget{User: "bob"}, 0},
		{"PATCH", "/clients/web", `{"scopes":[]}`, "client.update", admin.ReceiptTarget{Client: "web"}, 0},
		{"POST", "/clients/web/secret", "", "client.secret", admin.ReceiptTarget{Client: "web"}, 0},
		{"DELETE", "/clients/web", "", "client.delete", admin.ReceiptTarget{Client: "web"}, 0},
	} {
		w.setClock(w.now().Add(time.Millisecond))
		if a := w.send(t, step.method, step.path, step.body); a.status >= 300 {
			t.Fatalf("%s %s: %d %s", step.method, step.path, a.status, a.body)
		}
		w.api.Wait()
		var list receiptList
		w.send(t, "GET", "/revocations?limit=1", "").want(t, http.StatusOK).into(t, &list)
		r := list.Revocations[0]
		if r.Cause != step.cause || r.Target != step.target || r.Grants.Ended != step.ended || r.Status != "complete" || r.By != "root" {
			t.Errorf("%s %s: the newest receipt is %+v", step.method, step.path, r)
		}
	}
}

func TestReceiptsAreListedNewestFirst(t *testing.T) {
	w := newWorld(t)
	var ids []string
	for range 5 {
		ids = append([]string{w.revoke(t, `{"client":"cli"}`).ID}, ids...)
		w.setClock(w.now().Add(time.Millisecond))
	}
	var got []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		var list receiptList
		w.send(t, "GET", "/revocations?limit=2"+cursor, "").want(t, http.StatusOK).into(t, &list)
		for _, r := range list.Revocations {
			got = append(got, r.ID)
		}
		if cursor = ""; list.Next != "" {
			cursor = "&cursor=" + list.Next
		}
	}
	if d := cmp.Diff(ids, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	w.send(t, "GET", "/revocations?cursor=x", "").problem(t, 400, "invalid_field", "cursor")
	w.send(t, "GET", "/revocations?user=alice", "").problem(t, 400, "invalid_field", "user")
}

// legacy is the store of another server, with one sign-in.
type legacy struct {
	access, refresh string
	grant           storage.Grant
	moved           bool
	down            bool
	told            []string
}

func (l *legacy) AnyGrant(_ context.Context, text string) (opaque.Kind, storage.Grant, bool, error) {
	kind := opaque.Access
	if text == l.refresh {
		kind = opaque.Refresh
	}
	switch {
	case l.down:
		return kind, storage.Grant{}, false, errDown
	case text != l.access && text != l.refresh:
		return kind, storage.Grant{}, false, fmt.Errorf("%w: another", storage.ErrNotFound)
	case l.moved:
		return kind, storage.Grant{ID: l.grant.ID}, true, nil
	}
	return kind, l.grant, false, nil
}

func (l *legacy) Forget(_ context.Context, text string) error {
	l.told = append(l.told, "forget "+text)
	return nil
}

func (l *legacy) EndGrant(_ context.Context, id storage.GrantID) error {
	l.told = append(l.told, "end "+id.String())
	return nil
}

func TestRevocationByATokenOfAnotherServer(t *testing.T) {
	for _, moved := range []bool{false, true} {
		for _, text := range []string{"OLD-ACCESS", "OLD-REFRESH"} {
			l := &legacy{access: "OLD-ACCESS", refresh: "OLD-REFRESH", moved: moved}
			w := newWorld(t, func(c *admin.Config) { c.Legacy = l })
			l.grant = storage.Grant{ID: w.grants["alice-web"], UserID: w.ids["alice"], Username: "alice", ClientID: "web", Created: w.now()}
			r := w.revoke(t, `{"token":"`+text+`"}`)
			if r.Grants.Ended != 1 || r.Target.Grant != l.grant.ID.String() || r.Status != "complete" || w.lives(t, l.grant.ID) {
				t.Errorf("%s, moved %t: %+v", text, moved, r)
			}
			if d := cmp.Diff([]string{"forget " + text, "end " + l.grant.ID.String()}, l.told); d != "" {
				t.Errorf("the other server's store was told (-want +got):\n%s", d)
			}
			w.send(t, "POST", "/revocations", `{"token":"UNKNOWN"}`).problem(t, 400, "invalid_field", "token")
			l.down = true
			w.send(t, "POST", "/revocations", `{"token":"UNKNOWN"}`).problem(t, 503, "unavailable")
		}
	}
}

func TestWithoutKeysNoTokenIsRead(t *testing.T) {
	f := newFixture(t)
	f.send(t, "POST", "/revocations", `{"token":"gat_x"}`).problem(t, http.StatusConflict, "conflict")
}

// The receipt names the actor: a user, a client, or local for the command line
// at the store.
func TestByWhom(t *testing.T) {
	w := newWorld(t)
	for want, actor := range map[string]admin.Actor{
		"root": {Username: "root", ClientID: "cli"}, "cli": {ClientID: "cli"}, "local": {Local: true},
	} {
		w.actor.Store(&actor)
		a := w.send(t, "POST", "/revocations", `{"client":"cli"}`)
		var r admin.Receipt
		if err := json.Unmarshal([]byte(a.body), &r); err != nil || r.By != want {
			t.Errorf("by %q, want %q; %v", r.By, want, err)
		}
	}
	w.api.Wait()
}

// Config.Revoked is called for each revocation that took place, with its cause.
func TestRevocationsAreTold(t *testing.T) {
	var mu sync.Mutex
	var told []storage.AuditAction
	w := newWorld(t, func(c *admin.Config) {
		c.Revoked = func(cause storage.AuditAction) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, cause)
		}
	})
	for _, step := range []struct {
		method, path, body string
		header             string
		down               bool
		want               storage.AuditAction // "" if there is no call
	}{
		{method: "DELETE", path: "/grants/" + w.grants["alice-cli-1"].String(), want: storage.ActGrantEnd},
		{method: "POST", path: "/revocations", body: `{"grant":"` + w.grants["bob-web"].String() + `"}`, want: storage.ActRevocation},
		{method: "POST", path: "/revocations", body: `{"user":"alice"}`, down: true},
		{method: "POST", path: "/revocations", body: `{"user":"alice"}`, want: storage.ActRevocation},
		{method: "PUT", path: "/users/bob/password", body: `{"password":"correct horse battery"}`, down: true},
		{method: "PUT", path: "/users/bob/password", body: `{"password":"correct horse battery"}`, want: storage.ActUserPassword},
		{method: "DELETE", path: "/users/bob", header: "If-Match: *", want: storage.ActUserDelete},
		{method: "DELETE", path: "/clients/web", header: "If-Match: *", want: storage.ActClientDelete},
		{method: "POST", path: "/users", body: `{"username":"carol"}`},
	} {
		w.store.revoke.Store(step.down)
		a := w.send(t, step.method, step.path, step.body, step.header)
		if step.down != (a.status == http.StatusServiceUnavailable) {
			t.Errorf("%s %s: %d %s", step.method, step.path, a.status, a.body)
		}
		mu.Lock()
		got := told
		told = nil
		mu.Unlock()
		if step.want == "" && len(got) != 0 || step.want != "" && (len(got) != 1 || got[0] != step.want) {
			t.Errorf("%s %s: told %q, want %q", step.method, step.path, got, step.want)
		}
	}
}
