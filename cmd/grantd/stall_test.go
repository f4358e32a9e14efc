package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// tolerable is how long an answer may take when the store doesn't answer.
const tolerable = time.Second

// firstAdmin is the environment variable that makes the user admin.
const firstAdmin = "GRANTD_ADMIN_PASSWORD=first-admin-password"

// serveOnRedis starts the program on a Redis, with the client web, which may do
// everything.
func serveOnRedis(t *testing.T, server string, env ...string) *running {
	t.Helper()
	env = append(append([]string{"GRANTD_REDIS_URL=" + server}, serveEnv...), env...)
	must(t, launch{args: []string{
		"client", "add", "web", "--grant", "password", "--grant", "refresh_token", "--grant", "client_credentials",
		"--scope", "read", "--scope", "admin", "--introspect", "--secret-file", writeFile(t, "s", secret32),
	}, env: env})
	g := launch{args: []string{"serve"}, env: env}.start(t)
	g.awaitReady()
	return g
}

// awaitReady polls until GET /readyz says that the server is ready.
func (g *running) awaitReady() {
	g.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if status, _ := get(g.t, g.URL+"/readyz"); status == http.StatusOK {
			return
		}
	}
	g.t.Fatal("not ready within 20s")
}

// awaitHealth polls until GET /readyz gives that answer.
func (g *running) awaitHealth(status int, body string) {
	g.t.Helper()
	var got string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		s, b := get(g.t, g.URL+"/readyz")
		if got = fmt.Sprint(s, " ", b); s == status && b == body {
			return
		}
	}
	g.t.Errorf("/readyz is %s, want %d %s", got, status, body)
}

// storeRequest is one request to a server.
type storeRequest struct {
	name, method, path string
	form               url.Values // as the client web, unless there is a bearer
	bearer             string
}

// of sends the request and returns the answer's status, Retry-After and body.
func (a storeRequest) of(t testing.TB, base string) (status int, retry, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), a.method, base+a.path, strings.NewReader(a.form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if a.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+a.bearer)
	} else {
		r.SetBasicAuth("web", secret32)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Errorf("%s: %v", a.name, err)
		return 0, "", ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s: %v", a.name, err)
	}
	return resp.StatusCode, resp.Header.Get("Retry-After"), string(b)
}

// storeRequests are requests of all kinds that need the store.
func storeRequests(t *testing.T, base string) []storeRequest {
	t.Helper()
	status, pair := tokenFor(t, base, "web", secret32, passwordForm("admin", "first-admin-password", "read admin"))
	if status != http.StatusOK {
		t.Fatalf("sign-in: %d %v", status, pair)
	}
	access, refresh := pair["access_token"].(string), pair["refresh_token"].(string)
	return []storeRequest{
		{name: "password", method: "POST", path: "/token", form: passwordForm("admin", "first-admin-password", "")},
		{name: "refresh", method: "POST", path: "/token", form: url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}},
		{name: "client_credentials", method: "POST", path: "/token", form: url.Values{"grant_type": {"client_credentials"}}},
		{name: "introspect", method: "POST", path: "/introspect", form: url.Values{"token": {access}}},
		{name: "revoke", method: "POST", path: "/revoke", form: url.Values{"token": {refresh}}},
		{name: "users/me", method: "GET", path: "/users/me", bearer: access},
		{name: "list of users", method: "GET", path: "/admin/v1/users", bearer: access},
		{name: "list of grants", method: "GET", path: "/admin/v1/grants?user=admin", bearer: access},
	}
}

// The first request after Redis stalls is answered within a second, whatever
// its kind and however many calls it needs. Those after it are answered at
// once.
func TestEveryRequestDuringAStallIsAnsweredWithinASecond(t *testing.T) {
	server := redistest.Single(t)
	g := serveOnRedis(t, server.URL(), firstAdmin)
	all := storeRequests(t, g.URL)
	for _, first := range all {
		server.Stop()
		for i, a := range append([]storeRequest{first}, all...) {
			began := time.Now()
			status, retry, body := a.of(t, g.URL)
			took, most := time.Since(began), tolerable
			if i > 0 {
				most /= 4
			}
			if status != http.StatusServiceUnavailable || retry != "1" || took > most {
				t.Errorf("%s after %s: %d, Retry-After %q, in %v: %s", a.name, first.name, status, retry, took, body)
			}
		}
		g.awaitHealth(503, `{"status":"unavailable","reason":"store","store":"down","circuit":"open"}`)
		server.Cont()
		began := time.Now()
		g.awaitReady()
		if took := time.Since(began); took > tolerable {
			t.Errorf("ready again after %v", took)
		}
	}
}

// Sign-ins that are under way when Redis dies are answered long before it is back. The
// places that they still hold in its data must not keep anybody out then.
func TestSignInsUnderWayWhenRedisDiesKeepNobodyOut(t *testing.T) {
	server := redistest.Single(t, "--appendonly", "yes", "--appendfsync", "always")
	g := serveOnRedis(t, server.URL(), firstAdmin)
	signIn := storeRequests(t, g.URL)[0]
	var signIns sync.WaitGroup
	for range 6 {
		signIns.Go(func() { signIn.of(t, g.URL) })
	}
	awaitPlaces(t, server)
	server.Kill()
	signIns.Wait()
	server.Restart()
	began := time.Now()
	signIn.await(t, g.URL, http.StatusOK)
	if took := time.Since(began); took > 3*tolerable { // a sign-in that waits in vain for a place waits 4 s
		t.Errorf("the first sign-in afterwards took %v", took)
	}
}

// awaitPlaces polls until sign-ins of a user take all places. No password was wrong.
func awaitPlaces(t *testing.T, server *redistest.Server) {
	t.Helper()
	redis := server.Client()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, key := range redis.Keys(t.Context(), "grantd:guess:*").Val() {
			if strings.Count(redis.Get(t.Context(), key).Val(), `"i":`) == 3 {
				return
			}
		}
	}
	t.Fatal("no sign-ins are under way")
}

// A flood of requests during a stall costs neither memory nor files for long.
func TestAFloodDuringAStallPilesUpNothing(t *testing.T) {
	server := redistest.Single(t)
	g := serveOnRedis(t, server.URL()) // without a sign-in, since garbage of hashing would hide what piles up
	_, answer := tokenFor(t, g.URL, "web", secret32, url.Values{"grant_type": {"client_credentials"}})
	access, _ := answer["access_token"].(string)
	all := []storeRequest{
		{name: "password", method: "POST", path: "/token", form: passwordForm("admin", "first-admin-password", "")},
		{name: "client_credentials", method: "POST", path: "/token", form: url.Values{"grant_type": {"client_credentials"}}},
		{name: "introspect", method: "POST", path: "/introspect", form: url.Values{"token": {access}}},
		{name: "users/me", method: "GET", path: "/users/me", bearer: access},
	}
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 200
	defer http.DefaultClient.CloseIdleConnections()
	const rate, seconds, callers = 1000, 3, 200
	before := g.resident()
	server.Stop()
	var wg sync.WaitGroup
	work := make(chan storeRequest)
	for range callers {
		wg.Go(func() {
			for a := range work {
				began := time.Now()
				status, _, body := a.of(t, g.URL)
				if took := time.Since(began); status != 503 || took > tolerable+tolerable/4 { // this machine runs the clients too
					t.Errorf("%s: %d in %v: %s", a.name, status, took, body)
				}
			}
		})
	}
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	sent, most, files := 0, int64(0), 0
	for end := time.Now().Add(seconds * time.Second); time.Now().Before(end); <-tick.C {
		select {
		case work <- all[sent%len(all)]:
			sent++
		default: // all clients still wait for their answers
		}
		if sent%100 == 0 {
			most, files = max(most, g.resident()), max(files, g.files())
		}
	}
	close(work)
	wg.Wait()
	t.Logf("%d requests; memory grew by %d KiB at most, %d files", sent, (most-before)>>10, files)
	if grew := most - before; grew > 30<<20 {
		t.Errorf("memory grew by %d KiB", grew>>10)
	}
	if files > callers+100 {
		t.Errorf("%d files are open", files)
	}
	server.Cont()
	g.awaitReady()
}

// resident is the resident memory of the process in bytes, from /proc.
func (g *running) resident() int64 {
	g.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", g.Pid))
	if err != nil {
		g.t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		g.t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// files is how many files and connections the process has open.
func (g *running) files() int {
	g.t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.Pid))
	if err != nil {
		g.t.Fatal(err)
	}
	return len(open)
}

// A Redis that is full, or a replica, answers, but /readyz has to tell its
// state.
func TestReadyzTellsWhatRedisRefuses(t *testing.T) {
	server := redistest.Single(t)
	g := serveOnRedis(t, server.URL(), firstAdmin)
	all := storeRequests(t, g.URL)
	usersMe := all[5]
	server.Client().ConfigSet(t.Context(), "maxmemory", "1")
	g.awaitHealth(200, `{"status":"ready","store":"full","circuit":"closed"}`)
	wantStoreState(t, g.URL, "full", 1)
	if status, _, body := usersMe.of(t, g.URL); status != 200 {
		t.Errorf("/users/me when memory is full: %d %s", status, body)
	}
	if status, _, body := all[2].of(t, g.URL); status != 503 {
		t.Errorf("a new token when memory is full: %d %s", status, body)
	}
	server.Client().ConfigSet(t.Context(), "maxmemory", "0")
	g.awaitHealth(200, `{"status":"ready","store":"ok","circuit":"closed"}`)
	wantStoreState(t, g.URL, "ok", 1)
	server.Client().ConfigSet(t.Context(), "min-replicas-to-write", "1")
	g.awaitHealth(200, `{"status":"ready","store":"refusing","circuit":"closed"}`)
	wantStoreState(t, g.URL, "refusing", 1)
	server.Client().ConfigSet(t.Context(), "min-replicas-to-write", "0")
	server.Client().ConfigSet(t.Context(), "maxmemory", "1gb")
	server.Client().ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru")
	g.awaitHealth(200, `{"status":"ready","store":"evicting","circuit":"closed"}`)
	wantStoreState(t, g.URL, "evicting", 1)
	again := launch{args: []string{"serve"}, env: append([]string{"GRANTD_REDIS_URL=" + server.URL()}, serveEnv...)}.start(t)
	again.awaitReady()
	if again.Stop() != 0 || !strings.Contains(again.Stderr(), "maxmemory-policy to noeviction") {
		t.Errorf("the log doesn't warn of a Redis that evicts:\n%s", again.Stderr())
	}
	master := redistest.Single(t)
	_, port, _ := strings.Cut(master.Addr(), ":")
	server.Client().ReplicaOf(t.Context(), "127.0.0.1", port)
	g.awaitHealth(503, `{"status":"unavailable","reason":"store","store":"read-only","circuit":"closed"}`)
	wantStoreState(t, g.URL, "read-only", 0)
}

// wantStoreState checks that the metrics have the store in that state only, and whether
// they have it up.
func wantStoreState(t *testing.T, base, state string, up float64) {
	t.Helper()
	found := scrape(t, base)
	if found["grantd_store_up"] != up || found["grantd_ready"] != up {
		t.Errorf("%s: up %v, ready %v, want %v", state, found["grantd_store_up"], found["grantd_ready"], up)
	}
	for name, value := range found {
		if strings.HasPrefix(name, "grantd_store_state{") && (value == 1) != (name == `grantd_store_state{state="`+state+`"}`) {
			t.Errorf("%s: %s is %v", state, name, value)
		}
	}
	if _, there := found[`grantd_store_state{state="`+state+`"}`]; !there {
		t.Errorf("there is no state %s", state)
	}
}

// With wait_replicas a logout and a refresh are answered only when a replica
// has them.
func TestWaitReplicas(t *testing.T) {
	master := redistest.Single(t)
	_, port, _ := strings.Cut(master.Addr(), ":")
	replica := redistest.Single(t, "--replicaof", "127.0.0.1 "+port)
	g := serveOnRedis(t, master.URL(), "GRANTD_REDIS_WAIT_REPLICAS=1", firstAdmin)
	storeRequests(t, g.URL)[1].await(t, g.URL, http.StatusOK) // a refresh, once the replica follows
	all := storeRequests(t, g.URL)
	refresh, revoke, usersMe := all[1], all[4], all[5]
	replica.Stop()
	for _, round := range []string{"first", "repeated"} {
		if status, retry, body := refresh.of(t, g.URL); status != 503 || retry != "1" {
			t.Errorf("refresh, %s, without a replica: %d, Retry-After %q: %s", round, status, retry, body)
		}
	}
	for _, round := range []string{"first", "repeated"} {
		if status, retry, body := revoke.of(t, g.URL); status != 503 || retry != "1" {
			t.Errorf("logout, %s, without a replica: %d, Retry-After %q: %s", round, status, retry, body)
		}
		if status, _, body := usersMe.of(t, g.URL); status != 401 {
			t.Errorf("/users/me after the logout: %d %s", status, body)
		}
	}
	replica.Cont()
	revoke.await(t, g.URL, http.StatusOK)
}

// With wait_replicas no answer says that something is done, or gone, if a failover could
// undo it. If an admin's request was done but answered 503, it is answered 503 again when
// it is repeated, until the replica has what the first request did.
func TestRepeatedActsOfAdminsWaitForReplicas(t *testing.T) {
	master := redistest.Single(t)
	_, port, _ := strings.Cut(master.Addr(), ":")
	replica := redistest.Single(t, "--replicaof", "127.0.0.1 "+port)
	g := serveOnRedis(t, master.URL(), "GRANTD_REDIS_WAIT_REPLICAS=1", firstAdmin)
	storeRequests(t, g.URL)[1].await(t, g.URL, http.StatusOK) // a refresh, once the replica follows
	token := storeRequests(t, g.URL)[5].bearer
	api := func(method, path, body string) adminAnswer { return admins(t, g.URL, token, method, path, body) }
	for _, name := range []string{"alice", "bob"} {
		api("POST", "/users", `{"username":"`+name+`"}`).want(t, http.StatusCreated)
	}
	api("POST", "/clients", `{"client_id":"app","grant_types":["client_credentials"],"scopes":["read"]}`).want(t, http.StatusCreated)
	_, issued := tokenFor(t, g.URL, "web", secret32, url.Values{"grant_type": {"client_credentials"}})
	access := issued["access_token"].(string)
	var found struct{ Grant struct{ ID string } }
	about := api("POST", "/tokens/inspect", `{"token":"`+access+`"}`).want(t, http.StatusOK)
	if err := json.Unmarshal([]byte(about.body), &found); err != nil || found.Grant.ID == "" {
		t.Fatalf("%v: %s", err, about.body)
	}
	again := []struct {
		method, path, body string
		done               int // the status once the replica has it
	}{
		{"PATCH", "/users/alice", `{"disabled":true}`, http.StatusOK},
		{"PATCH", "/users/bob", `{"admin":true}`, http.StatusOK}, // which ends no grants
		{"PATCH", "/clients/app", `{"scopes":["read","admin"]}`, http.StatusOK},
		{"DELETE", "/grants/" + found.Grant.ID, "", http.StatusNoContent},
		{"DELETE", "/users/carol", "", http.StatusNoContent}, // she was there until the first try
		{"DELETE", "/clients/old", "", http.StatusNoContent},
		{"DELETE", "/keys/77", "", http.StatusNoContent},
	}
	replica.Stop()
	for _, round := range []string{"first", "repeated"} {
		for _, r := range again {
			if a := api(r.method, r.path, r.body); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") != "1" {
				t.Errorf("%s %s, %s, without a replica: %d %s", r.method, r.path, round, a.status, a.body)
			}
		}
	}
	deletions := map[string][]string{
		"there is no user carol":     {"user", "delete", "carol"},
		"there is no client \"old\"": {"client", "delete", "old"},
		"there is no key 77":         {"key", "delete", "77"},
	}
	command := func(args []string) (stderr string) {
		code, _, stderr := launch{args: args, env: []string{"GRANTD_SERVER=" + g.URL, "GRANTD_TOKEN=" + token}}.run(t)
		if code != exitFailed {
			t.Errorf("grantd %q: exit %d", args, code)
		}
		return stderr
	}
	for absent, args := range deletions {
		if stderr := command(args); strings.Contains(stderr, absent) || !strings.Contains(stderr, "hint: try again in a moment") {
			t.Errorf("grantd %q without a replica: %s", args, stderr)
		}
	}
	if status, answer := postForm(t, g.URL+"/introspect", "web", secret32, url.Values{"token": {access}}); status != 200 || answer != `{"active":false}` {
		t.Errorf("the grant wasn't ended: %d %s", status, answer)
	}
	replica.Cont()
	storeRequests(t, g.URL)[4].await(t, g.URL, http.StatusOK) // a logout, once the replica follows
	for _, r := range again {
		api(r.method, r.path, r.body).want(t, r.done)
	}
	for absent, args := range deletions {
		if stderr := command(args); !strings.Contains(stderr, absent) {
			t.Errorf("grantd %q: %s", args, stderr)
		}
	}
}

// await repeats the request until it is answered with that status.
func (a storeRequest) await(t testing.TB, base string, want int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		status, _, body := a.of(t, base)
		if status == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d, not %d: %s", a.name, status, want, body)
		}
	}
}
