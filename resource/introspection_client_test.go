package resource_test

import (
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/resource"
)

// inProcessWith runs the test in a process of its own with more in its environment, of
// which net/http and crypto/x509 read the most only once, and reports whether this is it.
func inProcessWith(t *testing.T, environment ...string) bool {
	t.Helper()
	const marker = "RESOURCE_TEST_CHILD"
	if os.Getenv(marker) != "" {
		return true
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), program, "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(append(os.Environ(), marker+"=1"), environment...)
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// Where the network swallows what it is given, as behind a firewall that forgot the
// connection or a machine that is gone, each connection costs one question.
func TestIntrospectionGivesUpADeadConnection(t *testing.T) {
	roots := filepath.Join(t.TempDir(), "roots.pem")
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, goodAnswer)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(roots, root, 0o600); err != nil {
		t.Fatal(err)
	}
	if !inProcessWith(t, "SSL_CERT_FILE="+roots) {
		return
	}
	network := newSwallower(t, s.Listener.Addr().String())
	v := introspecting(t, "https://"+network.address, timeout(time.Second))
	if _, err := v.Validate(t.Context(), "good"); err != nil {
		t.Fatal(err)
	}
	network.swallows.Add(1)
	if _, err := v.Validate(t.Context(), "good"); !errors.Is(err, resource.ErrUnavailable) {
		t.Errorf("on a dead connection: %v", err)
	}
	if _, err := v.Validate(t.Context(), "good"); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// Plain http is for this machine: a proxy elsewhere would be given the token and the secret.
func TestIntrospectionOnThisMachineTakesNoProxy(t *testing.T) {
	proxy := newAsked(t)
	if !inProcessWith(t, "HTTP_PROXY="+proxy.URL, "NO_PROXY=", "no_proxy=") {
		if n := proxy.questions.Load(); n != 0 {
			t.Errorf("the proxy was given %d questions", n)
		}
		return
	}
	s := newAsked(t)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	for _, host := range []string{"localhost", "LOCALHOST", "127.0.0.1", "[::ffff:127.0.0.1]"} {
		if _, err := introspecting(t, "http://"+host+":"+port).Validate(t.Context(), "good"); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if n := s.questions.Load(); n != 4 {
		t.Errorf("the server was asked %d times, want 4", n)
	}
}

// swallower is a network that forwards connections.
type swallower struct {
	address  string
	swallows atomic.Int64 // as often as it was raised, of the connections there were nothing comes through any more
}

func newSwallower(t *testing.T, to string) *swallower {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &swallower{address: l.Addr().String()}
	go func() {
		for {
			here, err := l.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", to)
			if err != nil {
				here.Close()
				continue
			}
			born := s.swallows.Load()
			go s.forward(there, here, born)
			go s.forward(here, there, born)
		}
	}()
	return s
}

func (s *swallower) forward(to, from net.Conn, born int64) {
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if s.swallows.Load() == born {
			to.Write(b[:n])
		}
		if err != nil {
			to.Close()
			return
		}
	}
}
