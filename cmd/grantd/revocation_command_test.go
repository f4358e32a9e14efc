package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// sweeping is a server that answers so many times that its sweep goes on. After
// that the sweep is complete, or if fails is set, the server can't be asked any
// more.
func sweeping(t *testing.T, answers int32, fails bool) (env []string, asked *atomic.Int32) {
	asked = &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ended := asked.Add(1)
		status := "sweeping"
		switch {
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusAccepted)
		case r.URL.Path != "/admin/v1/revocations/rev_1":
			t.Errorf("asked for %s", r.URL.Path)
		case ended > answers && fails:
			w.WriteHeader(http.StatusBadGateway)
		case ended > answers:
			status = "complete"
		}
		fmt.Fprintf(w, `{"id":"rev_1","target":{"user":"alice"},"requested":"2026-01-31T12:00:00Z","by":"admin","status":%q,
			"grants":{"expected":%d,"ended":%d}}`, status, answers, ended)
	}))
	t.Cleanup(s.Close)
	return []string{"GRANTD_SERVER=" + s.URL, "GRANTD_TOKEN=gat_x"}, asked
}

func TestRevokeWaitsForTheSweep(t *testing.T) {
	env, asked := sweeping(t, 4, false)
	out := must(t, launch{args: []string{"grant", "revoke", "--user", "alice"}, env: env})
	if asked.Load() != 5 || !strings.Contains(out, "complete\n") || !strings.Contains(out, "grants_ended  5\n") {
		t.Errorf("asked %d times: %s", asked.Load(), out)
	}
}

func TestRevokeNeedNotWait(t *testing.T) {
	env, asked := sweeping(t, 4, false)
	out := must(t, launch{args: []string{"grant", "revoke", "--user", "alice", "--no-wait"}, env: env})
	if asked.Load() != 1 || !strings.Contains(out, "sweeping\n") {
		t.Errorf("asked %d times: %s", asked.Load(), out)
	}
}

// If the command loses track of the sweep, it has to say that the grants are
// dead already.
func TestRevokeThatLosesSightOfTheSweep(t *testing.T) {
	env, _ := sweeping(t, 2, true)
	code, stdout, stderr := launch{args: []string{"grant", "revoke", "--user", "alice"}, env: env}.run(t)
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, "the grants are ended, but") || !strings.Contains(stderr, "hint: grantd revocation show rev_1") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
}

// A search for survivors that takes long is answered 503 and goes on, and the
// receipt has its result. A surviving grant makes the command fail.
func TestVerifyingThatTakesLong(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		verified := `,"verified":{"at":"2026-01-31T12:00:00Z","survivors":0}`
		switch n := asked.Add(1); {
		case (n == 2) != (r.URL.RawQuery == "verify=true"):
			t.Errorf("question %d: %s", n, r.URL)
		case n == 2:
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Retry-After", "10")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"type":"urn:grantd:problem:unavailable","title":"x"}`)
			return
		case n == 3:
			verified = `,"verified":{"at":"2026-01-31T12:05:00Z","survivors":1}`
		}
		fmt.Fprintf(w, `{"id":"rev_1","target":{"user":"alice"},"requested":"2026-01-31T11:00:00Z","by":"admin","status":"complete","grants":{"ended":1}%s}`, verified)
	}))
	defer s.Close()
	l := launch{args: []string{"revocation", "show", "rev_1", "--verify"}, env: []string{"GRANTD_SERVER=" + s.URL, "GRANTD_TOKEN=gat_x"}}
	code, stdout, stderr := l.run(t)
	if code != exitFailed || !strings.Contains(stdout, "survivors     1\n") || !strings.Contains(stderr, "grantd: 1 grant survived\n") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
}

// An empty Redis, as after a loss of data or with a wrong database, isn't taken for the
// store, and nothing is written to it.
func TestAnEmptyRedisIsNotTakenForTheStore(t *testing.T) {
	redis := redistest.Single(t)
	env := append([]string{"GRANTD_REDIS_URL=" + redis.URL()}, serveEnv...)
	for _, args := range [][]string{{"grant", "revoke", "--all", "--yes"}, {"user", "list"}, {"audit", "list"}, {"key", "rotate"}} {
		code, stdout, stderr := launch{args: args, env: env}.run(t)
		if code != 1 || stdout != "" || !strings.Contains(stderr, "grantd: the store is empty\nhint: ") {
			t.Errorf("%q: exit %d\n%s%s", args, code, stdout, stderr)
		}
	}
	if n := redis.Client().DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys were written", n)
	}
	must(t, launch{args: []string{"user", "add", "alice", "--password-file", writeFile(t, "pw", "correct horse battery")}, env: env})
	must(t, launch{args: []string{"grant", "revoke", "--all", "--yes"}, env: env})
}
