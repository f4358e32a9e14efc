package metrics_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/internal/metrics"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/watched"
)

func newMetrics() *metrics.Metrics {
	no := func() bool { return false }
	return metrics.New(metrics.Process{
		Version: "v1.2.3", StoreUp: func() bool { return true }, Ready: no, StoreState: func() storage.HealthState { return storage.Full },
		Hashing: func() (int, int) { return 2, 3 }, AuditWaiting: func() int { return 4 },
		CertificateEnd: func() time.Time { return time.Unix(1800000000, 0) },
	})
}

// scrape returns what Prometheus reads: the series with their values, without
// buckets.
func scrape(t testing.TB, m *metrics.Metrics) map[string]string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain; version=0.0.4") || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	found := map[string]string{}
	for lines := bufio.NewScanner(w.Body); lines.Scan(); {
		if line := lines.Text(); !strings.HasPrefix(line, "#") {
			i := strings.LastIndexByte(line, ' ')
			found[line[:i]] = line[i+1:]
		}
	}
	return found
}

func wantSeries(t *testing.T, got, want map[string]string) {
	t.Helper()
	for series, value := range want {
		if got[series] != value {
			t.Errorf("%s is %q, want %s", series, got[series], value)
		}
	}
}

func TestEveryAnswerIsCounted(t *testing.T) {
	m := newMetrics()
	q := m.Requests([]string{"/token", "/users/me"})
	q.Answered("/token", "POST", 200, 30*time.Millisecond)
	q.Answered("/token", "POST", 200, 30*time.Millisecond)
	q.Answered("/token", "BREW\n", 405, time.Millisecond)
	q.Answered("/users/me", "GET", 299, time.Millisecond)
	q.Answered("/users/alice", "GET", 404, time.Millisecond)
	wantSeries(t, scrape(t, m), map[string]string{
		`grantd_requests_total{method="POST",route="/token",status="200"}`:           "2",
		`grantd_requests_total{method="OTHER",route="/token",status="405"}`:          "1",
		`grantd_requests_total{method="GET",route="/users/me",status="other"}`:       "1",
		`grantd_requests_total{method="GET",route="other",status="404"}`:             "1",
		`grantd_request_duration_seconds_count{route="/token"}`:                      "3",
		`grantd_request_duration_seconds_bucket{route="/token",le="0.025"}`:          "1",
		`grantd_request_duration_seconds_bucket{route="/token",le="0.05"}`:           "3",
		`grantd_request_duration_seconds_bucket{route="/users/me",le="0.001"}`:       "1",
		`grantd_request_duration_seconds_bucket{route="other",le="+Inf"}`:            "1",
		`grantd_requests_total{method="GET",route="/users/alice",status="404"}`:      "",
		`grantd_request_duration_seconds_bucket{route="/users/alice",le="+Inf"}`:     "",
		`grantd_requests_total{method="POST",route="/users/me",status="200"}`:        "",
		`grantd_requests_total{method="GET",route="/users/me",status="299"}`:         "",
		`grantd_build_info{go_version="` + runtime.Version() + `",version="v1.2.3"}`: "1",
		`grantd_store_up`: "1", `grantd_ready`: "0", `grantd_store_state{state="full"}`: "1", `grantd_store_state{state="ok"}`: "0",
		`grantd_password_hash_running`: "2", `grantd_password_hash_waiting`: "3", `grantd_audit_events_waiting`: "4", `grantd_tls_certificate_not_after_seconds`: "1.8e+09",
	})
}

// Two listeners may have the same routes, and many requests come at once.
func TestSeriesAreShared(t *testing.T) {
	m := newMetrics()
	one, two := m.Requests([]string{"/livez"}), m.Requests([]string{"/livez"})
	const each = 500
	var wg sync.WaitGroup
	for _, q := range []*metrics.Requests{one, two, one, two} {
		wg.Go(func() {
			for range each {
				q.Answered("/livez", "GET", 200, time.Microsecond)
				m.StoreCalled(watched.Call{Method: watched.Ping, Took: time.Microsecond})
			}
		})
	}
	wg.Wait()
	wantSeries(t, scrape(t, m), map[string]string{
		`grantd_requests_total{method="GET",route="/livez",status="200"}`: fmt.Sprint(4 * each),
		`grantd_request_duration_seconds_count{route="/livez"}`:           fmt.Sprint(4 * each),
		`grantd_store_call_duration_seconds_count{operation="ping"}`:      fmt.Sprint(4 * each),
	})
}

func TestFailuresOfTheStoreHaveAKind(t *testing.T) {
	for _, c := range []struct {
		err  error
		kind string
	}{
		{nil, ""},
		{storage.ErrNotFound, ""},
		{storage.ErrExists, ""},
		{storage.ErrConflict, "conflict"},
		{storage.ErrRevoked, "revoked"},
		{storage.ErrUnavailable, "unavailable"},
		{fmt.Errorf("%w: %w", storage.ErrUnavailable, context.DeadlineExceeded), "timeout"},
		{fmt.Errorf("%w: %w", storage.ErrUnavailable, context.Canceled), "canceled"},
		{errors.New("dial redis:6379 as grantd"), "other"},
	} {
		m := newMetrics()
		m.StoreCalled(watched.Call{Method: watched.SwapGrant, Took: 3 * time.Millisecond, Err: c.err})
		got := scrape(t, m)
		want := map[string]string{
			`grantd_store_call_duration_seconds_bucket{operation="swap_grant",le="0.0025"}`: "0",
			`grantd_store_call_duration_seconds_bucket{operation="swap_grant",le="0.005"}`:  "1",
		}
		if c.kind != "" {
			want[`grantd_store_errors_total{kind="`+c.kind+`",operation="swap_grant"}`] = "1"
		}
		wantSeries(t, got, want)
		for series := range got {
			if c.kind == "" && strings.HasPrefix(series, "grantd_store_errors_total") {
				t.Errorf("%v is counted as %s", c.err, series)
			}
		}
	}
}

// Exactly one state of the store has the value 1 at any time.
func TestTheStoreIsInOneState(t *testing.T) {
	states := []storage.HealthState{storage.Healthy, storage.Evicting, storage.Full, storage.Refusing, storage.Partial, storage.ReadOnly, storage.Down}
	for i, now := range states {
		looks := 0
		m := metrics.New(metrics.Process{
			StoreUp: func() bool { return true }, Ready: func() bool { return true },
			StoreState: func() storage.HealthState { looks++; return states[(i+looks-1)%len(states)] },
			Hashing:    func() (int, int) { return 0, 0 }, AuditWaiting: func() int { return 0 },
		})
		want := map[string]string{}
		for _, state := range states {
			want[`grantd_store_state{state="`+string(state)+`"}`] = "0"
		}
		want[`grantd_store_state{state="`+string(now)+`"}`] = "1"
		wantSeries(t, scrape(t, m), want)
		if looks != 1 {
			t.Errorf("a scrape looked %d times", looks)
		}
	}
}

// A series has only labels that are known beforehand, whatever values are
// reported.
func TestLabelsAreBounded(t *testing.T) {
	m := newMetrics()
	for _, text := range []string{"alice", "gat_secret", "x\ny"} {
		m.Issued(text)
		m.Revoked(storage.AuditAction(text))
		m.OAuthRefused(text, text)
		m.BearerRefused(text)
	}
	got := scrape(t, m)
	wantSeries(t, got, map[string]string{
		`grantd_grants_issued_total{grant_type="other"}`:               "3",
		`grantd_revocations_total{cause="other"}`:                      "3",
		`grantd_oauth_refused_total{error="other",grant_type="other"}`: "3",
		`grantd_bearer_refused_total{error="other"}`:                   "3",
	})
	for series := range got {
		if strings.Contains(series, "alice") || strings.Contains(series, "gat_") {
			t.Errorf("there is a series %s", series)
		}
	}
}

func TestActsAreCounted(t *testing.T) {
	m := newMetrics()
	m.Issued("password")
	m.Refreshed(metrics.Rotated)
	m.Revoked(storage.ActUserDelete)
	m.OAuthRefused("password", metrics.Throttled)
	m.Audited(storage.AuditEvent{Action: storage.ActThrottleOn, Outcome: storage.Success})
	m.Audited(storage.AuditEvent{Action: storage.ActThrottleOff, Outcome: storage.Accepted})
	m.Audited(storage.AuditEvent{Action: storage.ActThrottleOff, Outcome: storage.Failure})
	m.Audited(storage.AuditEvent{Action: storage.ActSignIn, Outcome: storage.Success})
	m.Hashed(time.Millisecond, 30*time.Millisecond, false)
	m.Hashed(time.Second, 0, true)
	m.AuditWritten(128)
	m.AuditLost(2)
	wantSeries(t, scrape(t, m), map[string]string{
		`grantd_grants_issued_total{grant_type="password"}`:                   "1",
		`grantd_refreshes_total{result="rotated"}`:                            "1",
		`grantd_revocations_total{cause="user.delete"}`:                       "1",
		`grantd_oauth_refused_total{error="throttled",grant_type="password"}`: "1",
		`grantd_throttle_changes_total{change="on"}`:                          "1",
		`grantd_throttle_changes_total{change="off"}`:                         "1",
		`grantd_password_hash_duration_seconds_count`:                         "1",
		`grantd_password_hash_wait_seconds_bucket{le="0.0025"}`:               "1",
		`grantd_password_hash_busy_total`:                                     "1",
		`grantd_audit_events_written_total`:                                   "128",
		`grantd_audit_events_lost_total`:                                      "2",
	})
}

// request counts one request, through all hooks that a request passes.
func request(m *metrics.Metrics, q *metrics.Requests) {
	q.Answered("/users/me", "GET", 200, 60*time.Microsecond)
	m.StoreCalled(watched.Call{Method: watched.LoadGrant, Took: 40 * time.Microsecond})
}

func TestCountingARequestAllocatesNothing(t *testing.T) {
	m := newMetrics()
	q := m.Requests([]string{"/token", "/users/me"})
	if n := testing.AllocsPerRun(1000, func() { request(m, q) }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

// BenchmarkRequest measures the cost of counting for a request that asks the
// store once.
func BenchmarkRequest(b *testing.B) {
	m := newMetrics()
	q := m.Requests([]string{"/token", "/users/me"})
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			request(m, q)
		}
	})
}

// An alert on a rare event would miss the first one if the series began with 1.
func TestRareSeriesBeginAtZero(t *testing.T) {
	wantSeries(t, scrape(t, newMetrics()), map[string]string{
		`grantd_refreshes_total{result="reused"}`:         "0",
		`grantd_throttle_changes_total{change="on"}`:      "0",
		`grantd_revocations_total{cause="refresh.reuse"}`: "0",
		`grantd_password_hash_busy_total`:                 "0",
		`grantd_audit_events_lost_total`:                  "0",
	})
}
