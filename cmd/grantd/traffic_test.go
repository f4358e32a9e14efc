package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// This file sends traffic to real nodes while tests restart or upgrade them,
// and counts the answers.

// balancer sends requests to the nodes that /readyz says are ready, in turn. A node
// that refuses the connection never saw the request, so another gets it. All
// other faults reach the client.
type balancer struct {
	urls []string
	up   []atomic.Bool
	turn atomic.Uint64
	http *http.Client
}

// pollReady is the time between two polls of the balancer, far less than a
// shutdown_delay.
const pollReady = 50 * time.Millisecond

// newBalancer polls until ctx ends.
func newBalancer(ctx context.Context, urls ...string) *balancer {
	b := &balancer{urls: urls, up: make([]atomic.Bool, len(urls)), http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 15 * time.Second,
	}}
	b.poll()
	go func() {
		for ctx.Err() == nil {
			time.Sleep(pollReady)
			b.poll()
		}
	}()
	return b
}

func (b *balancer) poll() {
	for i, u := range b.urls {
		resp, err := b.http.Get(u + "/readyz")
		if err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		b.up[i].Store(err == nil && resp.StatusCode == http.StatusOK)
	}
}

// do sends the request that build makes for a node's URL.
func (b *balancer) do(build func(base string) *http.Request) (*http.Response, error) {
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		for range b.urls {
			i := int(b.turn.Add(1)) % len(b.urls)
			if !b.up[i].Load() {
				continue
			}
			var resp *http.Response
			if resp, err = b.http.Do(build(b.urls[i])); !errors.Is(err, syscall.ECONNREFUSED) {
				return resp, err
			}
		}
		time.Sleep(pollReady / 10)
	}
	return nil, cmp.Or(err, errors.New("no node is ready"))
}

// traffic counts the answers to requests that go through a balancer.
type traffic struct {
	t        testing.TB
	via      *balancer
	id, pass string // of the client
	user     string
	password string
	patient  bool // see signInPatiently
	*answerCount
}

// answerCount counts the outcomes of requests. Several kinds of traffic may
// share it.
type answerCount struct {
	mu      sync.Mutex
	answers map[string]int // by kind of request
	failed  []string
	slowest time.Duration
}

// answered is a node's answer.
type answered struct {
	status int
	body   map[string]any
}

func (a answered) text(member string) string { s, _ := a.body[member].(string); return s }

// ask sends a form as the client, or a GET with the token if the form is nil, and
// counts an answer whose status isn't one of want, or no answer, as failed.
func (f *traffic) ask(kind, path string, form url.Values, token string, want ...int) answered {
	return f.send(kind, func(base string) *http.Request {
		method, body := http.MethodGet, ""
		if form != nil {
			method, body = http.MethodPost, form.Encode()
		}
		r, err := http.NewRequest(method, base+path, strings.NewReader(body))
		if err != nil {
			panic(err)
		}
		if form != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		} else {
			r.SetBasicAuth(f.id, f.pass)
		}
		return r
	}, want...)
}

// send is like ask, for any request.
func (f *traffic) send(kind string, build func(base string) *http.Request, want ...int) answered {
	began := time.Now()
	resp, err := f.via.do(build)
	var a answered
	var text []byte
	if err == nil {
		a.status = resp.StatusCode
		text, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		_ = json.Unmarshal(text, &a.body)
	}
	f.count(kind, time.Since(began), a.status, want, fmt.Sprintf("%v %s", err, text))
	return a
}

func (f *answerCount) count(kind string, took time.Duration, status int, want []int, what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[kind]++
	f.slowest = max(f.slowest, took)
	if !slices.Contains(want, status) {
		f.failed = append(f.failed, fmt.Sprintf("%s: %d, want %v: %s", kind, status, want, what))
	}
}

func (f *answerCount) fail(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = append(f.failed, fmt.Sprintf(format, args...))
}

func (f *traffic) token(kind string, form url.Values) pair {
	a := f.ask(kind, "/token", form, "", http.StatusOK)
	return pair{a.text("access_token"), a.text("refresh_token")}
}

func (f *traffic) signIn() pair {
	if f.patient {
		return f.signInPatiently()
	}
	return f.token("sign-in", passwordForm(f.user, f.password, ""))
}

// signInPatiently repeats a sign-in that is answered 503. That happens when
// revocations interfere with it three times in a row.
func (f *traffic) signInPatiently() pair {
	for range 5 {
		a := f.ask("sign-in", "/token", passwordForm(f.user, f.password, ""), "", http.StatusOK, http.StatusServiceUnavailable)
		if a.status != http.StatusServiceUnavailable {
			return pair{a.text("access_token"), a.text("refresh_token")}
		}
		f.count("sign-in, to be repeated", 0, 0, []int{0}, "")
	}
	f.fail("a sign-in was told to be repeated five times")
	return pair{}
}

func (f *traffic) valid(access string) {
	if a := f.ask("users/me", "/users/me", nil, access, http.StatusOK); a.status == http.StatusOK && a.text("username") != f.user {
		f.fail("/users/me says %v", a.body)
	}
}

func (f *traffic) introspect(access string, active bool) {
	a := f.ask("introspect", "/introspect", url.Values{"token": {access}}, "", http.StatusOK)
	if a.status == http.StatusOK && a.body["active"] != active {
		f.fail("introspection says %v, want active: %v", a.body, active)
	}
}

func (f *traffic) revoke(token string) {
	f.ask("revoke", "/revoke", url.Values{"token": {token}}, "", http.StatusOK)
}

func (f *traffic) refused(access string) {
	f.ask("users/me, revoked", "/users/me", nil, access, http.StatusUnauthorized)
}

// The methods below are what clients do, over and over.

// signsInAndOut signs in, uses the tokens, and ends the sign-in.
func (f *traffic) signsInAndOut() {
	p := f.signIn()
	f.valid(p.access)
	f.introspect(p.access, true)
	f.revoke(p.refresh)
	f.refused(p.access)
	f.introspect(p.access, false)
}

// refreshes keeps a sign-in going, and repeats some of its refreshes as a
// client does that lost the answer.
func (f *traffic) refreshes() {
	p := f.signIn()
	for i := range 10 {
		next := f.token("refresh", refreshForm(p.refresh, ""))
		if i%3 == 0 {
			if again := f.token("refresh, repeated", refreshForm(p.refresh, "")); again != next {
				f.fail("a repeated refresh gave another pair")
			}
		}
		f.valid(next.access)
		p = next
	}
	f.revoke(p.access)
}

// forItself gets tokens for the client itself, without a user.
func (f *traffic) forItself() {
	p := f.token("client_credentials", url.Values{"grant_type": {"client_credentials"}})
	f.introspect(p.access, true)
	f.revoke(p.access)
}

// run makes some clients do each of these things until ctx ends. It returns
// when the last one has finished.
func (f *traffic) run(ctx context.Context, pause time.Duration, kinds ...func()) {
	var clients sync.WaitGroup
	for _, do := range kinds {
		clients.Go(func() {
			for ctx.Err() == nil {
				do()
				time.Sleep(pause)
			}
		})
	}
	clients.Wait()
}

// report fails the test if requests failed, and logs the figures.
func (f *traffic) report(what string) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	total := 0
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(f.answers)) {
		total += f.answers[kind]
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, f.answers[kind]))
	}
	f.t.Logf("%s: %d requests, %d failed, the slowest took %s: %s", what, total, len(f.failed), f.slowest.Round(time.Millisecond), strings.Join(kinds, ", "))
	for _, text := range f.failed[:min(len(f.failed), 10)] {
		f.t.Error(text)
	}
	if total == 0 || len(f.failed) > 10 {
		f.t.Errorf("%d requests, %d failed", total, len(f.failed))
	}
}

// fleet is nodes on one store, each at an address that it keeps.
type fleet struct {
	t     *testing.T
	dir   string
	env   []string
	addrs []string
	nodes []*running
}

const (
	fleetClient   = "web"
	fleetUser     = "alice"
	fleetPassword = "correct horse battery"
)

// newFleet prepares the store that the environment names, and starts n nodes.
func newFleet(t *testing.T, n int, store ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: t.TempDir()}
	f.env = slices.Concat(serveEnv, cheapHash, store)
	secret, password := writeFile(t, "secret", webSecret), writeFile(t, "password", fleetPassword)
	f.grantd("client", "add", fleetClient, "--grant", "password", "--grant", "refresh_token", "--grant", "client_credentials",
		"--scope", "read", "--scope", "admin", "--introspect", "--secret-file", secret)
	f.grantd("user", "add", fleetUser, "--password-file", password)
	for i := range n {
		f.addrs = append(f.addrs, net.JoinHostPort("127.0.0.1", freePort(t)))
		f.nodes = append(f.nodes, nil)
		f.start(i)
	}
	return f
}

// grantd runs a command on the store.
func (f *fleet) grantd(args ...string) string {
	f.t.Helper()
	return must(f.t, launch{args: args, dir: f.dir, env: f.env})
}

func (f *fleet) serve(i int) launch {
	return launch{args: []string{"serve", "--addr", f.addrs[i]}, dir: f.dir, env: f.env}
}

func (f *fleet) start(i int) {
	f.t.Helper()
	f.nodes[i] = f.serve(i).start(f.t)
}

func (f *fleet) urls() (urls []string) {
	for _, addr := range f.addrs {
		urls = append(urls, "http://"+addr)
	}
	return urls
}

// traffic returns the traffic of a client of the fleet. Its balancer polls
// until ctx ends.
func (f *fleet) traffic(ctx context.Context) *traffic {
	return &traffic{
		t: f.t, via: newBalancer(ctx, f.urls()...), answerCount: &answerCount{answers: map[string]int{}},
		id: fleetClient, pass: webSecret, user: fleetUser, password: fleetPassword,
	}
}
