package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// auditAnswer is what GET /admin/v1/audit answers.
type auditAnswer struct {
	Events   []storage.AuditEvent `json:"events"`
	Next     string               `json:"next"`
	Previous string               `json:"previous"`
}

func auditOf(t *testing.T, base, token, query string) (a auditAnswer) {
	t.Helper()
	got := admins(t, base, token, "GET", "/audit"+query, "").want(t, http.StatusOK)
	if err := json.Unmarshal([]byte(got.body), &a); err != nil {
		t.Fatalf("%v: %s", err, got.body)
	}
	return a
}

// adminActs are acts of admins, with their names in the trail.
var adminActs = []struct {
	method, path, body string
	status             int
	want               storage.AuditEvent
}{
	{"POST", "/users", `{"username":"Dave","password":"secret of dave"}`, 201, storage.AuditEvent{Action: storage.ActUserCreate, Username: "dave"}},
	{"PATCH", "/users/dave", `{"disabled":true}`, 200, storage.AuditEvent{Action: storage.ActUserUpdate, Username: "dave", Detail: "disabled"}},
	{"PUT", "/users/dave/password", `{"password":"other secret of dave"}`, 204, storage.AuditEvent{Action: storage.ActUserPassword, Username: "dave"}},
	{"DELETE", "/users/dave", "", 204, storage.AuditEvent{Action: storage.ActUserDelete, Username: "dave"}},
	{"POST", "/clients", `{"client_id":"app","grant_types":["client_credentials"],"client_secret":"secret-of-app-24-letters"}`, 201, storage.AuditEvent{Action: storage.ActClientCreate, ClientID: "app"}},
	{"POST", "/clients/app/secret", `{"client_secret":"other-secret-of-app-24-letters"}`, 200, storage.AuditEvent{Action: storage.ActClientSecret, ClientID: "app", Detail: "without overlap"}},
	{"DELETE", "/clients/app", "", 204, storage.AuditEvent{Action: storage.ActClientDelete, ClientID: "app"}},
	{"POST", "/keys", "", 201, storage.AuditEvent{Action: storage.ActKeyRotate, Object: "2"}},
}

func TestEveryActOfAnAdminLeavesOneEvent(t *testing.T) {
	for name, place := range map[string]func(*testing.T) trailSite{
		"sqlite": onSQLite,
		"redis":  func(t *testing.T) trailSite { s, _ := onARedis(t); return s },
	} {
		t.Run(name, func(t *testing.T) {
			s := place(t)
			r := s.start(t)
			token := adminToken(t, r.URL)
			await(t, 5*time.Second, "in the trail", func() bool { return len(auditOf(t, r.URL, token, "").Events) == 1 })
			begin := auditOf(t, r.URL, token, "").Next
			for _, act := range adminActs {
				answer := admins(t, r.URL, token, act.method, act.path, act.body).want(t, act.status)
				got := auditOf(t, r.URL, token, "?after="+url.QueryEscape(begin)) // no wait is needed: the event was kept before the act
				begin = got.Next
				if len(got.Events) != 1 {
					t.Fatalf("%s %s left %d events", act.method, act.path, len(got.Events))
				}
				e := got.Events[0]
				if e.ActorUser != "admin" || !strings.HasPrefix(e.ActorUserID, storage.UserIDPrefix) || e.ActorClient != "demo" || e.Local ||
					e.Address != netip.MustParseAddr("127.0.0.1") || e.RequestID != answer.header.Get("X-Request-Id") ||
					e.Outcome != storage.Accepted || (e.Username != "") != (e.UserID != "") ||
					e.Action != act.want.Action || e.Object != act.want.Object || e.Username != act.want.Username || e.ClientID != act.want.ClientID || e.Detail != act.want.Detail {
					t.Errorf("%s %s left %+v, want %+v of the admin", act.method, act.path, e, act.want)
				}
			}
			r.Stop()
			secrets := []string{"secret of dave", "secret-of-app", token, token[len("gat_"):], "admin-dev-only"}
			wantNoSecret(t, "the store", s.kept(t), secrets)
			wantNoSecret(t, "the log", r.Stderr(), secrets)
		})
	}
}

// An act of an admin that can't be written to the trail isn't done; all other
// requests work.
func TestWithoutTheTrailNoAdminActs(t *testing.T) {
	s, server := onARedis(t)
	r := s.start(t)
	token := adminToken(t, r.URL)
	await(t, 5*time.Second, "in the trail", func() bool { return len(auditOf(t, r.URL, token, "").Events) == 1 })
	server.Client().Rename(t.Context(), "grantd:{audit}", "elsewhere")
	server.Client().Set(t.Context(), "grantd:{audit}", "no stream", 0)
	users := admins(t, r.URL, token, "GET", "/users", "").body
	clients := admins(t, r.URL, token, "GET", "/clients", "").body
	_, alice := tokenFor(t, r.URL, "demo", "demo-secret", passwordForm("alice", "secret123", ""))
	for _, act := range []struct{ method, path, body string }{
		{"POST", "/users", `{"username":"dave"}`},
		{"PATCH", "/users/alice", `{"disabled":true}`},
		{"PUT", "/users/alice/password", `{"password":"another secret"}`},
		{"DELETE", "/users/alice", ""},
		{"POST", "/clients", `{"client_id":"app","grant_types":["client_credentials"]}`},
		{"PATCH", "/clients/demo", `{"scopes":["read"]}`},
		{"POST", "/clients/demo/secret", `{}`},
		{"DELETE", "/clients/demo", ""},
		{"POST", "/revocations", `{"user":"alice"}`},
		{"POST", "/keys", ""},
	} {
		a := admins(t, r.URL, token, act.method, act.path, act.body)
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: status %d: %s", act.method, act.path, a.status, a.body)
		}
	}
	if got := admins(t, r.URL, token, "GET", "/users", "").body; got != users {
		t.Errorf("the users were %s and are %s", users, got)
	}
	if got := admins(t, r.URL, token, "GET", "/clients", "").body; got != clients {
		t.Errorf("the clients were %s and are %s", clients, got)
	}
	if status, _ := getUsersMe(t, r.URL, tokenIn(alice, "access_token")); status != 200 {
		t.Errorf("alice is signed out: %d", status)
	}
	if status, _ := tokenFor(t, r.URL, "demo", "demo-secret", passwordForm("alice", "secret123", "")); status != 200 {
		t.Errorf("alice can't sign in: %d", status)
	}
	admins(t, r.URL, token, "GET", "/audit", "").want(t, http.StatusServiceUnavailable)
	server.Client().Rename(t.Context(), "elsewhere", "grantd:{audit}")
	admins(t, r.URL, token, "DELETE", "/users/alice", "").want(t, http.StatusNoContent)
}

// When the memory of Redis is full, the trail still takes events, or else no
// admin could end any access then. Acts that fail are in the trail too.
func TestTheTrailWhenMemoryIsFull(t *testing.T) {
	s, server := onARedis(t)
	r := s.start(t)
	token := adminToken(t, r.URL)
	if err := server.Client().ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	admins(t, r.URL, token, "POST", "/users", `{"username":"dave"}`).want(t, http.StatusServiceUnavailable)
	var acts []string
	for _, e := range auditOf(t, r.URL, token, "?action=user").Events {
		acts = append(acts, fmt.Sprint(e.Action, " ", e.Outcome, " ", e.Username))
	}
	if want := []string{"user.create accepted dave", "user.create failure dave"}; !slices.Equal(acts, want) {
		t.Errorf("the trail has %q, want %q", acts, want)
	}
}

// Ending access works when the memory of Redis is full, with its receipts and
// their sweeps.
func TestAccessEndsWhenMemoryIsFull(t *testing.T) {
	s, server := onARedis(t)
	r := s.start(t)
	token := adminToken(t, r.URL)
	grant := func(user string) (access, id string) {
		status, answer := tokenFor(t, r.URL, "demo", "demo-secret", passwordForm(user, map[string]string{"alice": "secret123", "bob": "builder456"}[user], ""))
		if status != http.StatusOK {
			t.Fatalf("%s signs in: %d %v", user, status, answer)
		}
		var page struct{ Grants []struct{ ID string } }
		got := admins(t, r.URL, token, "GET", "/grants?user="+user, "").want(t, http.StatusOK)
		if err := json.Unmarshal([]byte(got.body), &page); err != nil || len(page.Grants) == 0 {
			t.Fatalf("%s, %v", got.body, err)
		}
		return tokenIn(answer, "access_token"), page.Grants[0].ID
	}
	first, single := grant("alice")
	second, _ := grant("alice")
	third, _ := grant("bob")
	if err := server.Client().ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	admins(t, r.URL, token, "DELETE", "/grants/"+single, "").want(t, http.StatusNoContent)
	a := admins(t, r.URL, token, "POST", "/revocations", `{"user":"alice"}`)
	if a.status != http.StatusOK && a.status != http.StatusAccepted {
		t.Errorf("revocation: %d %s", a.status, a.body)
	}
	admins(t, r.URL, token, "PATCH", "/users/bob", `{"disabled":true}`).want(t, http.StatusOK)
	admins(t, r.URL, token, "DELETE", "/users/bob", "").want(t, http.StatusNoContent)
	for i, access := range []string{first, second, third} {
		if status, _ := getUsersMe(t, r.URL, access); status != http.StatusUnauthorized {
			t.Errorf("token %d: status %d, want 401", i, status)
		}
	}
	admins(t, r.URL, token, "DELETE", "/clients/demo", "").want(t, http.StatusNoContent) // last, since the admin's grant belongs to demo
	var causes []string
	store := s.open(t)
	await(t, 5*time.Second, "swept", func() bool {
		receipts, err := store.ListReceipts(t.Context(), "", 10)
		unswept, err2 := store.Unswept(t.Context())
		causes = nil
		for _, receipt := range receipts {
			causes = append(causes, string(receipt.Cause))
			if receipt.Completed.IsZero() {
				return false
			}
		}
		return err == nil && err2 == nil && len(unswept) == 0
	})
	slices.Sort(causes)
	if want := []string{"client.delete", "grant.end", "revocation", "user.delete", "user.update"}; !slices.Equal(causes, want) {
		t.Errorf("receipts of %q, want %q", causes, want)
	}
	if kept := s.kept(t); strings.Contains(kept, string(storage.Failure)) {
		t.Errorf("told as failed: %s", kept)
	}
}

// auditServer serves the admin API on a fresh store, with these limits for
// connections.
func auditServer(t *testing.T, l limits) (base string, store storage.Store) {
	t.Helper()
	store, err := embedded.Open(embedded.Memory)
	if err != nil {
		t.Fatal(err)
	}
	hasher, err := passhash.New(passhash.Params{Memory: 64, Time: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	c := defaultConfig()
	conf := c.adminAPI(store, hasher)
	conf.Actor, conf.Guard = func(context.Context) admin.Actor { return admin.Actor{Local: true} }, admin.Anybody
	api, err := admin.New(conf)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := newLogger(io.Discard, c.Log)
	server := newHTTPServer((&observer{log: log}).wrap(api.Handler()), l, log)
	go server.Serve(ln)
	t.Cleanup(func() {
		server.Close()
		api.Close()
		store.Close()
	})
	return "http://" + ln.Addr().String(), store
}

// A request that waits for events may take longer than the read and write
// limits of its connection.
func TestFollowingOutlastsTheDeadlinesOfTheConnection(t *testing.T) {
	base, store := auditServer(t, limits{header: time.Second, read: 200 * time.Millisecond, write: 200 * time.Millisecond, idle: time.Second, headerBytes: 4096})
	next := auditOf(t, base, "", "").Next
	began := time.Now()
	if a := auditOf(t, base, "", "?wait=2&after="+next); len(a.Events) != 0 || time.Since(began) < 2*time.Second {
		t.Errorf("an empty answer after %v: %+v", time.Since(began), a)
	}
	go func() {
		time.Sleep(time.Second)
		if err := store.AppendAudit(context.Background(), storage.AuditEvent{Action: storage.ActRefresh}); err != nil {
			t.Error(err)
		}
	}()
	if a := auditOf(t, base, "", "?wait=20&after="+next); len(a.Events) != 1 {
		t.Errorf("the event that comes: %+v", a)
	}
}

// A caller whose access ends while it waits isn't given the events that follow.
func TestFollowingEndsWithTheToken(t *testing.T) {
	g := startDev(t, "--memory")
	waiting, other := adminToken(t, g.URL), adminToken(t, g.URL)
	await(t, 5*time.Second, "in the trail", func() bool { return len(auditOf(t, g.URL, other, "").Events) == 2 })
	next := auditOf(t, g.URL, other, "").Next
	answers := make(chan adminAnswer)
	go func() {
		var a adminAnswer
		defer func() { answers <- a }()
		a = admins(t, g.URL, waiting, "GET", "/audit?wait=25&after="+url.QueryEscape(next), "")
	}()
	time.Sleep(300 * time.Millisecond)
	admins(t, g.URL, other, "POST", "/revocations", `{"token":"`+waiting+`"}`).want(t, http.StatusOK)
	if a := <-answers; a.status != http.StatusUnauthorized || strings.Contains(a.body, "events") {
		t.Errorf("who waited was answered %d: %s", a.status, a.body)
	}
}

// Requests that wait for events don't delay the end of the server.
func TestFollowingEndsWithTheServer(t *testing.T) {
	server := redistest.Single(t)
	g := startDev(t, "--redis", server.URL())
	token := adminToken(t, g.URL)
	await(t, 5*time.Second, "in the trail", func() bool { return len(auditOf(t, g.URL, token, "").Events) == 1 })
	next := auditOf(t, g.URL, token, "").Next
	answers := make(chan adminAnswer)
	go func() {
		var a adminAnswer
		defer func() { answers <- a }()
		a = admins(t, g.URL, token, "GET", "/audit?wait=25&after="+url.QueryEscape(next), "")
	}()
	time.Sleep(300 * time.Millisecond)
	began := time.Now()
	if code := g.Stop(); code != 0 {
		t.Errorf("exit %d\n%s", code, g.Stderr())
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the server took %v to end", took)
	}
	if a := <-answers; a.status != http.StatusOK || !strings.Contains(a.body, `"events":[]`) {
		t.Errorf("who waited was answered %d: %s", a.status, a.body)
	}
}
