package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

// listening serves h with those limits and returns its address.
func listening(t *testing.T, h http.Handler, l limits) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newHTTPServer(h, l, slog.New(slog.DiscardHandler))
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	return ln.Addr().String()
}

// testRoutes are the routes with a token endpoint that answers "token".
func testRoutes() http.Handler {
	h := handlers{
		health: &health{check: func(context.Context) storage.Health { return storage.Health{State: storage.Healthy} }},
		oauth: map[string]http.Handler{"/token": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			io.WriteString(w, "token")
		})},
	}
	o := &observer{log: slog.New(slog.DiscardHandler)}
	return o.wrap(closeChunked(h.routes(func(next http.Handler) http.Handler { return next })))
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(15 * time.Second))
	return c
}

func TestUnknownAndUntidyPathsAreNotFound(t *testing.T) {
	for _, target := range []string{
		"/", "/nope", "/token/", "//token", "/x/../token", "/./token", "/users/me/", "/users", "/users/me",
		"/%2e%2e/token", "/users%2Fme", "/livez/", "*",
	} {
		t.Run("6749-5.2-18 POST "+target, func(t *testing.T) {
			r := httptest.NewRequest("POST", target, nil)
			w := httptest.NewRecorder()
			testRoutes().ServeHTTP(w, r)
			if w.Code != 404 || w.Body.String() != `{"error":"not_found","error_description":"There is nothing at this path."}` || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
			}
		})
	}
}

func TestABigBodyIsAnErrorLikeOthers(t *testing.T) {
	r := httptest.NewRequest("POST", "/token", strings.NewReader(strings.Repeat("x", maxBody+1)))
	w := httptest.NewRecorder()
	testRoutes().ServeHTTP(w, r)
	t.Run("6749-5.2-18 in JSON", func(t *testing.T) {
		if w.Code != 413 || w.Body.String() != `{"error":"invalid_request","error_description":"The body is larger than 32 KiB."}` || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
	})
	t.Run("6749-5.2-19 that no cache keeps", func(t *testing.T) {
		if got := w.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control is %q", got)
		}
	})
}

func TestHealthTakesReadsOnly(t *testing.T) {
	for _, path := range []string{"/livez", "/readyz"} {
		w := httptest.NewRecorder()
		testRoutes().ServeHTTP(w, httptest.NewRequest("POST", path, nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: %d, Allow %q", path, w.Code, w.Header().Get("Allow"))
		}
	}
}

func TestReadiness(t *testing.T) {
	var store atomic.Value
	var checks atomic.Int32
	h := &health{check: func(context.Context) storage.Health {
		checks.Add(1)
		return store.Load().(storage.Health)
	}}
	want := func(what, want string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ready(w, httptest.NewRequest("GET", "/readyz", nil))
		if got := fmt.Sprint(w.Code, " ", w.Body); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
		if again := w.Header().Get("Retry-After"); (again == "1") != (w.Code == 503) {
			t.Errorf("%s: Retry-After %q", what, again)
		}
	}
	store.Store(storage.Health{State: storage.Healthy})
	want("before the start", `503 {"status":"unavailable","reason":"starting"}`)
	h.started.Store(true)
	const good = `200 {"status":"ready","store":"ok","circuit":"closed"}`
	want("started", good)
	store.Store(storage.Health{State: storage.Down, Open: true})
	want("within a second of a good check", good)
	if n := checks.Load(); n != 1 {
		t.Errorf("%d checks within a second, want 1", n)
	}
	for _, tt := range []struct {
		store storage.Health
		want  string
	}{
		{storage.Health{State: storage.Down, Open: true}, `503 {"status":"unavailable","reason":"store","store":"down","circuit":"open"}`},
		{storage.Health{State: storage.Down}, `503 {"status":"unavailable","reason":"store","store":"down","circuit":"closed"}`},
		{storage.Health{State: storage.ReadOnly}, `503 {"status":"unavailable","reason":"store","store":"read-only","circuit":"closed"}`},
		{storage.Health{State: storage.Evicting}, `200 {"status":"ready","store":"evicting","circuit":"closed"}`},
		{storage.Health{State: storage.Full}, `200 {"status":"ready","store":"full","circuit":"closed"}`},
		{storage.Health{State: storage.Refusing}, `200 {"status":"ready","store":"refusing","circuit":"closed"}`},
		{storage.Health{State: storage.Partial, Open: true}, `200 {"status":"ready","store":"partial","circuit":"open"}`},
	} {
		store.Store(tt.store)
		h.checked = time.Now().Add(-checkLife)
		want(fmt.Sprint(tt.store), tt.want)
	}
	store.Store(storage.Health{State: storage.Down})
	h.checked = time.Now().Add(-checkLife)
	want("down", `503 {"status":"unavailable","reason":"store","store":"down","circuit":"closed"}`)
	store.Store(storage.Health{State: storage.Healthy})
	h.checked = h.checked.Add(-downLife)
	want("back soon after", good)
	h.stopping.Store(true)
	want("stopping", `503 {"status":"unavailable","reason":"stopping"}`)

	w := httptest.NewRecorder()
	h.live(w, httptest.NewRequest("GET", "/livez", nil))
	if w.Code != 200 {
		t.Errorf("/livez: %d; a store that is down is no reason to restart", w.Code)
	}
}

func TestSlowHeadersAreCutOff(t *testing.T) {
	l := defaultLimits
	l.header = 200 * time.Millisecond
	addr := listening(t, testRoutes(), l)
	began := time.Now() // the server's clock starts with the connection
	c := dial(t, addr)
	io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	io.Copy(io.Discard, c)
	if took := time.Since(began); took < l.header || took > 5*time.Second {
		t.Errorf("closed after %s, want about %s", took, l.header)
	}
}

func TestSlowBodiesAreCutOff(t *testing.T) {
	l := defaultLimits
	l.read = 200 * time.Millisecond
	addr := listening(t, testRoutes(), l)
	began := time.Now()
	c := dial(t, addr)
	io.WriteString(c, "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
	io.Copy(io.Discard, c)
	if took := time.Since(began); took < l.read || took > 5*time.Second {
		t.Errorf("closed after %s, want about %s", took, l.read)
	}
}

func TestLimits(t *testing.T) {
	want := limits{5 * time.Second, 10 * time.Second, 30 * time.Second, 60 * time.Second, 16 << 10}
	if defaultLimits != want {
		t.Errorf("limits %+v, want %+v", defaultLimits, want)
	}
	c := dial(t, listening(t, testRoutes(), defaultLimits))
	go io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: x\r\nX-Big: "+strings.Repeat("a", 64<<10)+"\r\n\r\n")
	status, _ := bufio.NewReader(c).ReadString('\n')
	if !strings.Contains(status, " 431 ") {
		t.Errorf("64 KiB of headers: %q, want 431", status)
	}
}

// RFC 9112 section 6.1: a request with both Content-Length and
// Transfer-Encoding may be request smuggling; the connection must end after it.
func TestTransferEncodingEndsTheConnection(t *testing.T) {
	addr := listening(t, testRoutes(), defaultLimits)
	smuggled := "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, head := range map[string]string{
		"chunked":                    "Transfer-Encoding: chunked\r\n",
		"chunked and Content-Length": "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
		"Content-Length and chunked": "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
	} {
		for _, path := range []string{"/token", "/nope"} {
			c := dial(t, addr)
			io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: x\r\n"+head+"\r\n0\r\n\r\n"+smuggled)
			all, err := io.ReadAll(c)
			if err != nil {
				t.Errorf("%s to %s: not closed: %v", name, path, err)
			}
			if n := strings.Count(string(all), "HTTP/1.1 "); n != 1 || !strings.Contains(string(all), "Connection: close") {
				t.Errorf("%s to %s: %d answers:\n%s", name, path, n, all)
			}
		}
	}
}

func TestBigBodiesAreNotRead(t *testing.T) {
	addr := listening(t, testRoutes(), defaultLimits)
	for _, path := range []string{"/token", "/users/me", "/nope", "/livez"} {
		for name, head := range map[string]string{"declared": "Content-Length: 104857600", "chunked": "Transfer-Encoding: chunked"} {
			t.Run(name+path, func(t *testing.T) {
				c := dial(t, addr)
				fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", path, head)
				sent := make(chan int64, 1)
				go func() { sent <- pump(c) }()
				status, _ := bufio.NewReader(c).ReadString('\n')
				if !strings.HasPrefix(status, "HTTP/1.1 4") {
					t.Errorf("answered %q, want a refusal", status)
				}
				if n := <-sent; n > 8<<20 {
					t.Errorf("%d bytes were taken, want less than 8 MB with all buffers", n)
				}
			})
		}
	}
}

// pump sends up to 100 MB in chunks, until the other side has enough.
func pump(w io.Writer) int64 {
	chunk := []byte("10000\r\n" + strings.Repeat("a", 1<<16) + "\r\n")
	var sent int64
	for sent < 100<<20 {
		n, err := w.Write(chunk)
		sent += int64(n)
		if err != nil {
			break
		}
	}
	return sent
}

func TestStopLetsRequestsFinish(t *testing.T) {
	began := make(chan struct{})
	release := make(chan struct{})
	server := newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-release
		io.WriteString(w, "done")
	}), defaultLimits, slog.New(slog.DiscardHandler))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stopping := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		err := serveUntil(ctx, []service{{server, ln}}, func() { close(stopping) }, 0)
		ended <- errors.Join(err, finish([]service{{server, ln}}, 10*time.Second))
	}()

	body := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + ln.Addr().String())
		if err != nil {
			body <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		body <- string(b)
	}()
	<-began
	stop()
	<-stopping
	close(release)
	if got := <-body; got != "done" {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestStopCutsOffWhatTakesTooLong(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	began := make(chan struct{})
	server := newHTTPServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(began)
		<-hang
	}), defaultLimits, slog.New(slog.DiscardHandler))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(ln)
	go http.Get("http://" + ln.Addr().String())
	<-began
	if err := finish([]service{{server, ln}}, 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "shutdown_timeout") {
		t.Errorf("finish: %v", err)
	}
}

// exhausted is a listener whose first calls of Accept fail, as in a process
// without a free file descriptor.
type exhausted struct {
	net.Listener

	times int
}

func (l *exhausted) Accept() (net.Conn, error) {
	if l.times--; l.times >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

func TestTheLogTellsThatConnectionsAreNotAccepted(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out := &lockedBuffer{}
	log := newLogger(out, logConfig{"info", "text"})
	server := newHTTPServer(testRoutes(), defaultLimits, log)
	accept := &acceptor{Listener: &exhausted{ln, 4}, log: log}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(accept) }()
	response, err := http.Get("http://" + ln.Addr().String() + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("status %d", response.StatusCode)
	}
	server.Close()
	<-ended
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "too many open files") {
		t.Errorf("after four errors and an end the log has, where one line was wanted:\n%s", got)
	}

	accept.Listener, accept.told = &exhausted{ln, 1}, time.Now().Add(-acceptTellEvery)
	if _, err := accept.Accept(); err == nil || strings.Count(out.String(), "level=ERROR") != 2 {
		t.Errorf("error %v; after a while the log has:\n%s", err, out.String())
	}
}

func TestAProgramWithoutFileDescriptorsTellsSo(t *testing.T) {
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	g := launch{program: "/bin/sh", args: []string{"-c", `ulimit -n 40; exec "$0" "$@"`, program, "dev", "--addr", "127.0.0.1:0", "--memory"}}.start(t)
	var open []net.Conn
	for range 50 {
		open = append(open, dial(t, strings.TrimPrefix(g.URL, "http://")))
	}
	g.awaitLog("connections can't be accepted")
	for _, c := range open {
		c.Close()
	}
	response, err := http.Get(g.URL + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("status %d when there are descriptors again", response.StatusCode)
	}
	if log := g.Stderr(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "too many open files") {
		t.Errorf("the log has:\n%s", log)
	}
}
