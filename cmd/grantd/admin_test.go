package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// adminAnswer is what the admin API answered.
type adminAnswer struct {
	status int
	header http.Header
	body   string
}

// admins calls the admin API at base with a token; "" sends none. The path is from
// /admin/v1 on.
func admins(t *testing.T, base, token, method, path, body string) adminAnswer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, base+"/admin/v1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return roundTrip(t, r)
}

func roundTrip(t *testing.T, r *http.Request) adminAnswer {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return adminAnswer{resp.StatusCode, resp.Header, string(b)}
}

func (a adminAnswer) want(t *testing.T, status int) adminAnswer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

func (a adminAnswer) member(t *testing.T, name string) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	text, _ := m[name].(string)
	return text
}

// adminToken signs in as the admin of dev.
func adminToken(t *testing.T, base string) string {
	t.Helper()
	status, answer := tokenFor(t, base, "demo", "demo-secret", passwordForm("admin", "admin-dev-only", "admin"))
	token, _ := answer["access_token"].(string)
	if status != http.StatusOK || token == "" {
		t.Fatalf("the admin signs in: %d %v", status, answer)
	}
	return token
}

func TestAdminAPI(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { adminAPI(t, startDev(t)) })
	t.Run("redis", func(t *testing.T) {
		server := redistest.Single(t)
		adminAPI(t, startDev(t, "--redis", server.URL()))
	})
}

func adminAPI(t *testing.T, g *running) {
	t.Run("6750-3-01 nobody gets in without a token", func(t *testing.T) {
		for _, path := range []string{"/users", "/nothing", ""} {
			a := admins(t, g.URL, "", "GET", path, "").want(t, http.StatusUnauthorized)
			if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s: the challenge is %q", path, a.header.Get("WWW-Authenticate"))
			}
		}
	})
	t.Run("6750-3.1-03 nor with a token that has another scope", func(t *testing.T) {
		status, answer := tokenFor(t, g.URL, "demo", "demo-secret", passwordForm("alice", "secret123", "read admin"))
		if status != http.StatusOK || answer["scope"] != "read" {
			t.Fatalf("alice is granted %v", answer)
		}
		a := admins(t, g.URL, answer["access_token"].(string), "GET", "/users", "").want(t, http.StatusForbidden)
		if !strings.Contains(a.header.Get("WWW-Authenticate"), `scope="admin"`) {
			t.Errorf("the challenge is %q", a.header.Get("WWW-Authenticate"))
		}
	})
	token := adminToken(t, g.URL)
	t.Run("a user is made, disabled, enabled and deleted", func(t *testing.T) { adminUser(t, g.URL, token) })
	t.Run("a client is made, gets another secret and is deleted", func(t *testing.T) { adminClient(t, g.URL, token) })
	t.Run("a client may be an admin as well", func(t *testing.T) {
		_, answer := tokenFor(t, g.URL, "demo-admin", "demo-admin-secret", url.Values{"grant_type": {"client_credentials"}, "scope": {"admin"}})
		admins(t, g.URL, answer["access_token"].(string), "POST", "/users", `{"username":"made-by-a-client"}`).want(t, http.StatusCreated)
	})
	t.Run("the log has each act, with who did it and from where", func(t *testing.T) {
		for _, line := range []string{
			`msg=audit action=user.create outcome=accepted actor_user=admin actor_user_id=usr_\S+ actor_client=demo username=carol user_id=usr_\S+ request_id=\S+ remote=127.0.0.1`,
			`msg=audit action=user.create outcome=accepted actor_client=demo-admin username=made-by-a-client`,
		} {
			eventually(t, g, line)
		}
		if strings.Contains(g.Stderr(), "battery") || strings.Contains(g.Stderr(), token) {
			t.Error("a secret is in the log")
		}
	})
	t.Run("an admin who is disabled is shut out at once", func(t *testing.T) {
		admins(t, g.URL, token, "POST", "/users", `{"username":"second","password":"correct horse battery","admin":true}`).want(t, http.StatusCreated)
		admins(t, g.URL, token, "PATCH", "/users/admin", `{"disabled":true}`).want(t, http.StatusOK)
		admins(t, g.URL, token, "GET", "/users", "").want(t, http.StatusUnauthorized)
	})
}

func adminUser(t *testing.T, base, token string) {
	const password = "correct horse battery"
	made := admins(t, base, token, "POST", "/users", `{"username":"Carol","password":"`+password+`"}`).want(t, http.StatusCreated)
	if made.header.Get("Location") != "/admin/v1/users/carol" {
		t.Errorf("Location is %q", made.header.Get("Location"))
	}
	if a := admins(t, base, token, "GET", "/users?prefix=CAR&admin=false", "").want(t, http.StatusOK); a.body != `{"users":[`+made.body+`]}` {
		t.Errorf("listed as %s", a.body)
	}
	signIn := func() (int, map[string]any) {
		return tokenFor(t, base, "demo", "demo-secret", passwordForm("carol", password, ""))
	}
	refused := func(pair map[string]any) {
		t.Helper()
		if status := request(t, base, pair["access_token"].(string)); status != http.StatusUnauthorized {
			t.Errorf("/users/me answers %d", status)
		}
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {pair["refresh_token"].(string)}}
		if status, answer := tokenFor(t, base, "demo", "demo-secret", form); status != 400 || answer["error"] != "invalid_grant" {
			t.Errorf("a refresh answers %d %v", status, answer)
		}
	}
	for _, change := range []struct{ method, path, body string }{
		{"PATCH", "/users/carol", `{"disabled":true}`},
		{"PATCH", "/users/carol", `{"admin":false}`},
		{"PUT", "/users/carol/password", `{"password":"` + password + `"}`},
		{"DELETE", "/users/carol", ""},
	} {
		status, pair := signIn()
		if status != http.StatusOK || request(t, base, pair["access_token"].(string)) != http.StatusOK {
			t.Fatalf("carol can't sign in before %v: %d %v", change, status, pair)
		}
		if a := admins(t, base, token, change.method, change.path, change.body); a.status >= 300 {
			t.Fatalf("%v: %d %s", change, a.status, a.body)
		}
		refused(pair)
		if strings.Contains(change.body, "disabled") {
			if status, _ := signIn(); status != http.StatusBadRequest {
				t.Errorf("disabled carol signs in: %d", status)
			}
			admins(t, base, token, "PATCH", "/users/carol", `{"disabled":false}`).want(t, http.StatusOK)
		}
	}
	if status, _ := signIn(); status != http.StatusBadRequest {
		t.Errorf("deleted carol signs in: %d", status)
	}
}

func adminClient(t *testing.T, base, token string) {
	made := admins(t, base, token, "POST", "/clients", `{"client_id":"app","grant_types":["client_credentials"],"scopes":["read","write"]}`).want(t, http.StatusCreated)
	first := made.member(t, "client_secret")
	ask := func(secret string) (int, string) {
		status, answer := tokenFor(t, base, "app", secret, url.Values{"grant_type": {"client_credentials"}})
		access, _ := answer["access_token"].(string)
		return status, access
	}
	_, access := ask(first)

	second := admins(t, base, token, "POST", "/clients/app/secret", `{"overlap":60}`).want(t, http.StatusOK).member(t, "client_secret")
	for _, secret := range []string{first, second} {
		if status, _ := ask(secret); status != http.StatusOK {
			t.Errorf("in the window a secret is answered %d", status)
		}
	}
	if status := request(t, base, access); status != http.StatusOK {
		t.Errorf("rotation with an overlap ended the token: %d", status)
	}
	admins(t, base, token, "PATCH", "/clients/app", `{"scopes":["read"]}`).want(t, http.StatusOK)
	if status := request(t, base, access); status != http.StatusUnauthorized {
		t.Errorf("a token with a scope that the client lost: %d", status)
	}
	_, access = ask(second)
	third := admins(t, base, token, "POST", "/clients/app/secret", "").want(t, http.StatusOK).member(t, "client_secret")
	for _, secret := range []string{first, second} {
		if status, _ := ask(secret); status != http.StatusUnauthorized {
			t.Errorf("an old secret is answered %d", status)
		}
	}
	if status := request(t, base, access); status != http.StatusUnauthorized {
		t.Errorf("a token from before the rotation: %d", status)
	}
	_, access = ask(third)
	admins(t, base, token, "DELETE", "/clients/app", "").want(t, http.StatusNoContent)
	if status := request(t, base, access); status != http.StatusUnauthorized {
		t.Errorf("a token of a deleted client: %d", status)
	}
	if status, _ := ask(third); status != http.StatusUnauthorized {
		t.Errorf("a deleted client is answered %d", status)
	}
}

// A client that loses the right to introspect loses it at once on the node that
// makes the change.
func TestAClientIntrospectsNoLonger(t *testing.T) {
	g := startDev(t, "--memory")
	token := adminToken(t, g.URL)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/clients/rs/secret", "", http.StatusUnauthorized},
		{"PATCH", "/clients/rs", `{"introspect":false}`, http.StatusForbidden},
		{"DELETE", "/clients/rs", "", http.StatusUnauthorized},
	} {
		admins(t, g.URL, token, "DELETE", "/clients/rs", "")
		made := admins(t, g.URL, token, "POST", "/clients", `{"client_id":"rs","grant_types":["client_credentials"],"introspect":true}`)
		secret := made.want(t, http.StatusCreated).member(t, "client_secret")
		ask := func() int {
			status, _ := postForm(t, g.URL+"/introspect", "rs", secret, url.Values{"token": {token}})
			return status
		}
		if status := ask(); status != http.StatusOK {
			t.Fatalf("introspection is answered %d", status)
		}
		if a := admins(t, g.URL, token, c.method, c.path, c.body); a.status >= http.StatusMultipleChoices {
			t.Fatalf("%s %s: %d %s", c.method, c.path, a.status, a.body)
		}
		if status := ask(); status != c.status {
			t.Errorf("after %s %s introspection is answered %d, want %d", c.method, c.path, status, c.status)
		}
	}
}

// Only the paths of the admin API may be escaped, because names stand in them.
func TestPathsOfTheAdminAPI(t *testing.T) {
	g := startDev(t, "--memory")
	token := adminToken(t, g.URL)
	for _, name := range []string{"a/b", "bob@example.com", "jürgen", "a%2fb", "a?b"} {
		body, _ := json.Marshal(map[string]string{"username": name})
		admins(t, g.URL, token, "POST", "/users", string(body)).want(t, http.StatusCreated)
		// As encodeURIComponent and Python's quote spell it.
		escaped := strings.ReplaceAll(url.PathEscape(name), "@", "%40")
		if got := admins(t, g.URL, token, "GET", "/users/"+escaped, "").want(t, http.StatusOK).member(t, "username"); got != name {
			t.Errorf("%q is found as %q", name, got)
		}
	}
	for _, path := range []string{"/", "/users/", "/../v1/users", "/users//alice", "/users/%2e%2e/../alice"} {
		a := admins(t, g.URL, "", "GET", path, "").want(t, http.StatusNotFound)
		if a.header.Get("Content-Type") != "application/problem+json" || !strings.Contains(a.body, "urn:grantd:problem:not_found") {
			t.Errorf("GET /admin/v1%s: %s", path, a.body)
		}
	}
	for _, path := range []string{
		"/admin%2Fv1/users", "/%61dmin/v1/users", "/admin//v1/users", "/admin/v2/users", "/admin",
	} {
		status, body := get(t, g.URL+path)
		if status != http.StatusNotFound || body != `{"error":"not_found","error_description":"There is nothing at this path."}` {
			t.Errorf("GET %s: %d %s", path, status, body)
		}
	}
}

// An admin API with an address of its own is served at that address only.
func TestAdminAddr(t *testing.T) {
	dir := t.TempDir()
	adminAddr := "127.0.0.1:" + freePort(t)
	env := append([]string{
		"GRANTD_DATA=grantd.db", "GRANTD_ADMIN_ADDR=" + adminAddr, "GRANTD_ISSUER=http://127.0.0.1/tenant",
		"GRANTD_ADMIN_PASSWORD_FILE=" + writeFile(t, "pw", "first-admin-password\n"),
	}, serveEnv[1:]...)
	g := launch{args: []string{"serve"}, dir: dir, env: env}.start(t)
	_, answer := tokenFor(t, g.URL, "", "", url.Values{
		"grant_type": {"password"}, "client_id": {loginClient}, "username": {"admin"}, "password": {"first-admin-password"}, "scope": {"admin"},
	})
	token, _ := answer["access_token"].(string)

	for _, base := range []string{"http://" + adminAddr, "http://" + adminAddr + "/tenant"} {
		a := admins(t, base, token, "GET", "/users/admin", "").want(t, http.StatusOK)
		if !strings.Contains(a.body, `"username":"admin"`) {
			t.Errorf("%s: %s", base, a.body)
		}
		admins(t, base, "", "GET", "/users", "").want(t, http.StatusUnauthorized)
	}
	for _, base := range []string{g.URL, g.URL + "/tenant"} {
		if a := admins(t, base, token, "GET", "/users", ""); a.status != http.StatusNotFound {
			t.Errorf("%s answers %d", base, a.status)
		}
	}
	for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/token": 404, "/users/me": 404} {
		if status, _ := get(t, "http://"+adminAddr+path); status != want {
			t.Errorf("GET %s for admins: %d, want %d", path, status, want)
		}
	}
	if code := g.Stop(); code != 0 {
		t.Errorf("exit %d\n%s", code, g.Stderr())
	}

	rs := launch{args: []string{"resource"}, dir: dir, env: env}.start(t)
	if a := admins(t, rs.URL, token, "GET", "/users", ""); a.status != http.StatusNotFound {
		t.Errorf("resource answers %d", a.status)
	}
	other := launch{args: []string{"serve", "--admin-addr", strings.TrimPrefix(rs.URL, "http://")}, dir: dir, env: env}
	if code, _, stderr := other.run(t); code != 1 || !strings.Contains(stderr, "hint: if another process uses the address, stop it, or choose another address with admin_addr") {
		t.Errorf("an address that is taken: exit %d\n%s", code, stderr)
	}
}

// The listener of the admin API demands TLS as the main one does.
func TestAdminAddrDemandsTLS(t *testing.T) {
	adminAddr := "127.0.0.1:" + freePort(t)
	g := launch{args: []string{"serve"}, env: []string{
		"GRANTD_DATA=grantd.db", "GRANTD_SECRET=" + secret32, "GRANTD_ISSUER=https://login.example.com", "GRANTD_ADDR=127.0.0.1:0", "GRANTD_ADMIN_ADDR=" + adminAddr,
	}}.start(t)
	for _, addr := range []string{strings.TrimPrefix(g.URL, "http://"), adminAddr} {
		path := "/users/me"
		if addr == adminAddr {
			path = "/admin/v1/users"
		}
		for proto, want := range map[string]int{"http": http.StatusForbidden, "https": http.StatusUnauthorized} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Forwarded-Proto", proto)
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s by %s: %d, want %d", path, proto, resp.StatusCode, want)
			}
		}
	}
}

// In the strict profile a token is good only at the servers that it names; an
// admin is a client there.
func TestAdminInTheStrictProfile(t *testing.T) {
	dir := t.TempDir()
	env := append([]string{"GRANTD_DATA=grantd.db", "GRANTD_PROFILE=strict", "GRANTD_ADMIN_PASSWORD_FILE=" + writeFile(t, "pw", "first-admin-password\n")}, serveEnv...)
	secret := writeFile(t, "s", secret32)
	for _, args := range [][]string{{"ops"}, {"far", "--audience", "https://elsewhere.example"}} {
		args = append([]string{"client", "add"}, append(args, "--grant", "client_credentials", "--scope", "admin", "--secret-file", secret)...)
		must(t, launch{args: args, dir: dir, env: env})
	}
	g := launch{args: []string{"serve"}, dir: dir, env: env}.start(t)
	status := func(client string) int {
		_, answer := tokenFor(t, g.URL, client, secret32, url.Values{"grant_type": {"client_credentials"}, "scope": {"admin"}})
		token, _ := answer["access_token"].(string)
		return admins(t, g.URL, token, "GET", "/users", "").status
	}
	if got := status("ops"); got != http.StatusOK {
		t.Errorf("a token for this server: %d", got)
	}
	t.Run("9700-2.3-02 a token for another server is refused", func(t *testing.T) {
		if got := status("far"); got != http.StatusUnauthorized {
			t.Errorf("%d", got)
		}
	})
	if ids := clientIDs(t, dir); slices.Contains(ids, loginClient) {
		t.Errorf("there is a client with the password grant: %q", ids)
	}
}

func clientIDs(t *testing.T, dir string) (ids []string) {
	t.Helper()
	for _, c := range clientList(t, dir) {
		id, _ := c["client_id"].(string)
		ids = append(ids, id)
	}
	return ids
}

// The client of grantd login is made once, with the first admin. It isn't made
// again after it was deleted.
func TestLoginClient(t *testing.T) {
	env := append([]string{"GRANTD_DATA=grantd.db", "GRANTD_ADMIN_PASSWORD_FILE=" + writeFile(t, "pw", "first-admin-password\n")}, serveEnv...)
	for _, command := range []string{"init", "serve"} {
		t.Run(command, func(t *testing.T) {
			l := launch{args: []string{command}, dir: t.TempDir(), env: env}
			run := func() {
				t.Helper()
				if command == "init" {
					must(t, l)
				} else if code := l.start(t).Stop(); code != 0 {
					t.Errorf("exit %d", code)
				}
			}
			run()
			if ids := clientIDs(t, l.dir); !slices.Equal(ids, []string{loginClient}) {
				t.Errorf("the clients are %q", ids)
			}
			must(t, launch{args: []string{"client", "delete", loginClient, "--yes"}, dir: l.dir, env: env})
			run()
			if ids := clientIDs(t, l.dir); len(ids) != 0 {
				t.Errorf("the clients are %q", ids)
			}
		})
	}
}

func TestFaultsOfAdminAddr(t *testing.T) {
	for name, c := range map[string]struct{ yaml, fault string }{
		"no address":                   {"admin_addr: here", "admin_addr must be host:port"},
		"the server's own":             {"admin_addr: 127.0.0.1:8080", "admin_addr must not be the same address as addr"},
		"that of the metrics":          {"admin_addr: 127.0.0.1:9000\nmetrics_addr: 127.0.0.1:9000", "admin_addr must not be the same address as metrics_addr"},
		"metrics at the server's own":  {"admin_addr: 127.0.0.1:9000\nmetrics_addr: 127.0.0.1:8080", "metrics_addr must not be the same address as addr"},
		"the system chooses the ports": {"admin_addr: 127.0.0.1:0\nmetrics_addr: 127.0.0.1:0", ""},
		"others reach it, by no proxy": {"admin_addr: :9000", "tls_cert is missing: with an https issuer, admin_addr :9000"},
		"only this machine reaches it": {"admin_addr: 127.0.0.1:9000", ""},
		"behind a proxy":               {"admin_addr: :9000\ntrusted_proxies: [10.0.0.0/8]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := &faults{}
			loaded := layers{file: writeFile(t, "grantd.yaml", goodYAML+c.yaml+"\n")}.load(f)
			loaded.checkServe(f)
			var told []string
			for _, one := range f.all {
				told = append(told, one.key+" "+one.text)
			}
			if all := strings.Join(told, "\n"); (c.fault == "") != (all == "") || !strings.Contains(all, c.fault) {
				t.Errorf("told %q", all)
			}
		})
	}
}

// eventually waits for a line of the log.
func eventually(t *testing.T, g *running, pattern string) {
	t.Helper()
	line := regexp.MustCompile(pattern)
	for range 200 {
		if line.MatchString(g.Stderr()) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("no line of the log matches %s\n%s", pattern, g.Stderr())
}
