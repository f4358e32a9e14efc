package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/internal/metrics"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore/redistest"
	"github.com/grantd/grantd/storage/watched"
)

// series are what a scrape found, by name and labels.
type series map[string]float64

// scrape reads the metrics as Prometheus does.
func scrape(t testing.TB, base string) series {
	t.Helper()
	status, text := get(t, base+metricsPath)
	if status != http.StatusOK {
		t.Fatalf("GET %s%s: %d %s", base, metricsPath, status, text)
	}
	return readSeries(t, text)
}

// readSeries reads the text format of Prometheus.
func readSeries(t testing.TB, text string) series {
	t.Helper()
	found := series{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[i+1:]), 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		found[line[:i]] = value
	}
	return found
}

// scrapeUntil scrapes until the series has at least the value, since some
// things are counted in the background.
func scrapeUntil(t testing.TB, base, name string, least float64) series {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		found := scrape(t, base)
		if found[name] >= least {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is %v, and never became %v", name, found[name], least)
		}
	}
}

// exercise makes a dev server do each thing that is counted.
func exercise(t *testing.T, base string) {
	t.Helper()
	pair := func(form url.Values) (access, refresh string) {
		status, answer := tokenFor(t, base, "demo", "demo-secret", form)
		if status != http.StatusOK {
			t.Fatalf("%v: %d %v", form["grant_type"], status, answer)
		}
		access, _ = answer["access_token"].(string)
		refresh, _ = answer["refresh_token"].(string)
		return access, refresh
	}
	access, first := pair(passwordForm("alice", "secret123", ""))
	getUsersMe(t, base, access)
	again := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first}}
	_, second := pair(again)
	pair(again)                                                                                        // retried
	_, third := pair(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {second}})           // closes the window for retries
	if status, _ := tokenFor(t, base, "demo", "demo-secret", again); status != http.StatusBadRequest { // reused
		t.Errorf("reuse: %d", status)
	}
	tokenFor(t, base, "demo", "demo-secret", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {third}}) // refused: the grant is gone
	getUsersMe(t, base, access)
	get(t, base+"/users/me")

	_, refresh := pair(passwordForm("alice", "secret123", ""))
	postForm(t, base+"/revoke", "demo", "demo-secret", url.Values{"token": {refresh}})
	_, admin := tokenFor(t, base, "demo-admin", "demo-admin-secret", url.Values{"grant_type": {"client_credentials"}, "scope": {"admin"}})
	token, _ := admin["access_token"].(string)
	admins(t, base, token, "POST", "/revocations", `{"user":"alice"}`).want(t, http.StatusOK)
	for i := range 30 {
		if status, _ := tokenFor(t, base, "demo", "demo-secret", passwordForm("bob", fmt.Sprint("wrong", i), "")); status == http.StatusTooManyRequests {
			break
		}
	}
	admins(t, base, token, "DELETE", "/users/bob/throttle", "").want(t, http.StatusNoContent)
	get(t, base+"/nope")
}

func TestMetrics(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { countsAll(t, startDev(t, "--memory").URL) })
	t.Run("redis", func(t *testing.T) {
		server := redistest.Single(t)
		g := startDev(t, "--redis", server.URL())
		countsAll(t, g.URL)

		server.Kill()
		postForm(t, g.URL+"/introspect", "demo-api", "demo-api-secret", url.Values{"token": {"x"}})
		time.Sleep(checkLife) // for so long a health check counts
		found := scrape(t, g.URL)
		if found["grantd_store_up"] != 0 || found["grantd_ready"] != 0 || found[`grantd_store_state{state="down"}`] != 1 {
			t.Errorf("without Redis: up %v, ready %v, down %v", found["grantd_store_up"], found["grantd_ready"], found[`grantd_store_state{state="down"}`])
		}
		if found = scrape(t, g.URL); found[`grantd_store_errors_total{kind="unavailable",operation="health"}`] == 0 { // of the check before
			t.Error("looking at it isn't counted as a failure")
		}
		server.Restart()
		scrapeUntil(t, g.URL, "grantd_ready", 1)
	})
}

func countsAll(t *testing.T, base string) {
	exercise(t, base)
	found := scrapeUntil(t, base, "grantd_audit_events_written_total", 12)
	for name, want := range map[string]float64{
		`grantd_grants_issued_total{grant_type="password"}`:                               2,
		`grantd_grants_issued_total{grant_type="client_credentials"}`:                     1,
		`grantd_refreshes_total{result="rotated"}`:                                        2,
		`grantd_refreshes_total{result="retried"}`:                                        1,
		`grantd_refreshes_total{result="reused"}`:                                         1,
		`grantd_refreshes_total{result="refused"}`:                                        1,
		`grantd_revocations_total{cause="refresh.reuse"}`:                                 1,
		`grantd_revocations_total{cause="token.revoke"}`:                                  1,
		`grantd_revocations_total{cause="revocation"}`:                                    1,
		`grantd_oauth_refused_total{error="throttled",grant_type="password"}`:             1,
		`grantd_oauth_refused_total{error="invalid_grant",grant_type="refresh_token"}`:    2,
		`grantd_throttle_changes_total{change="on"}`:                                      1,
		`grantd_throttle_changes_total{change="off"}`:                                     1,
		`grantd_bearer_refused_total{error="invalid_token"}`:                              1,
		`grantd_bearer_refused_total{error="no_token"}`:                                   1,
		`grantd_requests_total{method="GET",route="/users/me",status="200"}`:              1,
		`grantd_requests_total{method="GET",route="/users/me",status="401"}`:              2,
		`grantd_requests_total{method="POST",route="/admin/v1/revocations",status="200"}`: 1,
		`grantd_requests_total{method="POST",route="/token",status="429"}`:                1,
		`grantd_requests_total{method="GET",route="/",status="404"}`:                      1,
		`grantd_request_duration_seconds_count{route="/users/me"}`:                        3,
		`grantd_store_call_duration_seconds_count{operation="revoke"}`:                    1,
		`grantd_audit_events_lost_total`:                                                  0,
		`grantd_store_up`:                                                                 1,
		`grantd_store_state{state="ok"}`:                                                  1,
		`grantd_store_state{state="full"}`:                                                0,
		`grantd_ready`:                                                                    1,
	} {
		if got, there := found[name]; !there || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"grantd_password_hash_duration_seconds_count", `grantd_oauth_refused_total{error="invalid_grant",grant_type="password"}`, "go_goroutines", "process_resident_memory_bytes"} {
		if found[name] == 0 {
			t.Errorf("%s is 0", name)
		}
	}
	for name := range found {
		if regexp.MustCompile(`alice|bob|demo|g[atr]t_|usr_|127\.0\.0\.1`).MatchString(name) {
			t.Errorf("the series %s tells who or what it is about", name)
		}
	}
}

// Metrics with an address of their own are served at that address only.
func TestMetricsAddr(t *testing.T) {
	dir := t.TempDir()
	for _, command := range []string{"serve", "resource"} { // one store: serve makes its keys
		t.Run(command, func(t *testing.T) {
			addr := "127.0.0.1:" + freePort(t)
			env := append([]string{"GRANTD_DATA=grantd.db", "GRANTD_METRICS_ADDR=" + addr}, serveEnv...)
			g := launch{args: []string{command}, dir: dir, env: env}.start(t)
			if status, _ := get(t, g.URL+metricsPath); status != http.StatusNotFound {
				t.Errorf("the other listener answers %d", status)
			}
			if _, document := get(t, g.URL+openAPIPath); strings.Contains(document, `"/metrics":`) {
				t.Error("the other listener's document has it")
			}
			own := "http://" + addr
			if found := scrape(t, own); found[`grantd_requests_total{method="GET",route="/",status="404"}`] != 1 {
				t.Error("requests to the other listener aren't counted")
			}
			for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/token": 404, "/users/me": 404, "/admin/v1/users": 404} {
				if status, _ := get(t, own+path); status != want {
					t.Errorf("GET %s for Prometheus: %d, want %d", path, status, want)
				}
			}
			if code := g.Stop(); code != 0 || strings.Contains(g.Stderr(), "plain http on an address") {
				t.Errorf("exit %d\n%s", code, g.Stderr())
			}
			taken := launch{args: []string{command, "--metrics-addr", startDev(t, "--memory").URL[len("http://"):]}, dir: dir, env: env}
			if code, _, stderr := taken.run(t); code != 1 || !strings.Contains(stderr, "hint: if another process uses the address, stop it, or choose another address with metrics_addr") {
				t.Errorf("an address that is taken: exit %d\n%s", code, stderr)
			}
		})
	}
	code, _, stderr := launch{args: []string{"config", "check", "--metrics-addr", "here"}, env: serveEnv}.run(t)
	if code != exitUsage || !strings.Contains(stderr, "metrics_addr: must be host:port") {
		t.Errorf("no address: exit %d\n%s", code, stderr)
	}
}

// Prometheus may use plain http, as probes do.
func TestMetricsBehindATLSProxy(t *testing.T) {
	p := openSite(t, siteConfig(func(c *config) { c.Issuer = "https://login.example" }))
	handler, _ := offered(t, p, func() (handlers, error) { return p.offerAll("") })
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", metricsPath, nil))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "\ngrantd_store_up 1\n") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A refresh that fails because of the store is a 503, and isn't counted as
// refused.
func TestRefusalsAreOfTheClient(t *testing.T) {
	p := openSite(t, siteConfig(func(*config) {}))
	down := &authserver.Error{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable"}
	p.noteOAuth(t.Context(), authserver.Event{GrantType: "refresh_token", Err: down})
	p.noteOAuth(t.Context(), authserver.Event{GrantType: "refresh_token", Err: authserver.ErrInvalidGrant, Act: storage.ActRefresh})
	w := httptest.NewRecorder()
	p.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", metricsPath, nil))
	for _, want := range []string{
		`grantd_refreshes_total{result="refused"} 1`,
		`grantd_oauth_refused_total{error="temporarily_unavailable",grant_type="refresh_token"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s", want)
		}
	}
}

// BenchmarkMetrics measures what counting adds to a request with a single call
// to the store, such as GET /users/me: compare the two.
func BenchmarkMetrics(b *testing.B) {
	m := metrics.New(metrics.Process{})
	q := m.Requests([]string{"/users/me"})
	bare := storage.Store(nothing{})
	counting := watched.Watch(bare, func(_ context.Context, c watched.Call) { m.StoreCalled(c) })
	for _, c := range []struct {
		name     string
		store    storage.Store
		requests *metrics.Requests
	}{{"without", bare, nil}, {"with", counting, q}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					_, _ = c.store.LoadGrant(context.Background(), storage.GrantID{})
					c.requests.Answered("/users/me", "GET", http.StatusOK, time.Millisecond)
				}
			})
		})
	}
}

// nothing is a store that takes no time.
type nothing struct{ storage.Store }

func (nothing) LoadGrant(context.Context, storage.GrantID) (storage.Grant, error) {
	return storage.Grant{}, nil
}
