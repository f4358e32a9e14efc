package main

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// cell is one measurement of the table.
type cell struct{ endpoint, server string }

// load is how a cell is measured.
type load struct {
	cell
	on      *server
	path    string
	script  string
	chained bool   // each connection spends tokens that it got, so it needs a thread
	body    string // of a POST; %s is the token
}

// sample is the result of one measurement.
type sample struct {
	rate     float64 // requests a second
	p50, p99 time.Duration
	cpu      time.Duration // of the server and of Redis, a request
	resident int           // MiB of the server
}

//go:embed load.lua
var loadLua string

//go:embed refresh.lua
var refreshLua string

// cells lists what is measured: for each endpoint what it is compared with
// first, and grantd last.
func (w *world) cells() []load {
	var all []load
	add := func(endpoint string, s *server, name, path, script, body string) {
		all = append(all, load{cell{endpoint, name}, s, path, script, script == refreshLua, body})
	}
	const (
		me, bad, introspect = "/users/me", "/users/me, bad token", "/introspect"
		refresh, issue      = "/token refresh", "/token client_credentials"
		password            = "/token password"
	)
	add(me, w.bare, "net/http, no store", "/none", loadLua, "")
	for _, s := range []*server{w.bare, w.stock, w.onRedis, w.embedded} {
		add(me, s, s.name, "/users/me", loadLua, "")
	}
	for _, s := range []*server{w.bare, w.stock, w.onRedis, w.embedded} {
		add(bad, s, s.name, "/users/me", loadLua, "")
	}
	for _, s := range []*server{w.bare, w.onRedis, w.embedded} {
		add(introspect, s, s.name, "/introspect", loadLua, "token=%s")
	}
	add(refresh, w.bare, w.bare.name, "/refresh", refreshLua, "")
	add(issue, w.bare, w.bare.name, "/issue", loadLua, "grant_type=client_credentials")
	for _, s := range []*server{w.stock, w.onRedis, w.embedded} {
		add(refresh, s, s.name, "/token", refreshLua, "")
		add(issue, s, s.name, "/token", loadLua, "grant_type=client_credentials")
	}
	add(password, w.bare, "argon2id alone", "/hash", loadLua, "password=secret123")
	for _, s := range []*server{w.onRedis, w.embedded} {
		add(password, s, s.name, "/token", loadLua, "grant_type=password&username=alice&password=secret123")
	}
	return all
}

var (
	rateLine  = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	countLine = regexp.MustCompile(`(\d+) requests in`)
	failLine  = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
	p50Line   = regexp.MustCompile(`50%\s+([\d.]+[a-z]+)`)
	p99Line   = regexp.MustCompile(`99%\s+([\d.]+[a-z]+)`)
)

// measure runs wrk once.
func (w *world) measure(ctx context.Context, l load) (sample, error) {
	list, err := w.tokensFor(ctx, l)
	if err != nil {
		return sample{}, err
	}
	script, file := filepath.Join(w.dir, "script.lua"), filepath.Join(w.dir, "tokens")
	if err := errors.Join(os.WriteFile(script, []byte(l.script), 0o600), os.WriteFile(file, []byte(strings.Join(list, "\n")), 0o600)); err != nil {
		return sample{}, err
	}
	connections, threads := strconv.Itoa(w.o.connections), "1"
	if l.chained {
		threads = connections
	}
	wrk := exec.CommandContext(ctx, "wrk", "-t", threads, "-c", connections, "-d", fmt.Sprintf("%ds", int(w.o.cell.Seconds())),
		"--latency", "-s", script, "http://"+l.on.addr+l.path)
	wrk.Env = append(os.Environ(), "TOKENS="+file, "BODY="+l.body, "BASIC="+basic(l))
	before := l.on.cpu() + w.redis.cpu()
	out, err := wrk.CombinedOutput()
	if err != nil {
		return sample{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	used := l.on.cpu() + w.redis.cpu() - before
	n := number(countLine, out)
	if failed := number(failLine, out); n == 0 || failed > 0 && l.endpoint != "/users/me, bad token" {
		return sample{}, fmt.Errorf("%.0f of %.0f answers are errors", failed, n)
	}
	return sample{
		rate: number(rateLine, out), p50: latency(p50Line, out), p99: latency(p99Line, out),
		cpu: time.Duration(float64(used) / n), resident: l.on.resident(),
	}, nil
}

func (w *world) tokensFor(ctx context.Context, l load) ([]string, error) {
	switch {
	case l.chained:
		return w.refreshTokens(ctx, l.on)
	case l.endpoint == "/users/me, bad token":
		return []string{randomToken()}, nil
	}
	return w.access[l.on], nil
}

// basic are the credentials of demo-api for introspection, of demo for the rest.
func basic(l load) string {
	if l.path == "/introspect" {
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
