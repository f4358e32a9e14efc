package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// formFor is a sign-in of alice for the resources. Without resources it has no
// such parameter.
func formFor(password string, resources ...string) url.Values {
	form := passwordForm("alice", password, "")
	form["resource"] = resources
	return form
}

// tokenOf is the access token of a sign-in that succeeds.
func tokenOf(t *testing.T, base, client, secret string, form url.Values) string {
	t.Helper()
	status, answer := tokenFor(t, base, client, secret, form)
	token, _ := answer["access_token"].(string)
	if status != http.StatusOK || token == "" {
		t.Fatalf("%s for %q: %d %v", client, form["resource"], status, answer)
	}
	return token
}

// introspected is the answer to demo-api about the token.
func introspected(t *testing.T, base, token string) (told map[string]any) {
	t.Helper()
	_, body := postForm(t, base+"/introspect", "demo-api", "demo-api-secret", url.Values{"token": {token}})
	if err := json.Unmarshal([]byte(body), &told); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return told
}

// TestAudience drives grantd dev; its base URL is the address that it listens
// on.
func TestAudience(t *testing.T) {
	dir := t.TempDir()
	g := launch{args: []string{"dev", "--addr", "127.0.0.1:" + freePort(t)}, dir: dir}.start(t)
	me := g.URL + "/users/me"
	must(t, launch{dir: dir, args: []string{
		"client", "add", "shop", "--grant", "password", "--audience", "https://other.test", "--audience", me,
		"--secret-file", writeFile(t, "s", secret32), "--data", ".grantd/grantd.db",
	}})

	t.Run("8707-2-05 9728-7.4-01 a token for /users/me is good there, and tells so", func(t *testing.T) {
		token := tokenOf(t, g.URL, "demo", "demo-secret", formFor("secret123", me))
		told := introspected(t, g.URL, token)
		if told["aud"] != me || told["iss"] != g.URL {
			t.Errorf("introspection tells %v", told)
		}
		status, body := getUsersMe(t, g.URL, token)
		if _, members := members(t, body); status != http.StatusOK || members["aud"] != me {
			t.Errorf("/users/me answers %d %s", status, body)
		}
	})
	t.Run("so is one for the whole resource server, and one for all", func(t *testing.T) {
		for _, resources := range [][]string{{g.URL}, {g.URL, me}, nil} {
			if status := request(t, g.URL, tokenOf(t, g.URL, "demo", "demo-secret", formFor("secret123", resources...))); status != http.StatusOK {
				t.Errorf("%q: /users/me answers %d", resources, status)
			}
		}
	})
	t.Run("9700-2.3-03 6750-5.3-03 one for another resource server is not", func(t *testing.T) {
		token := tokenOf(t, g.URL, "shop", secret32, formFor("secret123", "https://other.test"))
		if told := introspected(t, g.URL, token); told["aud"] != "https://other.test" {
			t.Errorf("introspection tells %v", told)
		}
		status, body := getUsersMe(t, g.URL, token)
		if _, members := members(t, body); status != http.StatusUnauthorized || members["error"] != "invalid_token" {
			t.Errorf("/users/me answers %d %s", status, body)
		}
	})
	t.Run("9700-2.3-02 6750-5.3-03 a client's own audiences are the default", func(t *testing.T) {
		token := tokenOf(t, g.URL, "shop", secret32, formFor("secret123"))
		if d := cmp.Diff(any([]any{"https://other.test", me}), introspected(t, g.URL, token)["aud"]); d != "" {
			t.Errorf("aud (-want +got)\n%s", d)
		}
		if status := request(t, g.URL, token); status != http.StatusOK {
			t.Errorf("/users/me answers %d", status)
		}
	})
	t.Run("8707-2-04 what nobody knows is an invalid_target", func(t *testing.T) {
		form := formFor("secret123", "https://other.test")
		if status, answer := tokenFor(t, g.URL, "demo", "demo-secret", form); status != http.StatusBadRequest || answer["error"] != "invalid_target" {
			t.Errorf("got %d %v", status, answer)
		}
	})
}

// TestAudienceOfASeparateResourceServer has serve and resource at two URLs, as in
// docker-compose.yml.
func TestAudienceOfASeparateResourceServer(t *testing.T) {
	const password = "not-of-the-demo"
	dir := t.TempDir()
	env := append([]string{"GRANTD_DATA=grantd.db", "GRANTD_RESOURCE=http://127.0.0.1:8081/v1"}, serveEnv...)
	must(t, launch{args: []string{"user", "add", "alice", "--password-file", writeFile(t, "pw", password+"\n")}, dir: dir, env: env})
	must(t, launch{args: []string{"client", "add", "web", "--grant", "password", "--secret-file", writeFile(t, "s", secret32)}, dir: dir, env: env})
	as := launch{args: []string{"serve"}, dir: dir, env: env}.start(t)
	rs := launch{args: []string{"resource"}, dir: dir, env: env}.start(t)

	for _, identifier := range []string{"http://127.0.0.1:8081/v1", "http://127.0.0.1:8081/v1/users/me"} {
		token := tokenOf(t, as.URL, "web", secret32, formFor(password, identifier))
		for _, base := range []string{as.URL, rs.URL} {
			if status := request(t, base, token); status != http.StatusOK {
				t.Errorf("a token for %s at %s: %d", identifier, base, status)
			}
		}
	}
	issuer := formFor(password, "http://127.0.0.1")
	if status, answer := tokenFor(t, as.URL, "web", secret32, issuer); status != http.StatusBadRequest || answer["error"] != "invalid_target" {
		t.Errorf("the issuer is no resource server here: %d %v", status, answer)
	}
}
