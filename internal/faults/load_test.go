package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// outcome is the kind of an answer.
type outcome int

const (
	granted     outcome = iota // 200 with the right content
	refused                    // the right refusal of a dead token
	unavailable                // 503 with Retry-After
	silent                     // no answer, since the node was killed
	forgotten                  // refusal of a token that was lost with a master: see load.lossy
	wrong
)

// The kinds of requests.
const (
	signIn     = "sign-in"
	refresh    = "refresh"
	usersMe    = "users/me"
	introspect = "introspect"
	revoke     = "revoke"
)

const (
	clientTimeout = 15 * time.Second       // of a request; after that it counts as unanswered
	retryPause    = 100 * time.Millisecond // of a client after a 503; shorter than Retry-After asks for
	patience      = 30 * time.Second       // of a client that keeps trying, before it counts as lost
	shownFaults   = 10                     // wrong answers that are reported one by one
)

// record is one answer.
type record struct {
	kind    string
	begun   time.Time
	took    time.Duration
	outcome outcome
}

func (r record) end() time.Time { return r.begun.Add(r.took) }

// load is many clients that use a deployment, one for each user, and the
// answers that they got.
type load struct {
	t    *testing.T
	name string
	size scale
	urls []string
	http *http.Client

	// mute: some requests may have no answer, because nodes are killed.
	mute bool

	// lossy: a master that dies may lose the writes that it hasn't copied yet,
	// except revocations. Then tokens issued around the fault may be unknown, and
	// their users sign in again.
	lossy bool

	stopping atomic.Bool
	workers  sync.WaitGroup
	clients  []*client

	mu         sync.Mutex
	records    []record
	faults     []string             // descriptions of what was wrong
	successors map[string]successor // by the token that was spent
	refreshes  int
	revoked    int
	begin, end time.Time // of the fault
}

// successor is the first pair that followed a refresh token.
type successor struct{ access, refresh string }

// newLoad returns a load of size.clients busy clients, with an idle client for each
// further user; see start.
func newLoad(t *testing.T, name string, size scale, d *deployment) *load {
	l := &load{
		t: t, name: name, size: size, urls: d.urls(), successors: map[string]successor{},
		http: &http.Client{
			Timeout:   clientTimeout,
			Transport: &http.Transport{MaxIdleConnsPerHost: 4 * size.clients},
		},
	}
	for i, user := range d.users {
		l.clients = append(l.clients, &client{
			load: l, user: user, rand: rand.New(rand.NewPCG(uint64(i), 1)), idle: i >= size.clients,
		})
	}
	return l
}

// start makes every client sign in, and lets all but the idle ones go on with
// random steps.
func (l *load) start() {
	l.t.Cleanup(l.stop)
	var in sync.WaitGroup
	for _, c := range l.clients {
		in.Add(1)
		l.workers.Go(func() {
			c.again(c.signIn)
			in.Done()
			for !c.idle && !l.stopping.Load() {
				c.step()
				time.Sleep(l.size.pause)
			}
		})
	}
	in.Wait()
}

// stop stops the clients, each before its next step.
func (l *load) stop() {
	l.stopping.Store(true)
	l.workers.Wait()
}

// endIdle makes the idle clients revoke the grants that they have had since the
// start, and sign in again.
func (l *load) endIdle() {
	for _, c := range l.clients {
		if c.idle {
			l.workers.Go(func() {
				c.revoke()
				c.again(c.signIn)
			})
		}
	}
}

// calm lets the clients go on for a while without a fault.
func (l *load) calm() { time.Sleep(l.size.calm) }

// during runs fault, which causes the fault and ends it.
func (l *load) during(fault func()) {
	l.mark(&l.begin)
	fault()
	l.mark(&l.end)
}

func (l *load) mark(instant *time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*instant = time.Now()
}

// awaitService waits until all requests are answered again.
func (l *load) awaitService() {
	l.t.Helper()
	const steady = 500 * time.Millisecond // without a failure
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if time.Since(l.lastFailure()) > steady {
			return
		}
	}
	l.t.Errorf("%v after the fault there is no service yet", patience)
}

func (l *load) lastFailure() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.end
	for _, r := range l.records {
		if r.failed() && r.end().After(last) {
			last = r.end()
		}
	}
	return last
}

func (r record) failed() bool { return r.outcome == unavailable || r.outcome == silent }

// question is a request, and how its answer is judged.
type question struct {
	kind  string
	build func(base string) (*http.Request, error)

	// right reports whether the answer is the one wanted: a 200 with the right
	// content, or the right refusal of a dead token.
	right func(answer) bool

	// dead: the token is dead, so only a refusal is right.
	dead bool

	// given is the time at which the token was issued. If it is zero, the
	// answer may not be forgotten.
	given time.Time
}

type answer struct {
	status int
	body   map[string]any
	text   string
}

func (a answer) field(name string) string {
	text, _ := a.body[name].(string)
	return text
}

// ask sends a request to one of the nodes.
func (l *load) ask(base string, q question) (answer, outcome) {
	request, err := q.build(base)
	if err != nil {
		l.fault("%s: %v", q.kind, err)
		return answer{}, wrong
	}
	begun := time.Now()
	a, retryAfter, err := l.send(request)
	took := time.Since(begun)
	o := l.judge(q, a, retryAfter, err)
	if o == wrong {
		l.fault("%s of a %s, %v after the fault began: %d %s (%v)",
			q.kind, map[bool]string{true: "dead token", false: "good token"}[q.dead], begun.Sub(l.began()).Round(time.Millisecond), a.status, a.text, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, record{q.kind, begun, took, o})
	return a, o
}

func (l *load) send(request *http.Request) (a answer, retryAfter string, err error) {
	response, err := l.http.Do(request)
	if err != nil {
		return a, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return a, "", err
	}
	a = answer{status: response.StatusCode, text: string(body)}
	if len(body) > 0 {
		err = json.Unmarshal(body, &a.body)
	}
	return a, response.Header.Get("Retry-After"), err
}

func (l *load) judge(q question, a answer, retryAfter string, err error) outcome {
	switch {
	case err != nil && l.mute && !errors.Is(err, context.DeadlineExceeded):
		return silent
	case err != nil:
		return wrong
	case a.status == http.StatusServiceUnavailable && retryAfter != "":
		return unavailable
	case q.right(a) && q.dead:
		return refused
	case q.right(a):
		return granted
	case !q.dead && l.mayForget(q, a):
		return forgotten
	}
	return wrong
}

// mayForget reports whether the answer is the refusal of an unknown token, and
// the token may have been lost in a lossy fault.
func (l *load) mayForget(q question, a answer) bool {
	const lag = time.Second // of a replica, behind its master
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lossy || q.given.IsZero() || l.begin.IsZero() {
		return false
	}
	return q.given.After(l.begin.Add(-lag)) && (l.end.IsZero() || q.given.Before(l.end.Add(lag))) && deadAnswer(q.kind)(a)
}

func (l *load) began() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.begin
}

// fault records something that is wrong.
func (l *load) fault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// anyURL returns the URL of a random node.
func (l *load) anyURL(r *rand.Rand) string { return l.urls[r.IntN(len(l.urls))] }

// form builds a POST by a client of the deployment.
func form(path, clientID string, params url.Values) func(string) (*http.Request, error) {
	return func(base string) (*http.Request, error) {
		r, err := http.NewRequest(http.MethodPost, base+path, strings.NewReader(params.Encode()))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(clientID, clientID+"-secret")
		return r, nil
	}
}

func bearer(method, path, token, body string) func(string) (*http.Request, error) {
	return func(base string) (*http.Request, error) {
		r, err := http.NewRequest(method, base+path, strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		return r, nil
	}
}

// goodAnswer returns a function that recognises the answer due for a good
// token.
func goodAnswer(kind, user string) func(answer) bool {
	return func(a answer) bool {
		switch {
		case a.status != http.StatusOK:
			return false
		case kind == usersMe:
			return a.field("username") == user
		case kind == introspect:
			return a.body["active"] == true && a.field("username") == user
		case kind == revoke:
			return true
		}
		return strings.HasPrefix(a.field("access_token"), "gat_") && strings.HasPrefix(a.field("refresh_token"), "grt_")
	}
}

// deadAnswer returns a function that recognises the answer due for a token
// whose grant has ended.
func deadAnswer(kind string) func(answer) bool {
	return func(a answer) bool {
		switch kind {
		case usersMe:
			return a.status == http.StatusUnauthorized
		case introspect:
			return a.status == http.StatusOK && a.body["active"] == false
		}
		return a.status == http.StatusBadRequest && a.field("error") == "invalid_grant"
	}
}

// follow notes the pair that followed the token. A second, different pair is a
// fault, unless a master died that may have lost one of them: then one must be
// dead.
func (l *load) follow(spent string, next successor, c *client) {
	l.mu.Lock()
	first, known := l.successors[spent]
	if !known {
		l.successors[spent] = next
		l.refreshes++
	}
	l.mu.Unlock()
	if !known || first == next {
		return
	}
	if !l.lossy {
		l.fault("%s: a refresh token has two successors", c.user)
		return
	}
	if c.alive(first) && c.alive(next) {
		l.fault("%s: a refresh token has two live successors", c.user)
	}
}

// finish stops the load and checks what must hold after any fault. remains
// returns what is left in the store after all grants have ended.
func (l *load) finish(remains func(context.Context) ([]string, error)) {
	l.t.Helper()
	l.stop()
	var all sync.WaitGroup
	for _, c := range l.clients {
		all.Go(c.settle)
	}
	all.Wait()
	l.endAll()
	left, err := remains(l.t.Context())
	if err != nil {
		l.t.Errorf("what is left: %v", err)
	}
	if len(left) > 0 {
		l.t.Errorf("all grants have ended, and %d of them or of their indexes are left: %.300q", len(left), left)
	}
	l.report()
}

// endAll ends all grants, including those whose sign-in had no answer.
func (l *load) endAll() {
	l.t.Helper()
	token := l.once(question{
		kind: signIn, build: form("/token", adminClient, url.Values{"grant_type": {"client_credentials"}, "scope": {"admin"}}),
		right: func(a answer) bool { return a.status == http.StatusOK },
	}).field("access_token")
	done := func(a answer) bool { return a.status == http.StatusOK || a.status == http.StatusAccepted }
	receipt := l.once(question{
		kind: revoke, build: bearer(http.MethodPost, "/admin/v1/revocations", token, `{"all":true}`), right: done,
	})
	// The admin's own token ended with all others.
	token = l.once(question{
		kind: signIn, build: form("/token", adminClient, url.Values{"grant_type": {"client_credentials"}, "scope": {"admin"}}),
		right: func(a answer) bool { return a.status == http.StatusOK },
	}).field("access_token")
	id := receipt.field("id")
	for deadline := time.Now().Add(patience); receipt.field("status") != "complete"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Errorf("the sweep of all grants isn't complete: %s", receipt.text)
			return
		}
		receipt = l.once(question{kind: revoke, build: bearer(http.MethodGet, "/admin/v1/revocations/"+id, token, ""), right: done})
	}
	if verified, _ := receipt.body["verified"].(map[string]any); verified["survivors"] != 0.0 {
		l.t.Errorf("grants survived the end of all: %s", receipt.text)
	}
	// The last grant is that of the admin's new token.
	l.once(question{
		kind: revoke, build: form("/revoke", adminClient, url.Values{"token": {token}}), right: goodAnswer(revoke, ""),
	})
}

// once asks until there is an answer.
func (l *load) once(q question) answer {
	l.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(retryPause) {
		if a, o := l.ask(l.urls[0], q); o == granted {
			return a
		} else if o == wrong {
			return a
		}
	}
	l.t.Errorf("%s: no answer", q.kind)
	return answer{}
}

// report checks the figures and keeps them for the table.
func (l *load) report() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, text := range l.faults {
		if i == shownFaults {
			l.t.Errorf("and %d more", len(l.faults)-i)
			break
		}
		l.t.Error(text)
	}
	f := l.figures()
	keepFigures(f)
	l.t.Logf("%s", f.row())
	if f.longest > maxAnswer+l.size.slack {
		l.t.Errorf("an answer took %v: more than %v", f.longest, maxAnswer+l.size.slack)
	}
	if f.back > l.size.back {
		l.t.Errorf("service is back %v after the fault's end: more than %v", f.back, l.size.back)
	}
	if f.refreshes == 0 || f.revoked == 0 && l.size.calm > 0 {
		l.t.Errorf("the load did nothing: %d refreshes, %d revocations", f.refreshes, f.revoked)
	}
}

// figures computes the figures of the records. Call it with mu held.
func (l *load) figures() figures {
	f := figures{
		name: l.name, clients: len(l.clients), answers: map[outcome]int{},
		refreshes: l.refreshes, revoked: l.revoked,
	}
	var first, last time.Time
	slow := map[string]time.Duration{}
	for _, r := range l.records {
		f.answers[r.outcome]++
		slow[r.kind] = max(slow[r.kind], r.took)
		f.longest = max(f.longest, r.took)
		if !r.failed() || r.end().Before(l.begin) {
			continue
		}
		if first.IsZero() || r.begun.Before(first) {
			first = r.begun
		}
		if r.end().After(last) {
			last = r.end()
		}
	}
	if !first.IsZero() {
		f.without, f.back = last.Sub(first), max(0, last.Sub(l.end))
	}
	for _, kind := range slices.Sorted(maps.Keys(slow)) {
		l.t.Logf("longest %s: %v", kind, slow[kind].Round(time.Millisecond))
	}
	return f
}

// count returns how many requests of the kinds began and ended during the
// fault, with that outcome.
func (l *load) count(o outcome, kinds ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		if slices.Contains(kinds, r.kind) && r.outcome == o && r.begun.After(l.begin) && r.end().Before(l.end) {
			n++
		}
	}
	return n
}
