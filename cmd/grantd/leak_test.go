package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// run is a dev server that gets requests of every kind, with its answers.
type run struct {
	*running
	t       *testing.T
	headers []http.Header
	access  []string // tokens that were issued
	refresh []string
}

// form posts as demo, or as that client, and keeps the tokens of the answer.
func (r *run) form(path, client string, form url.Values) map[string]any {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(client, client+"-secret")
	var answer map[string]any
	if body := r.send(request); body != "" {
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			r.t.Fatalf("%v: %s", err, body)
		}
	}
	if token, ok := answer["access_token"].(string); ok {
		r.access = append(r.access, token)
	}
	if token, ok := answer["refresh_token"].(string); ok {
		r.refresh = append(r.refresh, token)
	}
	return answer
}

func (r *run) send(request *http.Request) string {
	r.t.Helper()
	response, err := http.DefaultTransport.RoundTrip(request) // which follows no redirection
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	r.headers = append(r.headers, response.Header)
	return string(body)
}

// get asks for the target with the token in every place where one could be put.
func (r *run) get(target, token string) string {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.URL+target, http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, name := range []string{"Authorization", "Referer", "User-Agent", "X-Request-Id", "X-Forwarded-For", "Cookie"} {
		request.Header.Set(name, "Bearer "+token)
	}
	return r.send(request)
}

// everything does all that the server offers, well and badly.
func (r *run) everything() {
	first := r.form("/token", "demo", passwordForm("alice", "secret123", "read write"))
	r.form("/token", "demo", passwordForm("alice", "wrong-password", ""))
	r.form("/token", "demo2", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {r.refresh[0]}})
	r.form("/token", "demo", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {r.refresh[0]}})
	r.form("/token", "demo", url.Values{"grant_type": {"client_credentials"}})
	r.form("/token?access_token="+r.access[0], "nobody", passwordForm("alice", "secret123", ""))
	for _, token := range slices.Concat(r.access, r.refresh) {
		for _, target := range []string{"/users/me", "/users/me?access_token=" + token, "/token?code=" + token, "/" + token} {
			r.get(target, token)
		}
		r.form("/introspect", "demo-api", url.Values{"token": {token}})
		r.form("/introspect", "demo", url.Values{"token": {token}})
		r.form("/revoke", "demo2", url.Values{"token": {token}})
	}
	r.form("/revoke", "demo", url.Values{"token": {r.refresh[1]}})
	if first["scope"] != "read write" || len(r.access) != 3 || len(r.refresh) != 2 {
		r.t.Fatalf("the run failed: %v, %d and %d tokens", first, len(r.access), len(r.refresh))
	}
}

func TestAnswersAndTheLogLeakNothing(t *testing.T) {
	r := &run{running: startDev(t, "--memory"), t: t}
	r.everything()
	last := r.form("/token", "demo", passwordForm("alice", "secret123", ""))
	me := map[string]any{}
	if err := json.Unmarshal([]byte(r.get("/users/me", last["access_token"].(string))), &me); err != nil || me["username"] != "alice" {
		t.Fatalf("/users/me says %v: %v", me, err)
	}
	r.Stop()
	log := r.Stderr()
	holds := func(text string) bool {
		for _, token := range slices.Concat(r.access, r.refresh) {
			if strings.Contains(text, token[len("gat_"):]) {
				return true
			}
		}
		return false
	}

	t.Run("6750-5.3-01 no cookie is ever set", func(t *testing.T) {
		for _, h := range r.headers {
			if len(h["Set-Cookie"]) > 0 {
				t.Errorf("headers %v", h)
			}
		}
	})
	t.Run("6750-5.3-04 nobody is sent elsewhere, and no header holds a token", func(t *testing.T) {
		for _, h := range r.headers {
			for name, values := range h {
				if name == "Location" || name == "Link" || name == "Refresh" || holds(strings.Join(values, " ")) {
					t.Errorf("%s: %q", name, values)
				}
			}
		}
	})
	t.Run("6750-5.3-04 no line of the log holds a token", func(t *testing.T) {
		if got := strings.Count(log, "msg=request"); got != len(r.headers) {
			t.Errorf("%d lines for %d requests", got, len(r.headers))
		}
		if holds(log) {
			t.Errorf("the log:\n%s", log)
		}
	})
	// The audit trail may hold the events of the users themselves.
	t.Run("7662-5-01 no line of the log tells of a user", func(t *testing.T) {
		for line := range strings.Lines(log) {
			for _, personal := range []string{"alice", me["sub"].(string)} {
				if strings.Contains(line, personal) && !strings.Contains(line, "msg=audit") {
					t.Errorf("the log holds %q:\n%s", personal, line)
				}
			}
		}
	})
}

// RFC 6749 sections 10.3 and 10.4: whoever reads the store can't use what is in
// it. The files of SQLite, and the append-only file of Redis, hold all that was
// ever written.
func TestStoresKeepNoToken(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		dir := t.TempDir()
		g := launch{args: []string{"dev", "--addr", "127.0.0.1:0"}, dir: dir}.start(t)
		keepsNoToken(t, g, filepath.Join(dir, ".grantd"))
	})
	t.Run("redis", func(t *testing.T) {
		server := redistest.Single(t, "--appendonly", "yes", "--aof-use-rdb-preamble", "no")
		dir, err := server.Client().ConfigGet(t.Context(), "dir").Result()
		if err != nil {
			t.Fatal(err)
		}
		keepsNoToken(t, startDev(t, "--redis", server.URL()), dir["dir"])
	})
}

func keepsNoToken(t *testing.T, g *running, dir string) {
	r := &run{running: g, t: t}
	r.everything()
	stored := files(t, dir)
	if !strings.Contains(stored, "alice") || !strings.Contains(stored, "demo-public") {
		t.Fatal("the files lack what they should have: the test looks in the wrong place")
	}
	for id, tokens := range map[string][]string{"6749-10.3-01 access": r.access, "6749-10.4-01 refresh": r.refresh} {
		t.Run(id+" tokens", func(t *testing.T) {
			for _, token := range tokens {
				raw, err := base64.RawURLEncoding.DecodeString(token[len("gat_"):])
				if err != nil {
					t.Fatal(err)
				}
				secret := raw[21:45] // behind the key, the grant and the generation
				for _, form := range []string{
					token, token[len("gat_"):], string(secret), hex.EncodeToString(secret),
					base64.StdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret),
				} {
					if strings.Contains(stored, form) {
						t.Errorf("the store holds %q", form)
					}
				}
			}
		})
	}
	t.Run("6749-10.3-01 6749-10.4-01 nor what gets one", func(t *testing.T) {
		for _, secret := range []string{"secret123", "wrong-password", "demo-secret", "demo-api-secret"} {
			if strings.Contains(stored, secret) {
				t.Errorf("the store holds %q", secret)
			}
		}
	})
}

// files returns the contents of all files below dir.
func files(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
