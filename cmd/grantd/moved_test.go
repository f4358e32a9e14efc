package main

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// gone is what GET /readyz says of a store whose file isn't at its path any more.
const gone = `{"status":"unavailable","reason":"store","store":"down","circuit":"closed"}`

// serveOnFile starts the program on the embedded store in dir/lib/grantd.db, with the
// client web, which may do everything.
func serveOnFile(t *testing.T, dir string) (g *running, l launch) {
	t.Helper()
	l = launch{dir: dir, env: append([]string{"GRANTD_DATA=lib/grantd.db", firstAdmin}, serveEnv...)}
	must(t, launch{args: []string{
		"client", "add", "web", "--grant", "password", "--grant", "refresh_token", "--grant", "client_credentials",
		"--scope", "read", "--scope", "admin", "--introspect", "--secret-file", writeFile(t, "s", secret32),
	}, dir: l.dir, env: l.env})
	g = l.with("serve").start(t)
	g.awaitReady()
	return g, l
}

// moveAway moves the store's files into the new directory "before".
func moveAway(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "before"), 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "lib", "grantd.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, file := range files {
		if err := os.Rename(file, filepath.Join(dir, "before", filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
}

// A server whose file is moved, deleted or replaced while it runs answers no request
// from the file any more, and works again after a restart.
func TestAServerWhoseFileIsGoneSaysSo(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, dir string){
		"moved": moveAway,
		"moved with its directory": func(t *testing.T, dir string) {
			if err := os.Rename(filepath.Join(dir, "lib"), filepath.Join(dir, "before")); err != nil {
				t.Fatal(err)
			}
		},
		"deleted": func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "lib")); err != nil {
				t.Fatal(err)
			}
		},
		"replaced": func(t *testing.T, dir string) {
			other := t.TempDir()
			g, _ := serveOnFile(t, other)
			g.Stop()
			if err := os.Rename(filepath.Join(other, "lib", "grantd.db"), filepath.Join(dir, "lib", "grantd.db")); err != nil {
				t.Fatal(err)
			}
			for _, companion := range []string{"-wal", "-shm"} { // companions of the file that is gone
				if err := os.Remove(filepath.Join(dir, "lib", "grantd.db"+companion)); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			g, l := serveOnFile(t, dir)
			all := storeRequests(t, g.URL)
			take(t, dir)
			g.awaitHealth(http.StatusServiceUnavailable, gone)
			for _, a := range all {
				if status, retry, body := a.of(t, g.URL); status != http.StatusServiceUnavailable || retry != "1" {
					t.Errorf("%s: %d, Retry-After %q: %s", a.name, status, retry, body)
				}
			}
			g.awaitLog("its file was moved, deleted or replaced: restart this process")
			if code := g.Stop(); code != 0 {
				t.Errorf("exit %d\n%s", code, g.Stderr())
			}
			g = l.with("serve").start(t) // makes a store if there is none
			g.awaitReady()
			if status, body := getUsersMe(t, g.URL, all[5].bearer); status != http.StatusUnauthorized {
				t.Errorf("a token of the store that is gone: %d %s", status, body)
			}
		})
	}
}

// If the store is restored while a server runs on the old file, no revocation is lost:
// the server acknowledges none, and after a command's revocation it accepts no token.
func TestARestoreUnderARunningServerLosesNoRevocation(t *testing.T) {
	dir := t.TempDir()
	g, l := serveOnFile(t, dir)
	signIn := func() string {
		t.Helper()
		status, pair := tokenFor(t, g.URL, "web", secret32, passwordForm("admin", "first-admin-password", ""))
		if status != http.StatusOK {
			t.Fatalf("sign-in: %d %v", status, pair)
		}
		return pair["access_token"].(string)
	}
	access, other := signIn(), signIn()
	do := func(args ...string) {
		t.Helper()
		must(t, launch{args: args, dir: l.dir, env: l.env})
	}
	do("backup", "b.db")
	moveAway(t, dir)
	do("restore", "b.db", "--keep-grants")

	logout := func(token string) storeRequest {
		return storeRequest{name: "revoke", method: "POST", path: "/revoke", form: url.Values{"token": {token}}}
	}
	if status, retry, body := logout(access).of(t, g.URL); status != http.StatusServiceUnavailable || retry != "1" {
		t.Errorf("revoke at the server: %d, Retry-After %q: %s", status, retry, body)
	}
	do("grant", "revoke", "--user", "admin")
	for _, token := range []string{access, other} {
		if status, body := getUsersMe(t, g.URL, token); status != http.StatusServiceUnavailable {
			t.Errorf("/users/me after the command: %d %s", status, body)
		}
	}
	g.awaitHealth(http.StatusServiceUnavailable, gone)
	g.Stop()
	g = l.with("serve").start(t)
	g.awaitReady()
	for _, token := range []string{access, other} {
		if status, body := getUsersMe(t, g.URL, token); status != http.StatusUnauthorized {
			t.Errorf("/users/me after the restart: %d %s", status, body)
		}
	}
	access = signIn()
	if status, _, body := logout(access).of(t, g.URL); status != http.StatusOK {
		t.Errorf("revoke after the restart: %d %s", status, body)
	}
	if status, body := getUsersMe(t, g.URL, access); status != http.StatusUnauthorized {
		t.Errorf("/users/me after that: %d %s", status, body)
	}
}
