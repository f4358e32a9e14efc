package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

var malformedSeed = flag.Uint64("seed", 0, "seed of TestMalformedRequests; 0 draws one")

// aProcess runs the program's server in this process, on a free port, with the
// demo set. The configuration is dev's, with a cheap hash.
func aProcess(t *testing.T, log io.Writer) (p *process, addr string) {
	t.Helper()
	p = newHere(t, log)
	p.throttle = nil
	addr, stop, ended := p.runHere(t)
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return p, addr
}

// newHere makes the process of aProcess, which doesn't run yet.
func newHere(t *testing.T, log io.Writer) *process {
	t.Helper()
	c, _, err := devFlags{addr: "127.0.0.1:0", memory: true}.config()
	if err != nil {
		t.Fatal(err)
	}
	c.PasswordHash = hashConfig{Memory: 64, Time: 1, Threads: 1}
	p, err := newProcess(t.Context(), c, log)
	if err != nil {
		t.Fatal(err)
	}
	p.prepare = func(ctx context.Context) error { return seedDemo(ctx, p.store, p.hasher) }
	return p
}

// runHere runs it until it is stopped, or the test ends.
func (p *process) runHere(t *testing.T) (addr string, stop func(), ended <-chan error) {
	listening, end := make(chan string, 1), make(chan error, 1)
	p.announce = func(a net.Addr) { listening <- a.String() }
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		end <- p.run(ctx, p.config.Addr, func(a net.Addr) (handlers, error) {
			p.config.Issuer = "http://" + a.String()
			return p.offerAll(demoPublicClient)
		})
	}()
	return <-listening, stop, end
}

// TestMalformedRequests sends 10,000 requests that are broken in every layer.
// None of them may be answered with a 5xx (but see byNetHTTP), take a second,
// reach the password hash or hurt the server. To repeat a run, give its seed:
//
//	go test ./cmd/grantd -run TestMalformedRequests -seed 123
func TestMalformedRequests(t *testing.T) {
	const count, workers = 10_000, 4
	seed := *malformedSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	var log lockedBuffer
	p, addr := aProcess(t, &log)
	hashed := p.hasher.Uses() // for the demo users

	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < count && !t.Failed(); i += workers {
				m := makeMalformed(seed, i)
				if err := m.mustBeRefused(addr); err != nil {
					t.Errorf("request %d of seed %d: %v\n%.500q", i, seed, err, m.bytes)
				}
			}
		})
	}
	wg.Wait()

	if n := p.hasher.Uses() - hashed; n != 0 {
		t.Errorf("%d requests reached the password hash", n)
	}
	base := "http://" + addr
	status, answer := tokenFor(t, base, "demo", "demo-secret", passwordForm("alice", "secret123", ""))
	if status != http.StatusOK {
		t.Fatalf("a sign-in afterwards: %d %v", status, answer)
	}
	if status, body := getUsersMe(t, base, answer["access_token"].(string)); status != http.StatusOK {
		t.Errorf("/users/me afterwards: %d %s", status, body)
	}
	p.flush()
	if text := log.String(); strings.Contains(text, "panic=") || strings.Contains(text, "demo-secret") {
		t.Error("the log tells of a panic, or a secret")
	}
}

// mustBeRefused sends the request and returns what is wrong with the answer. An
// answer that took too long is asked for once more: the machine may be busy.
func (m malformed) mustBeRefused(addr string) error {
	const limit = time.Second
	for try := 1; ; try++ {
		began := time.Now()
		a, body, err := m.send(addr)
		took := time.Since(began)
		switch {
		case err != nil:
			return err
		case took <= limit:
			return m.judge(a, body)
		case try == 2:
			return fmt.Errorf("answered after %s", took)
		}
	}
}

// send returns the answer. It is nil if the server hung up on a request that
// isn't HTTP.
func (m malformed) send(addr string) (*http.Response, []byte, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil, nil, err
	}
	written := make(chan struct{})
	go func() { // while the answer is read: a refusal may come before all is sent
		defer close(written)
		c.Write(m.bytes)
		if m.cut {
			c.(*net.TCPConn).CloseWrite()
		}
	}()
	defer func() { <-written }()
	a, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: m.method})
	if err != nil {
		if m.wire {
			return nil, nil, nil
		}
		return nil, nil, err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if m.wire {
		err = nil // net/http announces no length and may reset the connection
	}
	return a, body, err
}

// judge returns what is wrong with the answer.
func (m malformed) judge(a *http.Response, body []byte) error {
	switch {
	case a == nil:
		return nil
	case (m.wire || m.tooLong()) && byNetHTTP(a):
		return nil
	case a.StatusCode >= 500:
		return fmt.Errorf("%s %s", a.Status, body)
	case a.StatusCode >= 400:
		return m.judgeError(a, body)
	}
	// A request that was answered with success must have had no effect.
	switch {
	case m.path == "/token" || m.path == "/users/me":
		return fmt.Errorf("%s %s", a.Status, body)
	case m.path == "/introspect" && string(body) != `{"active":false}`:
		return fmt.Errorf("%s %s", a.Status, body)
	case bytes.Contains(body, []byte("gat_")):
		return errors.New("the answer holds a token")
	}
	return nil
}

// tooLong reports whether the header is too long. net/http answers such a
// request itself, with 431 (RFC 6585 section 5) and plain text.
func (m malformed) tooLong() bool {
	header, _, _ := bytes.Cut(m.bytes, []byte("\r\n\r\n"))
	return len(header) > defaultLimits.headerBytes
}

// byNetHTTP recognises a refusal of net/http itself. It answers 501 to a
// transfer coding that it doesn't know (RFC 9112 section 6.1) and 505 to
// another version of HTTP.
func byNetHTTP(a *http.Response) bool {
	status := a.StatusCode
	return a.Header.Get("X-Request-Id") == "" && (status >= 400 && status < 500 || status == 501 || status == 505)
}

var errorCode = regexp.MustCompile(`^[a-z_]{3,40}$`)

// judgeError checks the form of RFC 6749 section 5.2, and the headers that HTTP
// demands with the status.
func (m malformed) judgeError(a *http.Response, body []byte) error {
	h := a.Header
	switch {
	case h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store":
		return fmt.Errorf("%s %v %s", a.Status, h, body)
	case a.StatusCode == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "":
		return errors.New("a 401 without WWW-Authenticate")
	case a.StatusCode == http.StatusMethodNotAllowed && h.Get("Allow") == "":
		return errors.New("a 405 without Allow")
	case m.method == http.MethodHead:
		return nil
	}
	var e struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
		Message     string `json:"message"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil || d.More() {
		return fmt.Errorf("%s %q is no error in JSON: %w", a.Status, body, err)
	}
	unasked := (m.path == "/users/me" || m.path == "") && a.StatusCode == http.StatusUnauthorized && e.Message != "" // RFC 6750 section 3.1
	if !errorCode.MatchString(e.Code) && !unasked {
		return fmt.Errorf("%s with the error code %q", a.Status, e.Code)
	}
	if strings.ContainsFunc(e.Description, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
		return fmt.Errorf("%s with the description %q", a.Status, e.Description)
	}
	return nil
}
