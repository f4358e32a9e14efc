package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/redisstore"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// trailSite is a store that servers are started on.
type trailSite struct {
	dir  string
	args []string // of dev
	open func(t *testing.T) storage.Store
	kept func(t *testing.T) string // the trail in the store's own form
}

func onSQLite(t *testing.T) trailSite {
	dir := t.TempDir()
	return trailSite{
		dir: dir,
		open: func(t *testing.T) storage.Store {
			s, err := embedded.Open(filepath.Join(dir, ".grantd", "grantd.db"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s
		},
		kept: func(t *testing.T) string { return files(t, filepath.Join(dir, ".grantd")) },
	}
}

func onARedis(t *testing.T) (trailSite, *redistest.Server) {
	server := redistest.Single(t)
	return trailSite{
		dir:  t.TempDir(),
		args: []string{"--redis", server.URL()},
		open: func(t *testing.T) storage.Store {
			s, err := redisstore.Open(server.URL())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s
		},
		kept: func(t *testing.T) string {
			messages, err := server.Client().XRange(t.Context(), "grantd:{audit}", "-", "+").Result()
			if err != nil || len(messages) == 0 {
				t.Fatalf("the stream has %d events: %v", len(messages), err)
			}
			return fmt.Sprint(messages, server.Client().Keys(t.Context(), "grantd:{audit}*").Val())
		},
	}, server
}

func (s trailSite) start(t *testing.T) *run {
	t.Helper()
	args := append([]string{"dev", "--addr", "127.0.0.1:0"}, s.args...)
	return &run{running: launch{args: args, dir: s.dir}.start(t), t: t}
}

// trailOf is the whole trail.
func trailOf(t *testing.T, s storage.Audit) []storage.AuditEvent {
	t.Helper()
	var all []storage.AuditEvent
	for q := (storage.AuditQuery{}); ; {
		p, err := s.ListAudit(t.Context(), q, storage.AuditScan)
		if err != nil {
			t.Fatal(err)
		}
		all = append(p.Events, all...)
		if q.Before = p.Previous; q.Before == "" {
			return all
		}
	}
}

// do sends a form as that client and returns the answer and the request's id.
func (r *run) do(path, client string, form url.Values) (answer map[string]any, id string) {
	r.t.Helper()
	answer = r.form(path, client, form)
	return answer, r.headers[len(r.headers)-1].Get("X-Request-Id")
}

func tokenIn(answer map[string]any, member string) string {
	token, _ := answer[member].(string)
	return token
}

// ownEvents does everything that users and clients can do. It returns the events that
// should be in the log, and the secrets that were used. Events that concern no known user
// or client aren't in the store.
func ownEvents(t *testing.T, r *run, alice storage.User) (want []storage.AuditEvent, secrets []string) {
	t.Helper()
	act := func(path, client string, form url.Values, e storage.AuditEvent) map[string]any {
		t.Helper()
		answer, id := r.do(path, client, form)
		if e.Action != "" {
			e.RequestID, e.Address = id, netip.MustParseAddr("127.0.0.1")
			want = append(want, e)
		}
		for _, name := range []string{"access_token", "refresh_token"} {
			if token := tokenIn(answer, name); token != "" {
				secrets = append(secrets, token, token[len("gat_"):])
			}
		}
		return answer
	}
	done := func(action storage.AuditAction) storage.AuditEvent {
		return storage.AuditEvent{
			Action: action, Outcome: storage.Success, ActorClient: "demo",
			ActorUser: alice.Name, ActorUserID: alice.ID, GrantID: "a grant",
		}
	}
	refused := func(action storage.AuditAction, why string) storage.AuditEvent {
		return storage.AuditEvent{
			Action: action, Outcome: storage.Failure, ActorClient: "demo",
			Username: alice.Name, UserID: alice.ID, GrantID: "a grant", Detail: why,
		}
	}
	none := storage.AuditEvent{}

	pair := act("/token", "demo", passwordForm("Alice", "secret123", ""), done(storage.ActSignIn))
	wrong := refused(storage.ActSignIn, "wrong password")
	wrong.GrantID = ""
	act("/token", "demo", passwordForm("alice", "a-wrong-password", ""), wrong)
	nobody := storage.AuditEvent{Action: storage.ActSignIn, Outcome: storage.Failure, ActorClient: "demo", Detail: "no such user"}
	act("/token", "demo", passwordForm("name-of-nobody", "secret123", ""), nobody)
	act("/token", "demo", passwordForm("password-for-a-name", "secret123", ""), nobody)
	act("/token", "demo", passwordForm("", "", ""), none)
	own := done(storage.ActSignIn)
	own.ActorUser, own.ActorUserID = "", ""
	act("/token", "demo", url.Values{"grant_type": {"client_credentials"}}, own)
	beyond := func(action storage.AuditAction, why string) storage.AuditEvent {
		return storage.AuditEvent{Action: action, Outcome: storage.Failure, ActorClient: "demo", Detail: why}
	}
	act("/token", "demo", url.Values{"grant_type": {"client_credentials"}, "scope": {"no-such"}},
		beyond(storage.ActSignIn, "not allowed for the client"))
	act("/token", "demo", refreshForm("gat_invented-token", ""), beyond(storage.ActRefresh, authserver.ErrInvalidGrant.Description))

	stranger := refused(storage.ActRefresh, "the token was issued to another client")
	stranger.ActorClient = "demo2"
	act("/token", "demo2", refreshForm(tokenIn(pair, "refresh_token"), ""), stranger)
	next := act("/token", "demo", refreshForm(tokenIn(pair, "refresh_token"), ""), done(storage.ActRefresh))
	act("/token", "demo", refreshForm(tokenIn(pair, "refresh_token"), ""), done(storage.ActRetry))
	act("/introspect", "demo-api", url.Values{"token": {tokenIn(next, "access_token")}}, none)
	r.get("/users/me", tokenIn(next, "access_token"))
	act("/token", "demo", refreshForm(tokenIn(next, "refresh_token"), ""), done(storage.ActRefresh))
	act("/token", "demo", refreshForm(tokenIn(pair, "refresh_token"), ""),
		refused(storage.ActReuse, "a spent refresh token was used again: the grant is ended"))

	pair = act("/token", "demo", passwordForm("alice", "secret123", ""), done(storage.ActSignIn))
	act("/revoke", "demo", url.Values{"token": {tokenIn(pair, "access_token")}}, done(storage.ActRevoke))
	act("/revoke", "demo", url.Values{"token": {"gat_invented-token"}}, none)

	secrets = append(secrets, "secret123", "a-wrong-password", "name-of-nobody", "password-for-a-name", "gat_invented-token",
		"demo-secret", "demo2-secret", "demo-api-secret")
	return want, secrets
}

var cmpAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// wantTrail fails unless the trail has exactly these events; ids and times
// aren't compared.
func wantTrail(t *testing.T, got, want []storage.AuditEvent) {
	t.Helper()
	var plain []storage.AuditEvent
	for _, e := range got {
		if e.ID == "" || time.Since(e.Time) > time.Minute || time.Until(e.Time) > 0 {
			t.Errorf("id %q, time %v", e.ID, e.Time)
		}
		e.ID, e.Time = "", time.Time{}
		if e.GrantID != "" {
			e.GrantID = "a grant"
		}
		plain = append(plain, e)
	}
	if d := cmp.Diff(want, plain, cmpAddr); d != "" {
		t.Errorf("the trail (-want +got):\n%s", d)
	}
}

// wantNoSecret fails when a text holds one of the secrets.
func wantNoSecret(t *testing.T, what, text string, secrets []string) {
	t.Helper()
	for _, s := range secrets {
		if strings.Contains(text, s) {
			t.Errorf("%s holds %q", what, s)
		}
	}
}

func TestEveryActLeavesOneEvent(t *testing.T) {
	for name, place := range map[string]func(*testing.T) trailSite{
		"sqlite": onSQLite,
		"redis":  func(t *testing.T) trailSite { s, _ := onARedis(t); return s },
	} {
		t.Run(name, func(t *testing.T) {
			s := place(t)
			r := s.start(t)
			store := s.open(t)
			alice, err := store.LoadUser(t.Context(), "alice")
			if err != nil {
				t.Fatal(err)
			}
			want, secrets := ownEvents(t, r, alice)
			if code := r.Stop(); code != 0 {
				t.Errorf("exit %d", code)
			}
			kept := slices.DeleteFunc(slices.Clone(want), func(e storage.AuditEvent) bool { return e.Detail == "no such user" })
			wantTrail(t, trailOf(t, store), kept)
			wantNoSecret(t, "the store", s.kept(t), secrets)
			wantNoSecret(t, "the log", r.Stderr(), secrets)
			if n := strings.Count(r.Stderr(), "msg=audit"); n != len(want) {
				t.Errorf("the log has %d events, want %d", n, len(want))
			}
			for _, e := range want {
				if n := strings.Count(r.Stderr(), " request_id="+e.RequestID); n != 2 {
					t.Errorf("the log has %d lines of request %s (%s), want the request and its event", n, e.RequestID, e.Action)
				}
			}
		})
	}
}

// Each guess is an event. Once the throttle refuses guesses unjudged, there is
// a single event for that.
func TestTheTrailOfGuesses(t *testing.T) {
	s := onSQLite(t)
	r := s.start(t)
	refused := guessSecrets(t, r.URL, 60)
	for range 3 {
		tokenFor(t, r.URL, "no-such-client", "guessed-secret", url.Values{"grant_type": {"client_credentials"}})
	}
	r.Stop()
	count := map[string]int{}
	for _, e := range trailOf(t, s.open(t)) {
		count[fmt.Sprint(e.Action, " ", e.Outcome, " ", e.ClientID, e.ActorClient)]++
		if e.Address.String() != "127.0.0.1" || e.RequestID == "" {
			t.Errorf("an event says nothing of where from: %+v", e)
		}
	}
	want := map[string]int{
		"client.auth failure demo": 60 - refused,
		"throttle.on success demo": 1,
	}
	if n := strings.Count(r.Stderr(), `action=client.auth outcome=failure request_id=`); n != 3 {
		t.Errorf("the log has %d guesses at a client that there isn't, want 3", n)
	}
	if d := cmp.Diff(want, count); d != "" || refused == 0 {
		t.Errorf("%d guesses were refused; the trail (-want +got):\n%s", refused, d)
	}
	wantNoSecret(t, "the store", s.kept(t), []string{"guessed-secret", "no-such-client"})
	wantNoSecret(t, "the log", r.Stderr(), []string{"guessed-secret", "no-such-client"})
}

// A stranger can come from any number of networks. Failures that concern no known user
// or client leave the trail as it was.
func TestStrangersDoNotFillTheTrail(t *testing.T) {
	const strangers = 150
	s := newThrottledSite(t, "GRANTD_DATA=grantd.db", "GRANTD_TRUSTED_PROXIES=127.0.0.1")
	r := s.start(t)
	store, err := embedded.Open(filepath.Join(s.dir, "grantd.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	from := func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i) }
	ask := func(i int, client, secret, username string) {
		t.Helper()
		if status, _ := askFrom(t, r.URL, from(i), client, secret, passwordForm(username, fmt.Sprint("guess ", i), "")); status != 400 && status != 401 {
			t.Errorf("%s as %s from %s: %d, want it judged", username, client, from(i), status)
		}
	}
	before := trailOf(t, store)
	if len(before) == 0 {
		t.Fatal("the trail is empty")
	}
	for i := range strangers {
		ask(i, fmt.Sprint("nosuch", i), "guess", "admin")
		ask(i, "web", secret32, fmt.Sprint("nobody", i))
	}
	for i := range strangers / 30 {
		ask(i, "web", "wrong", "admin")
		ask(i, "web", secret32, "admin")
	}
	r.Stop()
	after := trailOf(t, store)
	if len(after) < len(before) || cmp.Diff(before, after[:len(before)], cmpAddr) != "" {
		t.Fatalf("%d events are there, and those before aren't the first of them", len(after))
	}
	count := map[string]int{}
	for _, e := range after[len(before):] {
		count[fmt.Sprint(e.Action, " ", e.Outcome, " ", e.Username, e.ClientID)]++
	}
	if d := cmp.Diff(map[string]int{"client.auth failure web": 5, "signin failure admin": 5}, count); d != "" {
		t.Errorf("the trail of strangers (-want +got):\n%s", d)
	}
	for line, want := range map[string]int{
		`"action":"client.auth","outcome":"failure","request_id"`:                 strangers,
		`"action":"signin","outcome":"failure","actor_client":"web","request_id"`: strangers,
	} {
		if n := strings.Count(r.Stderr(), line); n != want {
			t.Errorf("the log has %d lines with %q, want %d", n, line, want)
		}
	}
}

// Failures to authenticate as a client are counted apart from the failures of
// the client itself.
func TestStrangersDoNotHideWhatAClientTries(t *testing.T) {
	a, kept, _ := newTestAuditor()
	for range keptFailures {
		a.note(t.Context(), authserver.Event{Act: storage.ActClientAuth, Claimed: "web", Err: authserver.ErrInvalidClient})
	}
	a.note(t.Context(), authserver.Event{Act: storage.ActRefresh, ClientID: "web", GrantType: "refresh_token", Err: authserver.ErrInvalidGrant})
	a.start()()
	if n := len(kept.events); n != keptFailures+1 || kept.events[n-1].ActorClient != "web" {
		t.Errorf("the trail has %d events, want %d, the last of the client itself", n, keptFailures+1)
	}
}

// Of the failures of one subject as many are kept as show an attack.
func TestFailuresOfOneSubjectAreKeptToANumber(t *testing.T) {
	a, kept, log := newTestAuditor()
	fail := func(ev authserver.Event) {
		ev.Err, ev.Throttled = authserver.ErrInvalidGrant, true
		a.note(t.Context(), ev)
	}
	const more = 3
	for range keptFailures + more {
		fail(authserver.Event{Act: storage.ActClientAuth, Claimed: "web"})
		fail(authserver.Event{Act: storage.ActSignIn, ClientID: "web", UserID: "usr_a"})
		fail(authserver.Event{Act: storage.ActRefresh, ClientID: "web", GrantID: "g"})
		fail(authserver.Event{Act: storage.ActSignIn, ClientID: "svc", GrantType: "client_credentials"})
		fail(authserver.Event{Act: storage.ActSignIn, ClientID: "app", GrantType: "password"})
	}
	a.note(t.Context(), authserver.Event{Act: storage.ActSignIn, ClientID: "web", UserID: "usr_a"})
	a.start()()
	count := map[string]int{}
	for _, e := range kept.events {
		count[fmt.Sprint(e.Action, " ", e.Outcome, " ", e.ClientID, e.UserID, e.ActorUserID, e.GrantID, e.ActorClient)]++
	}
	want := map[string]int{
		"client.auth failure web": keptFailures, "throttle.on success web": keptFailures,
		"signin failure usr_aweb": keptFailures, "throttle.on success usr_aweb": keptFailures,
		"refresh failure gweb": keptFailures, "throttle.on success gweb": keptFailures,
		"signin failure svc": keptFailures, "throttle.on success svc": keptFailures,
		"signin success usr_aweb": 1,
	}
	if d := cmp.Diff(want, count); d != "" {
		t.Errorf("the trail (-want +got):\n%s", d)
	}
	if n, want := strings.Count(log.String(), "msg=audit"), 2*5*(keptFailures+more)+1; n != want {
		t.Errorf("the log has %d events, want %d", n, want)
	}
}

func TestFailuresAreKeptAgainLater(t *testing.T) {
	var f failures
	now := time.Now()
	for i := range keptFailures + 1 {
		if kept := f.keep("web", now); kept != (i < keptFailures) {
			t.Fatalf("failure %d: kept %v", i, kept)
		}
	}
	if f.keep("web", now.Add(failuresEvery-1)) || !f.keep("web", now.Add(failuresEvery)) {
		t.Error("it is not kept again when the time is over, or before")
	}
	for i := range 2 * maxSubjects {
		f.keep(fmt.Sprint("web", i), now)
	}
	if n := len(f.kept); n > maxSubjects {
		t.Errorf("%d subjects are remembered", n)
	}
}

func TestTwoNodesWriteOneTrail(t *testing.T) {
	const signIns = 40
	s, _ := onARedis(t)
	nodes := []*run{s.start(t), s.start(t)}
	ids := make([][]string, len(nodes))
	var all sync.WaitGroup
	for i, node := range nodes {
		all.Go(func() {
			for range signIns {
				_, id := node.do("/token", "demo", url.Values{"grant_type": {"client_credentials"}})
				ids[i] = append(ids[i], id)
			}
		})
	}
	all.Wait()
	store := s.open(t)
	// The events reach the trail while both nodes still run.
	var trail []storage.AuditEvent
	await(t, 5*time.Second, "in the trail", func() bool {
		trail = trailOf(t, store)
		return len(trail) == 2*signIns
	})
	for i := range nodes {
		var own []string
		for _, e := range trail {
			if slices.Contains(ids[i], e.RequestID) {
				own = append(own, e.RequestID)
			}
		}
		if !slices.Equal(own, ids[i]) {
			t.Errorf("the events of node %d aren't there once each, in order: %v, want %v", i, own, ids[i])
		}
	}
}

// Sign-ins go on while their events can't be kept; the events are kept later.
func TestSignInsGoOnWithoutTheTrail(t *testing.T) {
	s, server := onARedis(t)
	server.Client().Set(t.Context(), "grantd:{audit}", "no stream", 0)
	r := s.start(t)
	var want []string
	for range 5 {
		answer, id := r.do("/token", "demo", passwordForm("alice", "secret123", ""))
		if answer["access_token"] == nil {
			t.Fatalf("the sign-in failed: %v", answer)
		}
		want = append(want, id)
	}
	await(t, 5*time.Second, "in the log", func() bool { return strings.Contains(r.Stderr(), "audit events can't be stored") })
	server.Client().Del(t.Context(), "grantd:{audit}")
	store := s.open(t)
	await(t, 5*time.Second, "in the trail", func() bool { return len(trailOf(t, store)) == len(want) })
	var got []string
	for _, e := range trailOf(t, store) {
		got = append(got, e.RequestID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the trail has %v, want %v", got, want)
	}
	r.Stop()
	if strings.Contains(r.Stderr(), "are lost") {
		t.Errorf("events are lost:\n%s", r.Stderr())
	}
}

// Commands that act on the store without a server leave events too.
func TestTheTrailOfCommands(t *testing.T) {
	dir := t.TempDir()
	users := writeFile(t, "users.jsonl", `{"username":"carol","password_hash":""}`+"\n")
	run := func(args ...string) {
		must(t, launch{args: append(args, "--data", "grantd.db"), dir: dir, env: cheapHash})
	}
	run("init", "--password-file", writeFile(t, "pw", sitePassword))
	run("init")
	run("user", "import", users, "--dry-run")
	run("user", "import", users)
	run("user", "export")
	store, err := embedded.Open(filepath.Join(dir, "grantd.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	admin, err := store.LoadUser(t.Context(), "admin")
	if err != nil {
		t.Fatal(err)
	}
	local := func(action storage.AuditAction) storage.AuditEvent {
		return storage.AuditEvent{Action: action, Outcome: storage.Accepted, Local: true}
	}
	first := local(storage.ActUserCreate)
	first.Username, first.UserID, first.Detail = admin.Name, admin.ID, "the first admin"
	login := local(storage.ActClientCreate)
	login.ClientID, login.Detail = loginClient, "the client of grantd login"
	wantTrail(t, trailOf(t, store), []storage.AuditEvent{login, first, local(storage.ActUserImport), local(storage.ActUserExport)})
}

// The janitor and a busy server trim by the same rules.
func TestTheTrailIsTrimmed(t *testing.T) {
	store, err := embedded.Open(embedded.Memory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	c := defaultConfig()
	c.AuditRetention, c.AuditEvents = time.Hour, 3
	a := newAuditor(newLogger(&lockedBuffer{}, c.Log), store, &c)
	for i, age := range []time.Duration{2 * time.Hour, time.Minute, time.Minute, time.Minute} {
		if err := store.AppendAudit(t.Context(), storage.AuditEvent{Time: time.Now().Add(-age), RequestID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	remaining := func() (ids string) {
		for _, e := range trailOf(t, store) {
			ids += e.RequestID
		}
		return ids
	}
	a.trim(context.Background())
	if got := remaining(); got != "123" {
		t.Errorf("by age there are %s left, want 123", got)
	}
	a.most = 2
	a.trim(context.Background())
	if got := remaining(); got != "23" {
		t.Errorf("by number there are %s left, want 23", got)
	}
}

// The line in the log names the fields as the event's JSON does, except for
// remote, which is named as in the line of the request. It holds nothing that
// could forge a line or drive a terminal.
func TestTheLineOfAnEvent(t *testing.T) {
	log := &lockedBuffer{}
	c := defaultConfig()
	a := newAuditor(newLogger(log, c.Log), nil, &c)
	e := storage.AuditEvent{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Action: storage.ActUserUpdate, Outcome: storage.Accepted,
		ActorUser: "root", ActorUserID: "usr_r", ActorClient: "cli", Local: true, Username: "al\x1b[2Jice\n", UserID: "usr_a",
		ClientID: "web", GrantID: "g", Object: "rev_1", Address: netip.MustParseAddr("::1"), RequestID: "r", Detail: strings.Repeat("x", 1000),
	}
	a.write(e)
	want := map[string]any{
		"time": "2026-01-02T03:04:05Z", "level": "INFO", "msg": "audit", "action": "user.update", "outcome": "accepted",
		"actor_user": "root", "actor_user_id": "usr_r", "actor_client": "cli", "local": true, "username": "al?[2Jice?", "user_id": "usr_a",
		"client_id": "web", "grant_id": "g", "object": "rev_1", "remote": "::1", "request_id": "r", "detail": strings.Repeat("x", 256),
	}
	got := map[string]any{}
	if err := json.Unmarshal([]byte(log.String()), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
