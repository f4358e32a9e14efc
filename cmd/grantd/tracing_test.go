package main

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// receiver is an OpenTelemetry collector that takes OTLP over HTTP.
type receiver struct {
	*httptest.Server

	mu    sync.Mutex
	spans []*wire.Span
	about map[string]string // attributes of the resource
	raw   []byte            // all that was received
}

func startReceiver(t *testing.T) *receiver {
	t.Helper()
	c := &receiver{about: map[string]string{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %s of %s: %v", r.Method, r.URL.Path, r.Header.Get("Content-Type"), err)
		}
		if err := c.take(body); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *receiver) take(body []byte) error {
	var sent collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &sent); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = append(c.raw, body...)
	for _, resource := range sent.GetResourceSpans() {
		c.about = attributes(resource.GetResource().GetAttributes())
		for _, scope := range resource.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
	return nil
}

// env makes the program send its traces to the receiver.
func (c *receiver) env(more ...string) []string {
	return append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL}, more...)
}

// named returns the spans of that name.
func (c *receiver) named(name string) (found []*wire.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if s.GetName() == name {
			found = append(found, s)
		}
	}
	return found
}

func attributes(pairs []*common.KeyValue) map[string]string {
	found := map[string]string{}
	for _, p := range pairs {
		switch v := p.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			found[p.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			found[p.GetKey()] = strconv.FormatInt(v.IntValue, 10)
		}
	}
	return found
}

const (
	parentTrace = "4bf92f3577b34da6a3ce929d0e0e4736" // W3C Trace Context section 3.2
	parentSpan  = "00f067aa0ba902b7"
)

// traced posts a form as demo with that traceparent and returns the answer's body
// and its request id.
func traced(t *testing.T, base, traceparent string, form url.Values) (body, requestID string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/token?secret-in-the-query=1", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Traceparent", traceparent)
	r.SetBasicAuth("demo", "demo-secret")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), response.Header.Get("X-Request-Id")
}

func TestTraces(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { traces(t, "sqlite", "--memory") })
	t.Run("redis", func(t *testing.T) { traces(t, "redis", "--redis", redistest.Single(t).URL()) })
}

// traces makes a dev server send the traces of one sign-in, and of a request
// with a user's name in its path.
func traces(t *testing.T, system string, args ...string) {
	c := startReceiver(t)
	g := launch{args: append([]string{"dev", "--addr", "127.0.0.1:0"}, args...), env: c.env("OTEL_SERVICE_NAME=login", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment=test")}.start(t)
	body, requestID := traced(t, g.URL, "00-"+parentTrace+"-"+parentSpan+"-01", passwordForm("alice", "secret123", ""))
	if !strings.Contains(body, "access_token") {
		t.Fatal(body)
	}
	_, answer := tokenFor(t, g.URL, "demo-admin", "demo-admin-secret", url.Values{"grant_type": {"client_credentials"}, "scope": {"admin"}})
	admin, _ := answer["access_token"].(string)
	admins(t, g.URL, admin, "GET", "/users/alice", "").want(t, http.StatusOK)
	if code := g.Stop(); code != 0 {
		t.Errorf("exit %d\n%s", code, g.Stderr())
	}

	if c.about["service.name"] != "login" || c.about["deployment.environment"] != "test" || c.about["service.version"] == "" {
		t.Errorf("the resource is %v", c.about)
	}
	server := signInSpan(t, c, requestID)
	c.childrenOf(t, server, system, "store.load_client", "store.load_user", "store.create_grant", "password.wait", "password.hash")
	if len(c.named("GET /admin/v1/users/{username}")) != 1 {
		t.Error("no span of a route with a name in it")
	}
	if !slices.ContainsFunc(strings.Split(g.Stderr(), "\n"), func(line string) bool {
		return strings.Contains(line, "msg=request request_id="+requestID) && strings.Contains(line, " trace_id="+parentTrace+" ")
	}) {
		t.Errorf("the log has no line of the request with its trace\n%s", g.Stderr())
	}
	for _, secret := range []string{"alice", "secret123", "demo", "gat_", "grt_", "usr_", "secret-in", "grantd:", "127.0.0.1", admin[4:]} {
		if strings.Contains(string(c.raw), secret) {
			t.Errorf("%q is in what was sent", secret)
		}
	}
}

// signInSpan returns the span of the request that traced sent.
func signInSpan(t *testing.T, c *receiver, requestID string) *wire.Span {
	t.Helper()
	for _, s := range c.named("POST /token") {
		if hex.EncodeToString(s.GetTraceId()) != parentTrace {
			continue
		}
		got := attributes(s.GetAttributes())
		want := map[string]string{
			"http.request.method": "POST", "http.route": "/token", "http.response.status_code": "200",
			"grantd.request_id": requestID, "grantd.grant_type": "password",
		}
		for key, value := range want {
			if got[key] != value {
				t.Errorf("%s is %q, want %q", key, got[key], value)
			}
		}
		if len(got) != len(want) || hex.EncodeToString(s.GetParentSpanId()) != parentSpan || s.GetKind() != wire.Span_SPAN_KIND_SERVER {
			t.Errorf("the span is %v", s)
		}
		return s
	}
	t.Fatal("no span of the request")
	return nil
}

// childrenOf checks that the server's span has children of these names, and
// that they are within its time.
func (c *receiver) childrenOf(t *testing.T, server *wire.Span, system string, names ...string) {
	t.Helper()
	for _, name := range names {
		i := slices.IndexFunc(c.named(name), func(s *wire.Span) bool { return string(s.GetParentSpanId()) == string(server.GetSpanId()) })
		if i < 0 {
			t.Errorf("the request has no span %s", name)
			continue
		}
		s := c.named(name)[i]
		if s.GetStartTimeUnixNano() < server.GetStartTimeUnixNano() || s.GetEndTimeUnixNano() > server.GetEndTimeUnixNano() || s.GetEndTimeUnixNano() < s.GetStartTimeUnixNano() {
			t.Errorf("%s isn't within the request", name)
		}
		stored := strings.HasPrefix(name, "store.")
		if got := attributes(s.GetAttributes())["db.system.name"]; stored && got != system || !stored && got != "" {
			t.Errorf("%s: the database is %q", name, got)
		}
	}
}

func TestTracesAreOffUnlessAskedFor(t *testing.T) {
	c := startReceiver(t)
	for name, env := range map[string][]string{
		"without variables": nil,
		"disabled":          c.env("OTEL_SDK_DISABLED=true"),
		"no exporter":       c.env("OTEL_TRACES_EXPORTER=none"),
	} {
		t.Run(name, func(t *testing.T) {
			g := launch{args: []string{"dev", "--addr", "127.0.0.1:0", "--memory"}, env: env}.start(t)
			traced(t, g.URL, "00-"+parentTrace+"-"+parentSpan+"-01", passwordForm("alice", "secret123", ""))
			if code := g.Stop(); code != 0 || strings.Contains(g.Stderr(), "trace") {
				t.Errorf("exit %d\n%s", code, g.Stderr())
			}
		})
	}
	if len(c.raw) != 0 {
		t.Errorf("%d bytes were sent", len(c.raw))
	}
}

// By default a request is sampled if its parent is. The environment variables
// may name another sampler.
func TestTracesAreSampled(t *testing.T) {
	c := startReceiver(t)
	for name, run := range map[string]struct {
		env   []string
		flags string
	}{
		"the parent isn't sampled": {flags: "-00"},
		"none is":                  {flags: "-01", env: []string{"OTEL_TRACES_SAMPLER=always_off"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := launch{args: []string{"dev", "--addr", "127.0.0.1:0", "--memory"}, env: c.env(run.env...)}.start(t)
			traced(t, g.URL, "00-"+parentTrace+"-"+parentSpan+run.flags, passwordForm("alice", "secret123", ""))
			g.Stop()
			if !strings.Contains(g.Stderr(), " trace_id="+parentTrace+" ") {
				t.Errorf("the log lacks the trace that others may have\n%s", g.Stderr())
			}
		})
	}
	if spans := c.named("POST /token"); len(spans) != 0 {
		t.Errorf("sent %v", spans)
	}
}

// A request with an invalid traceparent begins a trace of its own.
func TestBrokenTraceparent(t *testing.T) {
	c := startReceiver(t)
	g := launch{args: []string{"dev", "--addr", "127.0.0.1:0", "--memory"}, env: c.env()}.start(t)
	broken := []string{"", "x", "00-" + strings.Repeat("0", 32) + "-" + parentSpan + "-01", "00-" + parentTrace + "-" + parentSpan, strings.Repeat("a", 4000)}
	for _, text := range broken {
		traced(t, g.URL, text, passwordForm("alice", "secret123", ""))
	}
	g.Stop()
	spans := c.named("POST /token")
	for _, s := range spans {
		if len(s.GetParentSpanId()) != 0 || len(s.GetTraceId()) != 16 || hex.EncodeToString(s.GetTraceId()) == parentTrace {
			t.Errorf("the span is %v", s)
		}
	}
	if len(spans) != len(broken) {
		t.Errorf("%d spans of %d requests", len(spans), len(broken))
	}
}

// Whatever is wrong with the collector, requests are answered as they are
// without it, and the process stops when it is told to.
func TestACollectorHurtsNobody(t *testing.T) {
	closed := "http://127.0.0.1:" + freePort(t)
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no\nforged=line", http.StatusInternalServerError)
	}))
	defer failing.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, endpoint := range map[string]string{"is gone": closed, "fails": failing.URL, "hangs": "http://" + silent.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint, "OTEL_BSP_SCHEDULE_DELAY=10", "OTEL_BSP_MAX_QUEUE_SIZE=8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=4"}
			g := launch{args: []string{"dev", "--addr", "127.0.0.1:0", "--memory"}, env: env}.start(t)
			for range 50 { // more than the queue takes
				if status, body := get(t, g.URL+"/livez"); status != http.StatusOK {
					t.Fatalf("%d %s", status, body)
				}
			}
			began := time.Now()
			if code := g.Stop(); code != 0 {
				t.Errorf("exit %d\n%s", code, g.Stderr())
			}
			if took := time.Since(began); took > defaultConfig().ShutdownTimeout {
				t.Errorf("ending took %v", took)
			}
			if n := strings.Count(g.Stderr(), "traces can't be sent"); n > 1 || strings.Contains(g.Stderr(), "\nforged") {
				t.Errorf("the log tells of it %d times\n%s", n, g.Stderr())
			}
			if !strings.Contains(g.Stderr(), "traces") {
				t.Errorf("the log doesn't tell of it\n%s", g.Stderr())
			}
		})
	}
}

// The same request id is in the answer, the log, the audit trail and the trace.
func TestRequestIDEverywhere(t *testing.T) {
	c := startReceiver(t)
	g := launch{args: []string{"dev", "--addr", "127.0.0.1:0", "--memory"}, env: c.env()}.start(t)
	_, id := traced(t, g.URL, "", passwordForm("alice", "secret123", ""))
	_, answer := tokenFor(t, g.URL, "demo-admin", "demo-admin-secret", url.Values{"grant_type": {"client_credentials"}, "scope": {"admin"}})
	admin, _ := answer["access_token"].(string)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) { // the trail is written in the background
		a := admins(t, g.URL, admin, "GET", "/audit?action=signin", "").want(t, http.StatusOK)
		if strings.Contains(a.body, `"request_id":"`+id+`"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the trail hasn't %s: %s", id, a.body)
		}
	}
	problem := admins(t, g.URL, admin, "GET", "/users/nobody", "").want(t, http.StatusNotFound)
	var told struct {
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal([]byte(problem.body), &told); err != nil || told.RequestID == "" || told.RequestID != problem.header.Get("X-Request-Id") {
		t.Errorf("the problem is %s, the header %q", problem.body, problem.header.Get("X-Request-Id"))
	}
	g.Stop()
	for _, want := range []struct{ id, span, line string }{
		{id, "POST /token", "msg=request request_id=" + id},
		{id, "POST /token", "msg=audit action=signin"},
		{told.RequestID, "GET /admin/v1/users/{username}", "msg=request request_id=" + told.RequestID},
	} {
		if !slices.ContainsFunc(c.named(want.span), func(s *wire.Span) bool { return attributes(s.GetAttributes())["grantd.request_id"] == want.id }) {
			t.Errorf("no span %s with the id %s", want.span, want.id)
		}
		if !slices.ContainsFunc(strings.Split(g.Stderr(), "\n"), func(line string) bool {
			return strings.Contains(line, want.line) && strings.Contains(line, "request_id="+want.id)
		}) {
			t.Errorf("no line %q with the id %s", want.line, want.id)
		}
	}
}
