package main

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// serveEnv is the environment that serve needs besides a store, with an issuer
// by plain http on loopback.
var serveEnv = []string{"GRANTD_ISSUER=http://127.0.0.1", "GRANTD_ADDR=127.0.0.1:0", "GRANTD_RESOURCE_ADDR=127.0.0.1:0", "GRANTD_SECRET=" + secret32}

func must(t testing.TB, l launch) string {
	t.Helper()
	code, stdout, stderr := l.run(t)
	if code != 0 {
		t.Fatalf("grantd %q: exit %d\n%s", l.args, code, stderr)
	}
	return stdout
}

func TestServeAndResourceOnOneStore(t *testing.T) {
	dir := t.TempDir()
	env := append([]string{"GRANTD_DATA=grantd.db", "GRANTD_ADMIN_PASSWORD_FILE=" + writeFile(t, "pw", "first-admin-password\n")}, serveEnv...)
	must(t, launch{args: []string{"client", "add", "web", "--grant", "password", "--scope", "read", "--scope", "admin", "--secret-file", writeFile(t, "s", secret32)}, dir: dir, env: env})
	as := launch{args: []string{"serve"}, dir: dir, env: env}.start(t)
	rs := launch{args: []string{"resource"}, dir: dir, env: env}.start(t)

	status, answer := tokenFor(t, as.URL, "web", secret32, passwordForm("admin", "first-admin-password", "read admin"))
	if status != 200 || answer["scope"] != "read admin" {
		t.Fatalf("the first admin: %d %v", status, answer)
	}
	token := answer["access_token"].(string)
	for _, base := range []string{as.URL, rs.URL} {
		if status, body := getUsersMe(t, base, token); status != 200 || !strings.Contains(body, `"username":"admin"`) {
			t.Errorf("%s/users/me: %d %s", base, status, body)
		}
	}
	if status, _ := tokenFor(t, rs.URL, "web", secret32, passwordForm("admin", "first-admin-password", "")); status != 404 {
		t.Errorf("resource offers /token: %d", status)
	}

	// healthcheck asks the address that it is given.
	must(t, launch{args: []string{"healthcheck"}, env: []string{"GRANTD_ADDR=" + strings.TrimPrefix(as.URL, "http://")}})
	must(t, launch{args: []string{"healthcheck", "--addr", strings.TrimPrefix(as.URL, "http://")}, env: []string{"GRANTD_ADDR=127.0.0.1:1"}})
	must(t, launch{args: []string{"healthcheck", "--url", rs.URL + "/readyz"}})

	out := must(t, launch{args: []string{"user", "passwd", "admin", "--password-file", writeFile(t, "pw", "second-admin-password")}, dir: dir, env: env})
	if !strings.Contains(out, "all grants are ended") {
		t.Errorf("user passwd printed %q", out)
	}
	for _, base := range []string{as.URL, rs.URL} {
		if status, _ := getUsersMe(t, base, token); status != 401 {
			t.Errorf("%s/users/me after the change of the password: %d", base, status)
		}
	}
	for _, g := range []*running{as, rs} {
		if code := g.Stop(); code != 0 {
			t.Errorf("exit %d\n%s", code, g.Stderr())
		}
	}
	if code, _, _ := (launch{args: []string{"healthcheck", "--url", rs.URL + "/readyz"}}).run(t); code != 1 {
		t.Errorf("healthcheck of a stopped server: exit %d", code)
	}
}

// A resource server only reads, so a misspelt path must not make an empty store.
func TestAResourceServerMakesNoStore(t *testing.T) {
	dir := t.TempDir()
	code, _, stderr := launch{args: []string{"resource", "--data", "nosuch/grantd.db"}, dir: dir, env: serveEnv}.run(t)
	if want := "grantd: there is no store at nosuch/grantd.db\nhint: check the path; grantd init and grantd serve make a new store\n"; code != exitFailed || stderr != want {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if made, err := os.ReadDir(dir); err != nil || len(made) > 0 {
		t.Errorf("it made %v (%v)", made, err)
	}
}

// A resource server with a wrong secret must not make the first key, since that
// would lock the authorization server out of the store.
func TestAResourceServerThatComesFirstWaitsForTheKeys(t *testing.T) {
	dir, env := t.TempDir(), append([]string{"GRANTD_DATA=grantd.db"}, serveEnv...)
	must(t, launch{args: []string{"init", "--password-file", writeFile(t, "p", "correct horse battery")}, dir: dir, env: env})
	early := launch{args: []string{"resource"}, dir: dir, env: env}.start(t)
	wrong := launch{args: []string{"resource"}, dir: dir, env: append(env, "GRANTD_SECRET=another-"+secret32)}.start(t)
	for _, g := range []*running{early, wrong} {
		g.awaitLog(`"store":"` + filepath.Join(dir, "grantd.db") + "\",\"hint\":\"grantd serve makes the key: check that this is the store that serve's configuration names")
		if status, body := get(t, g.URL+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "starting") {
			t.Errorf("/readyz before serve was there: %d %s", status, body)
		}
	}
	launch{args: []string{"serve"}, dir: dir, env: env}.start(t).awaitReady()
	early.awaitReady()
	if wrong.Wait(20*time.Second) != 1 || !strings.Contains(wrong.Stderr(), "must be the one that the store was first used with") {
		t.Errorf("with another secret:\n%s", wrong.Stderr())
	}
}

// Flags and variables replace the store of the file, of either kind. The log names the
// store that is used, and holds no password.
func TestTheLogNamesTheStore(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "grantd.yaml"), []byte("redis:\n  url: redis://app:hunter2@127.0.0.1:1/7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"the file's":                   {nil, "redis://127.0.0.1:1/7"},
		"--redis":                      {[]string{"--redis", "redis+sentinel://:hunter2@127.0.0.1:1/main?sentinel_password=hunter2"}, "redis+sentinel://127.0.0.1:1/main?[redacted]"},
		"a password without its colon": {[]string{"--redis", "redis://hunter2@127.0.0.1:1/7"}, "redis://127.0.0.1:1/7"},
		"--data":                       {[]string{"--data", "own.db"}, filepath.Join(dir, "own.db")},
		"in memory":                    {[]string{"--data", ":memory:"}, ":memory:"},
		"an absolute":                  {[]string{"--data", filepath.Join(dir, "absolute.db")}, filepath.Join(dir, "absolute.db")},
	} {
		t.Run(name, func(t *testing.T) {
			g := launch{args: append([]string{"serve", "--config", "grantd.yaml"}, tt.args...), dir: dir, env: serveEnv}.start(t)
			g.Stop()
			if log := g.Stderr(); !strings.Contains(log, `"msg":"using the store","store":"`+tt.want+`"`) || strings.Contains(log, "hunter2") {
				t.Errorf("the log doesn't name the store %s, or holds a password:\n%s", tt.want, log)
			}
		})
	}
}

func TestServeTellsThatNobodyCanSignIn(t *testing.T) {
	const told = `the store has no users yet" hint="grantd init makes the first admin`
	l := launch{args: []string{"serve", "--log-format", "text"}, dir: t.TempDir(), env: append([]string{"GRANTD_DATA=grantd.db"}, serveEnv...)}
	g := l.start(t)
	eventually(t, g, regexp.QuoteMeta(told))
	g.Stop()
	must(t, launch{args: []string{"init", "--password-file", writeFile(t, "p", "correct horse battery")}, dir: l.dir, env: l.env})
	g = l.start(t)
	eventually(t, g, "client_id=grantd-cli") // of the warning of the password grant, which is logged after that place
	g.Stop()
	if strings.Contains(g.Stderr(), told) {
		t.Error("it is told though there is an admin")
	}
}

func TestServeRefusesAStoreWithDemoCredentials(t *testing.T) {
	dir := t.TempDir()
	launch{args: []string{"dev", "--addr", "127.0.0.1:0"}, dir: dir}.start(t).Stop()
	l := launch{args: []string{"serve", "--data", ".grantd/grantd.db"}, dir: dir,
		env: append([]string{"GRANTD_SECRET_FILE=" + filepath.Join(dir, ".grantd/secret")}, serveEnv[:3]...)}
	code, _, stderr := l.run(t)
	if code != 1 || !strings.Contains(stderr, "demo") || !strings.Contains(stderr, "hint: ") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestEachDemoCredentialIsFound(t *testing.T) {
	h, err := passhash.New(passhash.Params{Memory: 64, Time: 1})
	if err != nil {
		t.Fatal(err)
	}
	open := func() storage.Store {
		s, err := embedded.Open(embedded.Memory)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	for _, d := range demoClients {
		s := open()
		if err := s.CreateClient(t.Context(), d.record()); err != nil {
			t.Fatal(err)
		}
		if err := refuseDemo(t.Context(), s, h); err == nil || !strings.Contains(err.Error(), d.id) {
			t.Errorf("%s: %v", d.id, err)
		}
	}
	for _, d := range demoUsers {
		s := open()
		if err := seedUser(t.Context(), s, h, d); err != nil {
			t.Fatal(err)
		}
		if err := refuseDemo(t.Context(), s, h); err == nil || !strings.Contains(err.Error(), d.name) {
			t.Errorf("%s: %v", d.name, err)
		}
	}

	s := open() // the names alone are no fault
	for _, d := range demoUsers {
		d.password = "something-else"
		if err := seedUser(t.Context(), s, h, d); err != nil {
			t.Fatal(err)
		}
	}
	own := demoClient{id: "demo", secret: secret32}
	if err := s.CreateClient(t.Context(), own.record()); err != nil {
		t.Fatal(err)
	}
	if err := refuseDemo(t.Context(), s, h); err != nil {
		t.Errorf("own credentials under demo names: %v", err)
	}
}

func TestServeStartsBeforeItsRedis(t *testing.T) {
	r := redistest.Single(t)
	r.Kill()
	env := append([]string{"GRANTD_REDIS_URL=" + r.URL()}, serveEnv...)
	g := launch{args: []string{"serve"}, env: env}.start(t)
	if status, _ := get(t, g.URL+"/livez"); status != 200 {
		t.Errorf("/livez without Redis: %d", status)
	}
	if status, _ := get(t, g.URL+"/readyz"); status != 503 {
		t.Errorf("/readyz without Redis: %d", status)
	}
	if status, _ := tokenFor(t, g.URL, "web", secret32, passwordForm("a", "b", "")); status != 503 {
		t.Errorf("/token without Redis: %d", status)
	}
	if status, _ := getUsersMe(t, g.URL, "gat_"+strings.Repeat("A", 76)); status != 503 {
		t.Errorf("/users/me without Redis: %d", status)
	}
	g.awaitLog(`"waiting for the store"`)
	g.awaitLog(`connection refused`)
	g.awaitLog(`"hint":"is Redis running, and is its URL right?`)
	r.Restart()
	g.awaitLog(`"ready"`)
	if status, body := get(t, g.URL+"/readyz"); status != 200 {
		t.Errorf("/readyz with Redis: %d %s", status, body)
	}
	if status, _ := tokenFor(t, g.URL, "web", secret32, passwordForm("a", "b", "")); status != 401 {
		t.Errorf("/token of an unknown client: %d", status)
	}
}

func get(t testing.TB, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func TestAnotherDeploymentSecretEndsTheProcess(t *testing.T) {
	dir := t.TempDir()
	env := append([]string{"GRANTD_DATA=grantd.db"}, serveEnv...)
	launch{args: []string{"serve"}, dir: dir, env: env}.start(t).Stop()
	code, _, stderr := launch{args: []string{"serve"}, dir: dir, env: append(env, "GRANTD_SECRET="+strings.Repeat("x", 32))}.run(t)
	if code != 1 || !strings.Contains(stderr, "deployment secret") || !strings.Contains(stderr, "hint: ") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// certificate writes a self-signed certificate for 127.0.0.1.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return writeFile(t, "cert.pem", string(certPEM)),
		writeFile(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))), pool
}

func TestJanitorFinishesSweepsAndForgetsReceipts(t *testing.T) {
	s, err := embedded.Open(embedded.Memory)
	if err != nil {
		t.Fatal(err)
	}
	ctx, ago := t.Context(), time.Now().Add(-keepReceipts-time.Hour)
	old := storage.Receipt{ID: storage.NewReceiptID(ago), Created: ago, Completed: ago}
	r, err := s.Revoke(ctx, storage.Target{UserID: "u"})
	open := storage.Receipt{ID: storage.NewReceiptID(time.Now()), Created: time.Now(), Target: r.Target, Epochs: r.Epochs}
	if err := errors.Join(err, s.CreateReceipt(ctx, old), s.CreateReceipt(ctx, open)); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	p := &process{store: s, log: slog.New(slog.NewTextHandler(&log, nil))}
	janitor := admin.NewSweeper(s, p.noteAdmin, time.Now)
	p.sweep(ctx, janitor)
	left, err := s.ListReceipts(ctx, "", 10)
	unswept, err2 := s.Unswept(ctx)
	if err := errors.Join(err, err2); err != nil || len(left) != 1 || left[0].ID != open.ID || left[0].Completed.IsZero() || len(unswept) != 0 {
		t.Errorf("left: %+v, unswept: %+v, %v", left, unswept, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if log.Len() > 0 {
		t.Errorf("told without a reason: %s", &log)
	}
	p.sweep(ctx, janitor)
	if !strings.Contains(log.String(), "unfinished revocations") {
		t.Errorf("a store that can't answer isn't told of: %q", &log)
	}
}

func TestSecretsAreWrittenOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	read := func() map[string]string {
		t.Helper()
		files := map[string]string{}
		for _, name := range []string{"secret", "admin_password", "redis_password", "redis.conf"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: mode %v, %v; nobody else may read it", name, info.Mode(), err)
			}
			files[name] = string(b)
		}
		return files
	}
	write := secretWriter{out: io.Discard, dir: dir, redisDir: dir, dirMode: 0o700, fileMode: 0o600}.writeAll
	if err := write(); err != nil {
		t.Fatal(err)
	}
	first := read()
	if first["redis.conf"] != "requirepass "+first["redis_password"] {
		t.Errorf("redis.conf is %q", first["redis.conf"])
	}
	if len(first["secret"]) < 33 || first["secret"] == first["admin_password"] {
		t.Errorf("weak secrets: %q", first)
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	if second := read(); second["secret"] != first["secret"] || second["redis.conf"] != first["redis.conf"] {
		t.Error("the second run changed the files")
	}
	for conf, password := range map[string]string{`requirepass "a b"`: "a b", `requirepass "a \"b"`: `a "b`, `requirepass other`: ""} {
		for name, text := range map[string]string{"redis.conf": conf, "redis_password": cmp.Or(password, "mine")} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := write(); (err == nil) != (password != "") {
			t.Errorf("%s: %v", conf, err)
		}
	}
	os.Remove(filepath.Join(dir, "redis_password"))
	if err := write(); err == nil {
		t.Error("a redis.conf whose password is lost must be a failure")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
