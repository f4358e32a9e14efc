package main

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// behindProxies are deployments of several Redis servers behind slow proxies,
// with their masters.
var behindProxies = []struct {
	name  string
	start func(*testing.T) (proxies redistest.SlowProxies, url string, masters []*redistest.Server)
}{
	{"sentinel", func(t *testing.T) (redistest.SlowProxies, string, []*redistest.Server) {
		proxies, url, master := redistest.SlowSentinel(t)
		return proxies, url, []*redistest.Server{master}
	}},
	{"cluster", func(t *testing.T) (redistest.SlowProxies, string, []*redistest.Server) {
		masters := redistest.Cluster(t)
		proxies, url := masters.Slow()
		return proxies, url, masters.Nodes
	}},
}

// The limit for a single Redis holds for several servers too: for a master behind
// sentinels that are slow themselves, and for the nodes of a Cluster.
func TestARequestWaitsForSlowServersNoLongerThanASecond(t *testing.T) {
	for _, d := range behindProxies {
		t.Run(d.name, func(t *testing.T) {
			proxies, server, masters := d.start(t)
			g := serveOnRedis(t, server, firstAdmin)
			refused := refusedRequests(t, g.URL)
			t.Run("one after another", func(t *testing.T) { inTurnAtSlowServers(t, g, proxies) })
			t.Run("all at once", func(t *testing.T) {
				all := sideBySide(t, g.URL)
				proxies.Delay(300 * time.Millisecond)
				defer proxies.Delay(0)
				askAtOnce(t, g.URL, all, refused, slowest)
			})
			t.Run("a stall of every master", func(t *testing.T) {
				duringAStall(t, g, masters, refused, http.StatusServiceUnavailable, `{"status":"unavailable","reason":"store","store":"down","circuit":"open"}`)
			})
			if len(masters) > 1 {
				t.Run("a stall of one master", func(t *testing.T) {
					duringAStall(t, g, masters[:1], refused, http.StatusOK, `{"status":"ready","store":"partial","circuit":"open"}`)
				})
			}
			for _, a := range sideBySide(t, g.URL) {
				a.await(t, g.URL, http.StatusOK)
			}
		})
	}
}

// inTurnAtSlowServers sends a request that takes one call, and then one that takes
// several, so that they share no calls.
func inTurnAtSlowServers(t *testing.T, g *running, proxies redistest.SlowProxies) {
	const delay = 300 * time.Millisecond
	all := storeRequests(t, g.URL)
	proxies.Delay(delay)
	defer proxies.Delay(0)
	for _, a := range []storeRequest{all[5], all[1]} {
		began := time.Now()
		status := askSlowly(t, a, g.URL)
		if took := time.Since(began); took < delay {
			t.Errorf("%s: %d in %v: it didn't come by the proxies", a.name, status, took)
		}
		if a.name == "users/me" && status != http.StatusOK {
			t.Errorf("%s: %d, though it needs one call", a.name, status)
		}
	}
}

// duringAStall sends all requests at once, and again when /readyz reports the stall. From
// then on no request waits for the stalled servers.
func duringAStall(t *testing.T, g *running, stalled []*redistest.Server, refused []refusedRequest, ready int, tells string) {
	all := sideBySide(t, g.URL)
	for _, s := range stalled {
		s.Stop()
	}
	askAtOnce(t, g.URL, all, refused, slowest)
	g.awaitHealth(ready, tells)
	askAtOnce(t, g.URL, all, refused, slowest/2)
	for _, s := range stalled {
		s.Cont()
	}
	g.awaitHealth(http.StatusOK, `{"status":"ready","store":"ok","circuit":"closed"}`)
}

// sideBySide are requests of every kind that don't end each other's tokens.
func sideBySide(t *testing.T, base string) []storeRequest {
	t.Helper()
	all := storeRequests(t, base)
	all[1], all[4] = storeRequests(t, base)[1], storeRequests(t, base)[4]
	return all
}

// refusedRequest is a request that must never be granted, whatever the state of
// the store.
type refusedRequest struct {
	storeRequest
	status int
	body   string // "" accepts any
}

// refusedRequests are requests with a wrong password, and with tokens that were
// revoked.
func refusedRequests(t *testing.T, base string) []refusedRequest {
	t.Helper()
	dead := storeRequests(t, base)
	refresh, introspect, revoke, usersMe := dead[1], dead[3], dead[4], dead[5]
	revoke.await(t, base, http.StatusOK)
	guess := storeRequest{name: "wrong password", method: "POST", path: "/token", form: passwordForm("admin", "not-the-password", "")}
	return []refusedRequest{
		{guess, http.StatusBadRequest, ""},
		{refresh, http.StatusBadRequest, ""},
		{introspect, http.StatusOK, `{"active":false}`},
		{usersMe, http.StatusUnauthorized, ""},
	}
}

// askAtOnce sends all requests at the same time. Each has to get its answer, or
// 503 with Retry-After, within that time.
func askAtOnce(t *testing.T, base string, all []storeRequest, refused []refusedRequest, within time.Duration) {
	t.Helper()
	for _, a := range all {
		refused = append(refused, refusedRequest{a, http.StatusOK, ""})
	}
	var asked sync.WaitGroup
	for _, a := range refused {
		asked.Go(func() {
			began := time.Now()
			status, retry, body := a.of(t, base)
			took := time.Since(began)
			if took > within {
				t.Errorf("%s: %d in %v: more than %v", a.name, status, took, within)
			}
			if status == http.StatusServiceUnavailable && retry == "1" {
				return
			}
			if status != a.status || a.body != "" && body != a.body {
				t.Errorf("%s: %d, Retry-After %q: %s", a.name, status, retry, body)
			}
		})
	}
	asked.Wait()
}

// With wait_replicas a replica that is late, or gone, delays a request no more than a
// slow master does, nor do both together. Whatever the answer was, a logout took
// place, and a refresh can be repeated.
func TestARequestWaitsForSlowReplicasNoLongerThanASecond(t *testing.T) {
	master := redistest.Single(t)
	proxy, behind := redistest.Slow(t, master), redistest.Slow(t, master)
	_, port, _ := strings.Cut(behind.Addr(), ":")
	replica := redistest.Single(t, "--replicaof", "127.0.0.1 "+port)
	g := serveOnRedis(t, proxy.URL(), "GRANTD_REDIS_WAIT_REPLICAS=1", firstAdmin)
	storeRequests(t, g.URL)[1].await(t, g.URL, http.StatusOK) // a refresh, once the replica follows
	for _, tt := range []struct {
		name            string
		master, replica time.Duration
		stopped         bool
		want            int // of a refresh and of a logout
	}{
		{name: "a replica that is a little late", replica: 50 * time.Millisecond, want: http.StatusOK},
		{name: "a replica that is late", replica: 400 * time.Millisecond, want: http.StatusServiceUnavailable},
		{name: "a master that is slow, and a replica that is gone", master: 250 * time.Millisecond, stopped: true, want: http.StatusServiceUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			refresh, ended := storeRequests(t, g.URL)[1], storeRequests(t, g.URL)
			revoke, usersMe := ended[4], ended[5]
			proxy.Delay(tt.master)
			behind.Delay(tt.replica)
			if tt.stopped {
				replica.Stop()
			}
			for _, a := range []storeRequest{refresh, revoke} {
				if status := askSlowly(t, a, g.URL); status != tt.want {
					t.Errorf("%s: %d, want %d", a.name, status, tt.want)
				}
			}
			proxy.Delay(0)
			usersMe.await(t, g.URL, http.StatusUnauthorized) // a logout goes on after its answer was cut off
			behind.Delay(0)
			if tt.stopped {
				replica.Cont()
			}
			refresh.await(t, g.URL, http.StatusOK)
			revoke.await(t, g.URL, http.StatusOK)
		})
	}
}
