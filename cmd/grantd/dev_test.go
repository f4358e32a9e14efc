package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// tokenFor asks for a token; client may be empty.
func tokenFor(t testing.TB, base, client, secret string, form url.Values) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, base+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if client != "" {
		r.SetBasicAuth(client, secret)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer
}

func passwordForm(user, password, scope string) url.Values {
	form := url.Values{"grant_type": {"password"}, "username": {user}, "password": {password}}
	if scope != "" {
		form.Set("scope", scope)
	}
	return form
}

// getUsersMe returns the status and the body of GET /users/me.
func getUsersMe(t testing.TB, base, token string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, base+"/users/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func TestDevServesTheDemoSet(t *testing.T) {
	g := startDev(t, "--memory")
	for _, u := range demoUsers {
		status, answer := tokenFor(t, g.URL, "demo", "demo-secret", passwordForm(u.name, u.password, ""))
		if status != 200 || answer["scope"] != "read" {
			t.Fatalf("%s: %d %v", u.name, status, answer)
		}
		token, _ := answer["access_token"].(string)
		if status, body := getUsersMe(t, g.URL, token); status != 200 || !strings.Contains(body, `"username":"`+u.name+`"`) {
			t.Errorf("GET /users/me as %s: %d %s", u.name, status, body)
		}
	}
	clientForm := url.Values{"grant_type": {"client_credentials"}}
	for _, c := range demoClients {
		if c.secret == "" || c.id == "demo-api" {
			continue
		}
		if status, answer := tokenFor(t, g.URL, c.id, c.secret, clientForm); c.id != "demo-admin" && status != 200 {
			t.Errorf("%s: %d %v", c.id, status, answer)
		}
	}
	adminForm := url.Values{"grant_type": {"client_credentials"}, "scope": {"admin"}}
	if status, answer := tokenFor(t, g.URL, "demo-admin", "demo-admin-secret", adminForm); status != 200 || answer["scope"] != "admin" {
		t.Errorf("demo-admin: %d %v", status, answer)
	}
	_, told, _ := strings.Cut(g.Stdout(), "\nThe clients ")
	told, _, _ = strings.Cut(told, " get the scope admin with client_credentials")
	for _, c := range demoClients {
		_, answer := tokenFor(t, g.URL, c.id, c.secret, adminForm)
		if isTold := slices.Contains(strings.Split(told, ", "), c.id); isTold != (answer["scope"] == "admin") {
			t.Errorf("%s gets %v for itself, and dev printed %q", c.id, answer["scope"], told)
		}
	}
	if status, answer := tokenFor(t, g.URL, "demo-api", "demo-api-secret", clientForm); status != 400 || answer["error"] != "unauthorized_client" {
		t.Errorf("demo-api may get no token: %d %v", status, answer)
	}
	if _, answer := tokenFor(t, g.URL, "demo-short", "demo-short-secret", clientForm); answer["expires_in"].(float64) > 2 {
		t.Errorf("demo-short: its tokens live 2 s: %v", answer["expires_in"])
	}
	// A request without a client is demo-public's.
	if status, _ := tokenFor(t, g.URL, "", "", passwordForm("alice", "secret123", "")); status != 200 {
		t.Errorf("without a client: %d", status)
	}
	for _, printed := range []string{"alice", "secret123", "demo-admin-secret", "curl -u demo:demo-secret", g.URL + "/token"} {
		if !strings.Contains(g.Stdout(), printed) {
			t.Errorf("dev didn't print %q", printed)
		}
	}
	if code := g.Stop(); code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestDevKeepsItsStoreAndItsKeys(t *testing.T) {
	dir := t.TempDir()
	l := launch{args: []string{"dev", "--addr", "localhost:0"}, dir: dir}
	g := l.start(t)
	_, answer := tokenFor(t, g.URL, "demo", "demo-secret", passwordForm("alice", "secret123", ""))
	g.Stop()

	for path, mode := range map[string]os.FileMode{".grantd": 0o700 | os.ModeDir, ".grantd/secret": 0o600, ".grantd/grantd.db": 0o600} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode {
			t.Errorf("%s has mode %s, want %s", path, info.Mode(), mode)
		}
	}
	g = l.start(t)
	if status, _ := getUsersMe(t, g.URL, answer["access_token"].(string)); status != 200 {
		t.Errorf("a token from before the restart: %d", status)
	}
	t.Run("6749-10.4-02 a refresh token is still its client's alone", func(t *testing.T) {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {answer["refresh_token"].(string)}}
		if status, refused := tokenFor(t, g.URL, "demo2", "demo2-secret", form); status != 400 || refused["error"] != "invalid_grant" {
			t.Errorf("demo2 gets %d %v", status, refused)
		}
		if status, _ := tokenFor(t, g.URL, "demo", "demo-secret", form); status != 200 {
			t.Errorf("demo gets %d", status)
		}
	})
}

func TestDevTellsWhatToDoAboutALostSecret(t *testing.T) {
	for _, tt := range []struct{ store, anew string }{
		{"", "delete .grantd"},
		{redistest.Single(t).URL(), "name an empty database in --redis"},
	} {
		l := launch{args: []string{"dev", "--addr", "127.0.0.1:0"}, dir: t.TempDir()}
		if tt.store != "" {
			l.args = append(l.args, "--redis", tt.store)
		}
		l.start(t).Stop()
		path := filepath.Join(l.dir, devSecret)
		kept, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, spoil := range map[string]func() error{
			"lost":    func() error { return os.Remove(path) },
			"emptied": func() error { return os.WriteFile(path, nil, 0o600) },
			"another": func() error { return os.WriteFile(path, []byte(secret32), 0o600) },
		} {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			hint := "\nhint: put back the .grantd/secret that the store was first used with; or begin anew: " + tt.anew + "\n"
			if code, _, stderr := l.run(t); code != exitFailed || !strings.Contains(stderr, hint) {
				t.Errorf("%s: exit %d\n%s", name, code, stderr)
			}
			if _, err := os.Stat(path); (name == "lost") != errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: of the secret's file: %v", name, err)
			}
			if err := os.WriteFile(path, kept, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l.start(t).Stop()
	}
}

func TestDevOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	l := launch{args: []string{"dev", "--addr", "127.0.0.1:0"}, dir: dir}
	l.start(t).Stop()
	password := writeFile(t, "password", "another-password")
	code, _, stderr := launch{dir: dir, args: []string{"user", "passwd", "alice", "--data", ".grantd/grantd.db", "--password-file", password}}.run(t)
	if code != 0 {
		t.Fatal(stderr)
	}
	g := l.start(t)
	if status, _ := tokenFor(t, g.URL, "demo", "demo-secret", passwordForm("alice", "another-password", "")); status != 200 {
		t.Errorf("alice's own password: %d", status)
	}
}

func TestTwoDevProcessesShareARedis(t *testing.T) {
	r := redistest.Single(t)
	l := launch{args: []string{"dev", "--addr", "127.0.0.1:0", "--redis", r.URL()}, dir: t.TempDir()}
	a, b := l.start(t), l.start(t)
	_, answer := tokenFor(t, a.URL, "demo", "demo-secret", passwordForm("alice", "secret123", ""))
	if status, body := getUsersMe(t, b.URL, answer["access_token"].(string)); status != 200 {
		t.Errorf("the other process: %d %s", status, body)
	}
}

func TestDevTellsThatTheStoreCannotBeReached(t *testing.T) {
	down := startDev(t, "--redis", "redis://127.0.0.1:"+freePort(t))
	const told = "The store can't be reached yet"
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(down.Stdout(), told); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("printed %q", down.Stdout())
		}
	}
	if strings.Contains(down.Stderr(), "pool.go") {
		t.Errorf("go-redis writes into the log:\n%s", down.Stderr())
	}
	if up := startDev(t, "--memory"); strings.Contains(up.Stdout(), told) {
		t.Errorf("printed %q", up.Stdout())
	}
}

func TestDevListensOnLoopbackOnly(t *testing.T) {
	for _, addr := range []string{":8080", "0.0.0.0:0", "[::]:0", "10.0.0.1:0", "example.com:0", "127.0.0.1"} {
		code, _, stderr := launch{args: []string{"dev", "--memory", "--addr", addr}}.run(t)
		if code != 2 || !strings.Contains(stderr, "loopback") || !strings.Contains(stderr, "hint: ") {
			t.Errorf("--addr %s: exit %d, %s", addr, code, stderr)
		}
	}
}

func TestTheLogOfAServerHoldsOneCleanLineARequest(t *testing.T) {
	g := startDev(t, "--memory")
	const n = 7
	_, answer := tokenFor(t, g.URL, "demo", "demo-secret", passwordForm("alice", "secret123", ""))
	access, refresh := answer["access_token"].(string), answer["refresh_token"].(string)
	getUsersMe(t, g.URL, access)
	tokenFor(t, g.URL, "demo", "demo-secret", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	tokenFor(t, g.URL, "evil\n\x1b[2Jclient", "guessed-secret", passwordForm("evil\nuser", "guessed-password", ""))
	tokenFor(t, g.URL, "demo", "guessed-secret", passwordForm("alice", "guessed-password", ""))
	for _, target := range []string{"/token?password=in-the-query", "/x%0alevel=INFO%1b[2J"} {
		resp, err := http.Get(g.URL + target)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	g.Stop()

	log := g.Stderr()
	if got := strings.Count(log, "msg=request"); got != n {
		t.Errorf("%d lines for %d requests:\n%s", got, n, log)
	}
	if strings.ContainsFunc(strings.ReplaceAll(log, "\n", ""), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Errorf("control characters in %q", log)
	}
	for _, secret := range []string{"secret123", "demo-secret", "guessed-", "in-the-query", access, refresh, "evil"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %q:\n%s", secret, log)
		}
	}
}

// A terminal sends SIGHUP when it is closed, and systemd with SendSIGHUP sends
// it right after SIGTERM. It must not cut off requests.
func TestSignalsToStopFinishTheRequestInFlight(t *testing.T) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP) // so that the programs don't inherit an ignored SIGHUP
	for name, signals := range map[string][]syscall.Signal{
		"SIGTERM":             {syscall.SIGTERM},
		"SIGHUP":              {syscall.SIGHUP},
		"SIGTERM, and SIGHUP": {syscall.SIGTERM, syscall.SIGHUP},
		"SIGHUP twice":        {syscall.SIGHUP, syscall.SIGHUP},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startDev(t, "--memory")
			body := passwordForm("alice", "secret123", "").Encode()
			c := dial(t, strings.TrimPrefix(g.URL, "http://"))
			fmt.Fprintf(c, "POST /token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ZGVtbzpkZW1vLXNlY3JldA==\r\n"+
				"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:10])
			time.Sleep(100 * time.Millisecond) // by then the handler is reading
			g.Signal(signals[0])
			waitClosed(t, strings.TrimPrefix(g.URL, "http://"))
			for _, s := range signals[1:] {
				g.Signal(s)
			}
			io.WriteString(c, body[10:])
			status, _ := bufio.NewReader(c).ReadString('\n')
			if !strings.Contains(status, " 200 ") {
				t.Errorf("the request in flight got %q", status)
			}
			if code := g.Wait(15 * time.Second); code != 0 {
				t.Errorf("exit %d\n%s", code, g.Stderr())
			}
		})
	}
}

func TestUnderNohupSIGHUPStopsNothing(t *testing.T) {
	t.Parallel()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	g := launch{program: "nohup", args: []string{path, "dev", "--memory", "--addr", "127.0.0.1:0"}}.start(t)
	g.Signal(syscall.SIGHUP)
	for range 20 { // a process that obeys the signal closes its listener in this time
		time.Sleep(10 * time.Millisecond)
		if status, _ := get(t, g.URL+"/readyz"); status != http.StatusOK {
			t.Errorf("/readyz answers %d", status)
		}
	}
	if code := g.Stop(); code != 0 {
		t.Errorf("exit %d\n%s", code, g.Stderr())
	}
}

// waitClosed waits until nobody listens on the address.
func waitClosed(t *testing.T, addr string) {
	t.Helper()
	for range 1000 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		c.Close()
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the listener was never closed")
}

func TestSlowHeadersOfTheProgramAreCutOffAfterFiveSeconds(t *testing.T) {
	t.Parallel()
	g := startDev(t, "--memory")
	c := dial(t, strings.TrimPrefix(g.URL, "http://"))
	began := time.Now()
	io.WriteString(c, "POST /token HTTP/1.1\r\n")
	io.Copy(io.Discard, c)
	if took := time.Since(began); took < 4*time.Second || took > 8*time.Second {
		t.Errorf("closed after %s, want about 5 s", took)
	}
}
