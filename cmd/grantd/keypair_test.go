package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// pemPair is what the two files of a pair hold.
type pemPair struct{ cert, key string }

func newPair(t *testing.T) pemPair {
	t.Helper()
	certFile, keyFile, _ := certificate(t)
	return pemPair{readFile(t, certFile), readFile(t, keyFile)}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// renewing is a process with TLS whose tls_cert and tls_key are tls.crt and
// tls.key in dir. The clock that says when to look at them again is moved only
// by the test.
type renewing struct {
	t       *testing.T
	dir     string
	addr    string
	metrics string // the address of metrics_addr
	ahead   atomic.Int64
	log     lockedBuffer
	flush   func()
}

// installer puts a pair in dir; n counts them.
type installer func(t *testing.T, dir string, n int, p pemPair)

func startRenewing(t *testing.T, install installer, first pemPair) *renewing {
	t.Helper()
	s := &renewing{t: t, dir: t.TempDir(), metrics: "127.0.0.1:" + freePort(t)}
	install(t, s.dir, 1, first)
	c, _, err := devFlags{addr: "127.0.0.1:0", memory: true}.config()
	if err != nil {
		t.Fatal(err)
	}
	c.TLSCert, c.TLSKey, c.MetricsAddr = filepath.Join(s.dir, "tls.crt"), filepath.Join(s.dir, "tls.key"), s.metrics
	p, err := newProcess(t.Context(), c, &s.log)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p.keyPair.now = func() time.Time { return began.Add(time.Duration(s.ahead.Load())) }
	s.flush = p.flush
	var stop func()
	var ended <-chan error
	s.addr, stop, ended = p.runHere(t)
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// later moves the clock on, so that the next handshake looks at the files
// again.
func (s *renewing) later() { s.ahead.Add(int64(lookEvery)) }

// wants fails unless a handshake gets that certificate.
func (s *renewing) wants(addr string, p pemPair, when string) {
	s.t.Helper()
	got, err := served(addr)
	if err != nil {
		s.t.Fatalf("%s: %v", when, err)
	}
	if got != p.cert {
		s.t.Errorf("%s: %s has another certificate", when, addr)
	}
}

// logged counts the lines with the text.
func (s *renewing) logged(text string) (n int) {
	s.flush()
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// served makes a new connection and returns the certificate that it has, as PEM.
func served(addr string) (string, error) {
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	block := &pem.Block{Type: "CERTIFICATE", Bytes: conn.ConnectionState().PeerCertificates[0].Raw}
	return string(pem.EncodeToMemory(block)), nil
}

const (
	toldRenewed = `level=INFO msg="the new certificate was loaded"`
	toldBroken  = `level=WARN msg="the new certificate can't be loaded`
)

func putFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// putLink makes the link point to the target, in one step.
func putLink(t *testing.T, link, to string) {
	t.Helper()
	if err := os.Symlink(to, link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
}

func writeOver(t *testing.T, dir string, _ int, p pemPair) {
	putFile(t, filepath.Join(dir, "tls.crt"), p.cert)
	putFile(t, filepath.Join(dir, "tls.key"), p.key)
}

func renameOver(t *testing.T, dir string, n int, p pemPair) {
	writeOver(t, t.TempDir(), n, p)
	for name, text := range map[string]string{"tls.crt": p.cert, "tls.key": p.key} {
		path := filepath.Join(dir, name)
		putFile(t, path+".new", text)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
}

// asCertbot: each name is a link to a file that has the number of the renewal.
func asCertbot(t *testing.T, dir string, n int, p pemPair) {
	for name, text := range map[string]string{"tls.crt": p.cert, "tls.key": p.key} {
		numbered := fmt.Sprintf("%s.%d", name, n)
		putFile(t, filepath.Join(dir, numbered), text)
		putLink(t, filepath.Join(dir, name), numbered)
	}
}

// asKubernetes: the names are links that go through ..data, which is exchanged.
func asKubernetes(t *testing.T, dir string, n int, p pemPair) {
	version := fmt.Sprintf("..%d", n)
	if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
		t.Fatal(err)
	}
	writeOver(t, filepath.Join(dir, version), n, p)
	putLink(t, filepath.Join(dir, "..data"), version)
	if n == 1 {
		putLink(t, filepath.Join(dir, "tls.crt"), "..data/tls.crt")
		putLink(t, filepath.Join(dir, "tls.key"), "..data/tls.key")
	}
}

// However the files are exchanged, new connections get the new certificate, on
// every listener, and open connections stay open.
func TestARenewedCertificateIsServed(t *testing.T) {
	for name, install := range map[string]installer{
		"written over": writeOver, "renamed over": renameOver, "by certbot": asCertbot, "by Kubernetes": asKubernetes,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := newPair(t), newPair(t)
			s := startRenewing(t, install, first)
			s.wants(s.addr, first, "at the start")
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
			defer client.CloseIdleConnections()
			ask := func() *x509.Certificate {
				t.Helper()
				response, err := client.Get("https://" + s.addr + "/readyz")
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				io.Copy(io.Discard, response.Body) // so that the connection is used again
				if response.StatusCode != http.StatusOK {
					t.Errorf("/readyz answers %d", response.StatusCode)
				}
				return response.TLS.PeerCertificates[0]
			}
			before := ask()

			install(t, s.dir, 2, second)
			s.wants(s.addr, first, "before it is time to look")
			s.later()
			s.wants(s.metrics, second, "after that")
			s.wants(s.addr, second, "after that")
			if !ask().Equal(before) {
				t.Error("the connection that was open is another one")
			}
			if renewed, broken := s.logged(toldRenewed), s.logged(toldBroken); renewed != 1 || broken != 0 {
				t.Errorf("%d lines of a renewal and %d of a failure, want 1 and 0\n%s", renewed, broken, s.log.String())
			}
			s.later()
			s.wants(s.addr, second, "without another renewal")
			if renewed := s.logged(toldRenewed); renewed != 1 {
				t.Errorf("files that didn't change were read again:\n%s", s.log.String())
			}
		})
	}
}

// If a new pair can't be used, the old one stays in use, and the log says so
// once, without the key. A good pair after that is taken, even if it is the old
// one again.
func TestABrokenRenewalKeepsTheCertificate(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string, second pemPair)
		told  string // in the log
	}{
		"only the certificate is new": {func(t *testing.T, dir string, second pemPair) {
			putFile(t, filepath.Join(dir, "tls.crt"), second.cert)
		}, "private key does not match public key"},
		"half of the certificate": {func(t *testing.T, dir string, second pemPair) {
			putFile(t, filepath.Join(dir, "tls.crt"), second.cert[:len(second.cert)/2])
		}, "failed to find any PEM data in certificate input"},
		"half of the key": {func(t *testing.T, dir string, second pemPair) {
			putFile(t, filepath.Join(dir, "tls.key"), second.key[:len(second.key)/2])
		}, "failed to find any PEM data in key input"},
		"exchanged": {func(t *testing.T, dir string, second pemPair) {
			writeOver(t, dir, 2, pemPair{second.key, second.cert})
		}, "PEM inputs may have been switched"},
		"no key": {func(t *testing.T, dir string, _ pemPair) {
			if err := os.Remove(filepath.Join(dir, "tls.key")); err != nil {
				t.Fatal(err)
			}
		}, "tls.key: no such file or directory"},
	} {
		for _, again := range []string{"another", "the old one"} {
			t.Run(name+", then "+again, func(t *testing.T) {
				t.Parallel()
				first, second := newPair(t), newPair(t)
				s := startRenewing(t, writeOver, first)
				c.spoil(t, s.dir, second)
				for range 3 {
					s.later()
					s.wants(s.addr, first, "while the pair is broken")
				}
				if broken, told := s.logged(toldBroken), s.logged(c.told); broken != 1 || told != 1 {
					t.Errorf("%d lines of a failure, %d of them of this one, want 1\n%s", broken, told, s.log.String())
				}
				good := map[string]pemPair{"another": second, "the old one": first}[again]
				writeOver(t, s.dir, 3, good)
				s.later()
				s.wants(s.addr, good, "when the pair is good")
				if renewed := s.logged(toldRenewed); renewed != 1 {
					t.Errorf("%d lines of a renewal, want 1\n%s", renewed, s.log.String())
				}
				for _, key := range []pemPair{first, second} {
					if secret := strings.Split(key.key, "\n")[1]; s.logged(secret[:16]) != 0 {
						t.Error("the log holds a key")
					}
				}
			})
		}
	}
}

// A failure is logged again when it differs from the one before.
func TestEachFailureToRenewIsToldOnce(t *testing.T) {
	first, second := newPair(t), newPair(t)
	s := startRenewing(t, writeOver, first)
	for i, p := range []pemPair{{second.cert, first.key}, {second.cert, ""}, {"", second.key}} {
		writeOver(t, s.dir, 2, p)
		for range 2 {
			s.later()
			s.wants(s.addr, first, "while the pair is broken")
		}
		if broken := s.logged(toldBroken); broken != i+1 {
			t.Errorf("%d lines of %d failures\n%s", broken, i+1, s.log.String())
		}
	}
}

// The same failure is logged again after the pair was good in between, even if
// the good files were those from before.
func TestAFailureToRenewThatComesAgainIsToldAgain(t *testing.T) {
	only := newPair(t)
	s := startRenewing(t, writeOver, only)
	key, away := filepath.Join(s.dir, "tls.key"), filepath.Join(s.dir, "away")
	for n := 1; n <= 2; n++ {
		for _, move := range [][2]string{{key, away}, {away, key}} {
			if err := os.Rename(move[0], move[1]); err != nil {
				t.Fatal(err)
			}
			s.later()
			s.wants(s.addr, only, "whether or not the key is away")
		}
		if broken, renewed := s.logged(toldBroken), s.logged(toldRenewed); broken != n || renewed != n {
			t.Errorf("%d lines of a failure and %d of its end, want %d of each\n%s", broken, renewed, n, s.log.String())
		}
	}
}

// Handshakes go on, whatever is written meanwhile, and get the last pair in the
// end.
func TestHandshakesWhileCertificatesAreRenewed(t *testing.T) {
	pairs := []pemPair{newPair(t), newPair(t)}
	s := startRenewing(t, asCertbot, pairs[0])
	var ended atomic.Bool
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for !ended.Load() {
				got, err := served(s.addr)
				if err != nil || got != pairs[0].cert && got != pairs[1].cert {
					t.Errorf("served %q, %v", got, err)
					return
				}
			}
		})
	}
	const renewals = 51
	for n := range renewals {
		asCertbot(t, s.dir, n+2, pairs[(n+1)%2])
		s.later()
		if _, err := served(s.addr); err != nil {
			t.Error(err)
		}
	}
	ended.Store(true)
	clients.Wait()
	s.later()
	s.wants(s.addr, pairs[renewals%2], "in the end")
}

// An expired certificate is taken, since the operator may have no better one, and the log
// warns of it.
func TestACertificateThatHasExpiredIsToldOf(t *testing.T) {
	const told = `level=WARN msg="the certificate isn't valid now`
	first, second := newPair(t), newPair(t) // they expire in an hour
	s := startRenewing(t, renameOver, first)
	if warned := s.logged(told); warned != 0 {
		t.Errorf("%d warnings of one that is valid\n%s", warned, s.log.String())
	}
	s.ahead.Store(int64(2 * time.Hour))
	renameOver(t, s.dir, 2, second)
	s.wants(s.addr, second, "two hours later")
	if warned := s.logged(told); warned != 1 {
		t.Errorf("%d warnings, want 1\n%s", warned, s.log.String())
	}
}

func TestABrokenPairKeepsTheProgramFromStarting(t *testing.T) {
	one, other := newPair(t), newPair(t)
	dir := t.TempDir()
	writeOver(t, dir, 1, pemPair{one.cert, other.key})
	env := append([]string{"GRANTD_DATA=grantd.db", "GRANTD_TLS_CERT=" + dir + "/tls.crt", "GRANTD_TLS_KEY=" + dir + "/tls.key"}, serveEnv...)
	code, _, stderr := launch{args: []string{"serve"}, env: env}.run(t)
	if code != exitUsage || !strings.Contains(stderr, "tls_cert: tls: private key does not match public key") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}
