package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/grantd/grantd/authserver"
)

// observed sends r through observe and returns the answer and the log.
func observed(t testing.TB, h http.HandlerFunc, r *http.Request, trusted ...string) (*httptest.ResponseRecorder, string) {
	t.Helper()
	var log bytes.Buffer
	o := &observer{log: slog.New(slog.NewJSONHandler(&log, nil)), proxies: mustProxies(t, trusted...)}
	mux := http.NewServeMux()
	mux.Handle("/token", h)
	w := httptest.NewRecorder()
	o.wrap(mux).ServeHTTP(w, r)
	return w, log.String()
}

func line(t testing.TB, log string) map[string]any {
	t.Helper()
	if strings.Count(log, "\n") != 1 {
		t.Fatalf("want one line, got %q", log)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(log), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestEveryRequestIsOneLine(t *testing.T) {
	r := httptest.NewRequest("POST", "/token?access_token=in-the-query", strings.NewReader("password=in-the-body"))
	r.Header.Set("Authorization", "Bearer in-the-header")
	r.Header.Set("User-Agent", "in-the-agent")
	w, log := observed(t, func(w http.ResponseWriter, r *http.Request) {
		noteEvent(r.Context(), authserver.Event{ClientID: "web", GrantType: "password", Err: authserver.ErrInvalidGrant})
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, "12345")
	}, r)

	m := line(t, log)
	for key, want := range map[string]any{
		"level": "INFO", "msg": "request", "method": "POST", "route": "/token", "status": 400.0, "bytes": 5.0,
		"remote": "192.0.2.1", "client_id": "web", "grant_type": "password", "error": "invalid_grant",
		"request_id": w.Header().Get("X-Request-Id"),
	} {
		if m[key] != want {
			t.Errorf("%s is %v, want %v", key, m[key], want)
		}
	}
	if d, ok := m["duration_ms"].(float64); !ok || d < 0 {
		t.Errorf("duration_ms is %v", m["duration_ms"])
	}
	if m["time"] == nil {
		t.Error("no time")
	}
	if strings.Contains(log, "in-the-") {
		t.Errorf("the line holds something of the request: %s", log)
	}
}

// A 503 that the client didn't wait for must not count as a fault of the
// server, since faults raise alerts. Any other 5xx must.
func TestAClientThatWentAwayIsNoFaultOfTheServer(t *testing.T) {
	for _, tt := range []struct {
		gone   bool
		answer int
		status float64
		level  string
	}{{true, 503, 499, "INFO"}, {false, 503, 503, "ERROR"}, {true, 500, 500, "ERROR"}, {true, 200, 200, "INFO"}} {
		ctx, leave := context.WithCancel(t.Context())
		_, log := observed(t, func(w http.ResponseWriter, _ *http.Request) {
			if tt.gone {
				leave()
			}
			w.WriteHeader(tt.answer)
		}, httptest.NewRequestWithContext(ctx, "GET", "/token", nil))
		leave()
		if m := line(t, log); m["status"] != tt.status || m["level"] != tt.level {
			t.Errorf("gone %v, answered %d: %s", tt.gone, tt.answer, log)
		}
	}
}

func TestServerErrorsAreLoggedAsErrors(t *testing.T) {
	_, log := observed(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, httptest.NewRequest("GET", "/token", nil))
	if m := line(t, log); m["level"] != "ERROR" || m["status"] != 503.0 {
		t.Errorf("level %v, status %v", m["level"], m["status"])
	}
}

func TestNothingInALineCanForgeAnother(t *testing.T) {
	forged := "x\n{\"msg\":\"request\"}\r\x1b[2J\u202e\x00"
	r := httptest.NewRequest("GET", "/token", nil)
	r.Method = "GET\nFORGED"
	for _, format := range []string{"json", "text"} {
		var log bytes.Buffer
		o := &observer{log: newLogger(&log, logConfig{Level: "info", Format: format})}
		o.wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			noteEvent(r.Context(), authserver.Event{ClientID: forged, GrantType: forged, Err: errors.New(forged)})
		})).ServeHTTP(httptest.NewRecorder(), r)
		text := strings.TrimSuffix(log.String(), "\n")
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u202e' }) {
			t.Errorf("%s: control characters in %q", format, text)
		}
		if !strings.Contains(text, "OTHER") || strings.Contains(text, "FORGED") {
			t.Errorf("%s: an unknown method must read OTHER: %s", format, text)
		}
	}
}

func TestRequestID(t *testing.T) {
	fresh := regexp.MustCompile(`^[A-Za-z0-9_-]{16}$`)
	long := strings.Repeat("a", 65)
	tests := []struct {
		name, peer, given string
		kept              bool
	}{
		{"from a trusted proxy", "10.0.0.1:1", "abc.DEF_1-2", true},
		{"from a stranger", "198.51.100.7:1", "abc", false},
		{"too long", "10.0.0.1:1", long, false},
		{"with other characters", "10.0.0.1:1", "a b", false},
		{"with a newline", "10.0.0.1:1", "a\nb", false},
		{"empty", "10.0.0.1:1", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/token", nil)
			r.RemoteAddr = tt.peer
			r.Header.Set("X-Request-Id", tt.given)
			w, log := observed(t, func(http.ResponseWriter, *http.Request) {}, r, "10.0.0.1")
			got := w.Header().Get("X-Request-Id")
			if tt.kept && got != tt.given || !tt.kept && !fresh.MatchString(got) {
				t.Errorf("echoed %q", got)
			}
			if m := line(t, log); m["request_id"] != got {
				t.Errorf("logged %v, echoed %q", m["request_id"], got)
			}
		})
	}
}

func TestPanicIsAnsweredAndLoggedOnce(t *testing.T) {
	w, log := observed(t, func(http.ResponseWriter, *http.Request) { panic("boom") }, httptest.NewRequest("GET", "/token", nil))
	if w.Code != 500 || w.Body.String() != `{"error":"server_error","error_description":"The server met an unexpected condition."}` {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
	m := line(t, log)
	stack, _ := m["stack"].(string)
	if m["level"] != "ERROR" || m["panic"] != "boom" || m["route"] != "/token" || !strings.Contains(stack, "TestPanicIsAnsweredAndLoggedOnce") {
		t.Errorf("logged %v", m)
	}
}

func TestPanicWithSomethingOfTheRequestIsLoggedByItsType(t *testing.T) {
	_, log := observed(t, func(http.ResponseWriter, *http.Request) {
		panic(errors.New("parsing hunter2"))
	}, httptest.NewRequest("GET", "/token", nil))
	t.Run("9700-4.9.3-01 PW-OWASP-authn-04 a panic tells no secret", func(t *testing.T) {
		if strings.Contains(log, "hunter2") || line(t, log)["panic"] == nil {
			t.Errorf("logged %s", log)
		}
	})
}

func TestPanicAfterTheHeaderCutsTheConnection(t *testing.T) {
	var log lockedBuffer
	o := &observer{log: slog.New(slog.NewJSONHandler(&log, nil))}
	s := httptest.NewServer(o.wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush()
		panic("boom")
	})))
	defer s.Close()
	resp, err := http.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the half answer was taken for a whole one")
	}
	s.Close() // waits for the handler
	line(t, log.String())
}

func TestNotesOutsideARequestAreDropped(t *testing.T) {
	note(context.Background(), errors.New("x"))
	noteEvent(context.Background(), authserver.Event{})
	if remoteAddr(httptest.NewRequest("GET", "/", nil)).IsValid() {
		t.Error("an address out of nowhere")
	}
}

// BenchmarkObserve measures what the log costs a request: compare on with off,
// and with the bare handler.
func BenchmarkObserve(b *testing.B) {
	empty := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	for _, c := range []struct {
		name string
		h    http.Handler
	}{
		{"bare", empty},
		{"log=json", (&observer{log: newLogger(io.Discard, logConfig{"info", "json"})}).wrap(empty)},
		{"log=text", (&observer{log: newLogger(io.Discard, logConfig{"info", "text"})}).wrap(empty)},
		{"log=off", (&observer{log: newLogger(io.Discard, logConfig{"error", "json"})}).wrap(empty)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			r := httptest.NewRequest("GET", "/users/me", nil)
			w := &discard{h: http.Header{}}
			for b.Loop() {
				c.h.ServeHTTP(w, r)
			}
		})
	}
}

type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}
