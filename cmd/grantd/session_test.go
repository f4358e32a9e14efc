package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
)

// signedInAs makes a home with a session at the server.
func signedInAs(t *testing.T, url, user, password string, args ...string) (home string) {
	t.Helper()
	home = t.TempDir()
	login := append([]string{"login", "--server", url, "--username", user, "--password-file", writeFile(t, "pw", password)}, args...)
	must(t, launch{args: login, dir: home})
	return home
}

// Access tokens of demo-short are so short-lived that every command renews the
// session. Of many commands at once none may reuse a refresh token that another
// has spent (RFC 6749 section 6), which would end the session for all of them.
func TestCommandsAtOnceShareTheSession(t *testing.T) {
	g := startDev(t, "--memory")
	home := signedInAs(t, g.URL, "admin", "admin-dev-only",
		"--client-id", "demo-short", "--client-secret-file", writeFile(t, "s", "demo-short-secret"))
	for range 2 {
		var commands sync.WaitGroup
		for range 8 {
			commands.Go(func() {
				code, stdout, stderr := launch{args: []string{"user", "list"}, dir: home}.run(t)
				if code != 0 || !strings.Contains(stdout, "alice") {
					t.Errorf("exit %d, %s%s", code, stdout, stderr)
				}
			})
		}
		commands.Wait()
	}
	left, err := filepath.Glob(filepath.Join(home, ".config", "grantd", "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("%v, %v: want the session and its lock", left, err)
	}
}

// Whoever may write the file of the session may point it to another server. But
// a command that doesn't understand the file says so, and what to do.
func TestSessionsThatCantBeRead(t *testing.T) {
	for name, text := range map[string]string{"no JSON": "{", "no token": `{"server":"http://127.0.0.1:1"}`, "nothing": ""} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			dir := filepath.Join(home, ".config", "grantd")
			if err := errorsOf(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "session.json"), []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
			code, _, stderr := launch{args: []string{"user", "list"}, dir: home}.run(t)
			if code != exitFailed || !strings.Contains(stderr, "can't be read\nhint: grantd login") {
				t.Errorf("exit %d, %s", code, stderr)
			}
			if code, _, stderr := (launch{args: []string{"logout"}, dir: home}).run(t); code != exitFailed || strings.Contains(stderr, "panic") {
				t.Errorf("logout: exit %d, %s", code, stderr)
			}
			if _, err := os.Stat(filepath.Join(dir, "session.json")); err == nil {
				t.Error("logout left the file")
			}
		})
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// evil is a text that controls a terminal, or deceives its reader.
const evil = "\x1b]0;owned\x07\u009b2J\u202egnp.exe\x7f\u200b"

// hostile is a server with that text in all its answers.
func hostile(t *testing.T) string {
	text, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	// Package json escapes the characters below U+0020 only.
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/admin/v1/users":
			fmt.Fprintf(w, `{"users":[{"id":%[1]s,"username":%[1]s,"created":"2026-01-31T12:00:00Z"}]}`, text)
		case "/admin/v1/users/alice":
			fmt.Fprintf(w, `{"id":%[1]s,"username":%[1]s}`, text)
		case "/.well-known/oauth-authorization-server":
			fmt.Fprintf(w, `{"issuer":%s}`, text)
		default:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
			fmt.Fprintf(w, `{"type":"urn:grantd:problem:conflict","title":%[1]s,"detail":%[1]s,"request_id":%[1]s}`, text)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestServerCantDriveTheTerminal(t *testing.T) {
	url := hostile(t)
	password := writeFile(t, "pw", "correct horse battery")
	for _, args := range [][]string{
		{"user", "list"}, {"user", "list", "--json"}, {"user", "show", "alice"}, {"user", "show", "alice", "--json"},
		{"user", "delete", "alice", "--yes"}, {"user", "passwd", "alice", "--password-file", password},
		{"client", "show", "web"}, {"login", "--server", url, "--username", "admin", "--password-file", password},
	} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) {
			_, stdout, stderr := launch{args: args, env: []string{"GRANTD_SERVER=" + url, "GRANTD_TOKEN=gat_x"}}.run(t)
			shown := stdout + stderr
			if i := strings.IndexFunc(shown, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("prints %q", shown)
			}
			if !strings.Contains(shown, "owned") {
				t.Errorf("the server wasn't asked: %s", shown)
			}
		})
	}
}

// FuzzHarmless checks that the printed text means the same as the original, and
// has no invisible parts.
func FuzzHarmless(f *testing.F) {
	f.Add(evil)
	f.Add("plain \U000e0041 \ufffd \" \\ \n")
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "?")
		document, err := json.Marshal(map[string]string{"a": text})
		if err != nil {
			t.Fatal(err)
		}
		shown := harmless(document)
		var back map[string]string
		if err := json.Unmarshal(shown, &back); err != nil || back["a"] != text {
			t.Errorf("%q is shown as %s and read as %q, %v", text, shown, back["a"], err)
		}
		if strings.ContainsFunc(string(shown), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
			t.Errorf("%q is shown as %q", text, shown)
		}
	})
}

// A token goes only to the server that it is for, even if an answer redirects
// elsewhere.
func TestTokensAreNotSentOn(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	here := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer here.Close()
	code, _, stderr := launch{args: []string{"user", "list"}, env: []string{"GRANTD_SERVER=" + here.URL, "GRANTD_TOKEN=gat_x"}}.run(t)
	if code != exitFailed || !strings.HasPrefix(stderr, "grantd: the server answers 307\nhint: check that there is a grantd server") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) > 0 {
		t.Errorf("the other server was asked, with %q", slices.Compact(asked))
	}
}

// With admin_addr the admin API has another address than the server that issues
// its tokens.
func TestLoginWhereAdminsHaveAnAddress(t *testing.T) {
	const password = "first-admin-password"
	port, adminAddr := freePort(t), "127.0.0.1:"+freePort(t)
	env := append([]string{
		"GRANTD_DATA=grantd.db", "GRANTD_ADMIN_ADDR=" + adminAddr, "GRANTD_ISSUER=http://127.0.0.1:" + port + "/tenant",
		"GRANTD_ADMIN_PASSWORD=" + password,
	}, serveEnv[1:]...)
	g := launch{args: []string{"serve", "--addr", "127.0.0.1:" + port}, env: env}.start(t)
	home := signedInAs(t, g.URL+"/tenant", "admin", password)
	code, _, stderr := launch{args: []string{"user", "list"}, dir: home}.run(t)
	if code != exitFailed || !strings.Contains(stderr, "grantd: there is no admin API at "+g.URL) || !strings.Contains(stderr, "hint: ") {
		t.Errorf("at the issuer: exit %d, %s", code, stderr)
	}
	home = signedInAs(t, g.URL+"/tenant", "admin", password, "--admin-server", "http://"+adminAddr)
	for _, server := range []string{"", g.URL + "/tenant", "http://" + adminAddr} {
		out := must(t, launch{args: append([]string{"user", "list"}, "--server", server)[:2+2*min(len(server), 1)], dir: home})
		if !strings.Contains(out, "admin") {
			t.Errorf("%q: %s", server, out)
		}
	}
}
