//go:build interop

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/storage/embedded"
)

// debianPython has Debian's packages; another python3 may come first in PATH.
const debianPython = "/usr/bin/python3"

// interopClient is a program of testdata/interop that drives another project's
// OAuth library. It exits with 0 on success.
type interopClient struct {
	name    string
	dir     string   // below testdata/interop
	install []string // a command that fails when the library is missing
	hint    string   // says what to do then
	run     []string
}

func interopClients() []interopClient {
	const deps, interop = "make deps", "make interop"
	zitadel := filepath.Join(testDir, "zitadel")
	node := func(code string) []string { return []string{"node", "--input-type=module", "-e", code} }
	python := func(code string) []string { return []string{debianPython, "-c", code} }
	return []interopClient{
		{"oauth4webapi", "", node("import 'oauth4webapi'"), deps + " and " + interop, []string{"node", "oauth4webapi.mjs"}},
		{"openid-client", "", node("import 'openid-client'"), deps + " and " + interop, []string{"node", "openid-client.mjs"}},
		{"FastAPI form", "", node("fetch"), deps, []string{"node", "fastapi.mjs"}},
		{"requests-oauthlib", "", python("import requests_oauthlib"), deps, []string{debianPython, "requests_oauthlib_client.py"}},
		{"Authlib", "", python("import authlib, requests"), deps, []string{debianPython, "authlib_client.py"}},
		{"zitadel/oidc", "zitadel", []string{"go", "build", "-o", zitadel, "."}, "go mod download there", []string{zitadel}},
	}
}

// checkCaller calls the function of the README that guards an API in Python.
const checkCaller = `
import os
url, auth = os.environ["GRANTD_URL"], ("demo", "demo-secret")
def sign_in(**more):
    form = {"grant_type": "password", "username": "alice", "password": "secret123", **more}
    return "Bearer " + requests.post(url + "/token", form, auth=auth).json()["access_token"]
status, who = caller(sign_in(), "read")
assert (status, who["username"], who["client_id"]) == (200, "alice", "demo"), (status, who)
for authorization, scope, want in [
    (sign_in(), "write", 403),
    (sign_in(resource=url + "/users/me"), "read", 401),
    (None, "read", 401), ("Basic ZGVtbzpkZW1v", "read", 401), ("Bearer invented", "read", 401),
]:
    assert caller(authorization, scope) == (want, None), (authorization, caller(authorization, scope))
ask = requests.post
def broken(*args, **more): raise requests.ConnectionError
requests.post = broken
assert caller("Bearer x", "read") == (503, None)
requests.post = lambda *args, auth, **more: ask(*args, auth=("demo-api", "wrong"), **more)
assert caller("Bearer x", "read") == (503, None)
`

// TestInterop runs the clients of other projects against the real program:
// whatever one of them can't do counts as a fault of grantd. A missing library
// is a failure.
func TestInterop(t *testing.T) {
	dir := t.TempDir()
	g := launch{args: []string{"dev", "--addr", "127.0.0.1:0", "--throttle", "off"}, dir: dir}.start(t)
	store, err := embedded.Open(filepath.Join(dir, ".grantd", "grantd.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	seedOdd(t, store)
	env := append(os.Environ(), "GRANTD_URL="+g.URL,
		"ODD_ID="+oddID, "ODD_SECRET="+oddSecret, "ODD_USER="+oddUser, "ODD_PASSWORD="+oddPassword,
		"PYTHONUTF8=1", "PYTHONDONTWRITEBYTECODE=1", "GOWORK=off")
	program := strings.ReplaceAll(blocks(t, readme(t), "From Python", "python")[0], "http://127.0.0.1:8080", g.URL)
	env = append(env, "OAUTHLIB_INSECURE_TRANSPORT=1")
	shown := interopClient{"README", "", []string{debianPython, "-c", "import requests_oauthlib"}, "make deps", []string{debianPython, "-c", program + "\nassert session.get(url + '/users/me').status_code == 401\n"}}
	api := strings.ReplaceAll(blocks(t, readme(t), "From Python", "python")[1], "http://127.0.0.1:8080", g.URL)
	guard := interopClient{"README's API", "", []string{debianPython, "-c", "import requests"}, "make deps", []string{debianPython, "-c", api + checkCaller}}
	for _, c := range append(interopClients(), shown, guard) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if out, err := c.command(t, c.install, env); err != nil {
				t.Fatalf("%s is not installed: %s\n%v\n%s", c.name, c.hint, err, out)
			}
			out, err := c.command(t, c.run, env)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("\n%s", out)
		})
	}
}

// command runs a command in the client's directory and returns all that it
// prints.
func (c interopClient) command(t *testing.T, line, env []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = filepath.Join("testdata", "interop", c.dir)
	cmd.Env = env
	return cmd.CombinedOutput()
}
