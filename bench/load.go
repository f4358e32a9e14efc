package main

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// cell is one measurement of the table.
type cell struct{ endpoint, server string }

// The endpoints.
const (
	me         = "/users/me"
	bad        = "/users/me, bad token"
	introspect = "/introspect"
	issue      = "/token client_credentials"
	refresh    = "/token refresh"
	password   = "/token password"
)

// The servers that aren't grantd.
const (
	noStore  = "net/http, no store"
	oneGet   = "bare, one GET"
	oneSet   = "bare, one SET"
	getSet   = "bare, GET and SET"
	getSwap  = "bare, GET and script"
	hashing  = "argon2id alone"
	stockOwn = "stock"
)

// bareOf is the bare handler that the servers of each endpoint are compared with.
var bareOf = map[string]string{me: oneGet, bad: oneGet, introspect: oneGet, issue: oneSet, refresh: getSet, password: hashing}

// load is how a cell is measured.
type load struct {
	cell
	on          *server
	path        string
	script      string
	body        string // of a POST; %s is the token
	status      int    // of every answer
	connections int
	lasts       time.Duration
}

// chained reports whether each connection spends the token that it was given last.
// Then wrk needs a thread for each connection.
func (l load) chained() bool { return l.script == refreshLua }

// sample is the result of one measurement.
type sample struct {
	rate     float64 // requests a second
	p50, p99 time.Duration
	cpu      time.Duration // the server's processor time for a request
	redis    time.Duration // the processor time of its Redis servers for a request
	resident int64         // the server's memory in bytes
}

//go:embed load.lua
var loadLua string

//go:embed refresh.lua
var refreshLua string

// loads returns all loads: for each endpoint, first those on the servers that grantd
// is compared with, then those on grantd.
func (w *world) loads() []load {
	var all []load
	for _, e := range []struct {
		load
		bares []bareHandler
		stock bool
		path  string // on stock and grantd
	}{
		{load{cell: cell{endpoint: me}}, []bareHandler{{noStore, "/none/users/me"}, {oneGet, "/users/me"}}, true, "/users/me"},
		{load{cell: cell{endpoint: bad}, status: http.StatusUnauthorized}, []bareHandler{{noStore, "/none/bad"}, {oneGet, "/users/me"}}, true, "/users/me"},
		{load{cell: cell{endpoint: introspect}, body: "token=%s"},
			[]bareHandler{{noStore, "/none/introspect"}, {oneGet, "/introspect"}}, false, "/introspect"},
		{load{cell: cell{endpoint: issue}, body: "grant_type=client_credentials"},
			[]bareHandler{{noStore, "/none/token"}, {oneSet, "/issue"}}, true, "/token"},
		{load{cell: cell{endpoint: refresh}, script: refreshLua},
			[]bareHandler{{noStore, "/none/token"}, {getSet, "/refresh"}, {getSwap, "/refresh-once"}}, true, "/token"},
		{w.hashes(load{cell: cell{endpoint: password}, body: "grant_type=password&username=alice&password=secret123"}),
			[]bareHandler{{hashing, "/hash"}}, false, "/token"},
	} {
		if !strings.Contains(e.endpoint, w.o.only) {
			continue
		}
		for _, b := range e.bares {
			all = append(all, e.of(w.o, w.bare, b.name, b.path))
		}
		if e.stock {
			all = append(all, e.of(w.o, w.stock, stockOwn, e.path))
		}
		for _, s := range []*server{w.onRedis, w.onCluster, w.embedded} {
			all = append(all, e.of(w.o, s, s.name, e.path))
		}
	}
	return all
}

// bareHandler is a handler of the bare server.
type bareHandler struct{ name, path string }

// of returns the load l on a server.
func (l load) of(o options, on *server, name, path string) load {
	l.on, l.server, l.path = on, name, path
	if l.script == "" {
		l.script = loadLua
	}
	if l.status == 0 {
		l.status = http.StatusOK
	}
	if l.lasts == 0 {
		l.connections, l.lasts = o.connections, o.cell
	}
	return l
}

// hashConnections is enough for requests that take a processor some 30 ms: they keep
// all processors busy, and more would only wait.
var hashConnections = 2 * runtime.NumCPU()

// hashes returns the load l as one of the password grant. It lasts three times as
// long, so that one answer more or less doesn't change the figure.
func (w *world) hashes(l load) load {
	l.connections, l.lasts = hashConnections, 3*w.o.cell
	return l
}

var (
	rateLine   = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	countLine  = regexp.MustCompile(`(\d+) requests in`)
	failLine   = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
	socketLine = regexp.MustCompile(`Socket errors: .*`)
	p50Line    = regexp.MustCompile(`50%\s+([\d.]+[a-z]+)`)
	p99Line    = regexp.MustCompile(`99%\s+([\d.]+[a-z]+)`)
)

// measure runs wrk once. It fails unless every answer is right.
func (w *world) measure(ctx context.Context, l load) (sample, error) {
	list, err := w.tokensFor(ctx, l)
	if err != nil {
		return sample{}, err
	}
	if !l.chained() { // a chain goes on only if the answers are right
		if err := l.probe(ctx, list[0]); err != nil {
			return sample{}, err
		}
	}
	script, file := filepath.Join(w.dir, "script.lua"), filepath.Join(w.dir, "tokens")
	if err := errors.Join(os.WriteFile(script, []byte(l.script), 0o600), os.WriteFile(file, []byte(strings.Join(list, "\n")), 0o600)); err != nil {
		return sample{}, err
	}
	connections, threads := strconv.Itoa(l.connections), "1"
	if l.chained() {
		threads = connections
	}
	wrk := exec.CommandContext(ctx, "wrk", "-t", threads, "-c", connections, "-d", fmt.Sprintf("%ds", int(l.lasts.Seconds())),
		"--latency", "-s", script, "http://"+l.on.addr+l.path)
	wrk.Env = append(os.Environ(), "TOKENS="+file, "BODY="+l.body, "BASIC="+basic(l))
	l.on.settle()
	cpu, stores := l.on.cpu(), l.on.cpuOfStores()
	out, err := wrk.CombinedOutput()
	if err != nil {
		return sample{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	cpu, stores = l.on.cpu()-cpu, l.on.cpuOfStores()-stores
	n := number(countLine, out)
	if err := l.check(n, out); err != nil {
		return sample{}, err
	}
	return sample{
		rate: number(rateLine, out), p50: latency(p50Line, out), p99: latency(p99Line, out),
		cpu: time.Duration(float64(cpu) / n), redis: time.Duration(float64(stores) / n), resident: l.on.resident(),
	}, nil
}

// check checks wrk's counts of the answers. They tell only successes from failures;
// probe checks the status.
func (l load) check(n float64, out []byte) error {
	if line := socketLine.Find(out); line != nil {
		return errors.New(string(line))
	}
	failed := number(failLine, out)
	switch {
	case n == 0:
		return errors.New("no answers")
	case l.status == http.StatusOK && failed > 0:
		return fmt.Errorf("%.0f of %.0f answers are errors", failed, n)
	case l.status != http.StatusOK && failed < n:
		return fmt.Errorf("%.0f of %.0f answers are no errors", n-failed, n)
	}
	return nil
}

// probe sends one request as wrk will, and looks at its status.
func (l load) probe(ctx context.Context, token string) error {
	method, body := http.MethodGet, ""
	if l.body != "" {
		method, body = http.MethodPost, strings.ReplaceAll(l.body, "%s", token)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+l.on.addr+l.path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if l.body != "" {
		r.Header.Set("Authorization", "Basic "+basic(l))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err
	case response.StatusCode != l.status:
		return fmt.Errorf("status %d instead of %d: %s", response.StatusCode, l.status, text)
	case l.endpoint == introspect && l.on.name != "bare" && !strings.Contains(string(text), `"active":true`):
		return fmt.Errorf("the token isn't active: %s", text)
	}
	return nil
}

// tokensFor returns the tokens that the load sends. A bad token has the form of a good
// one, but wrong bytes.
func (w *world) tokensFor(ctx context.Context, l load) ([]string, error) {
	switch {
	case l.chained():
		return w.refreshTokens(ctx, l.on)
	case l.endpoint == bad:
		good := w.access[l.on][0]
		return []string{good[:len(good)/2] + randomToken()[:len(good)-len(good)/2]}, nil
	}
	return w.access[l.on], nil
}

// basic returns the credentials of demo-api for introspection, and those of demo for
// all other endpoints.
func basic(l load) string {
	if l.endpoint == introspect {
		return "ZGVtby1hcGk6ZGVtby1hcGktc2VjcmV0"
	}
	return "ZGVtbzpkZW1vLXNlY3JldA=="
}

func number(line *regexp.Regexp, out []byte) float64 {
	m := line.FindSubmatch(out)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseFloat(string(m[1]), 64)
	return n
}

func latency(line *regexp.Regexp, out []byte) time.Duration {
	m := line.FindSubmatch(out)
	if m == nil {
		return 0
	}
	d, _ := time.ParseDuration(string(m[1]))
	return d
}
