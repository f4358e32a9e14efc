package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// TestRevokeAndIntrospect drives the real program: after POST /revoke ended a
// sign-in, the guard of /users/me and POST /introspect refuse its tokens from
// the next request on.
func TestRevokeAndIntrospect(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { revokeAndIntrospect(t, startDev(t).URL) })
	t.Run("redis", func(t *testing.T) {
		server := redistest.Single(t)
		revokeAndIntrospect(t, startDev(t, "--redis", server.URL()).URL)
	})
}

func revokeAndIntrospect(t *testing.T, base string) {
	for _, presented := range []string{"refresh_token", "access_token"} {
		t.Run("7009-2.1-08 7662-4-03 the "+presented+" is revoked", func(t *testing.T) {
			_, pair := tokenFor(t, base, "demo", "demo-secret", passwordForm("alice", "secret123", ""))
			access, _ := pair["access_token"].(string)
			token, _ := pair[presented].(string)

			var told map[string]any
			_, body := postForm(t, base+"/introspect", "demo-api", "demo-api-secret", url.Values{"token": {access}})
			if err := json.Unmarshal([]byte(body), &told); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			if told["active"] != true || told["username"] != "alice" || told["client_id"] != "demo" || told["scope"] != "read" {
				t.Errorf("introspection tells %v", told)
			}
			if status := request(t, base, access); status != http.StatusOK {
				t.Errorf("/users/me answers %d before the revocation", status)
			}

			if status, body := postForm(t, base+"/revoke", "demo", "demo-secret", url.Values{"token": {token}}); status != http.StatusOK || body != "" {
				t.Fatalf("/revoke answers %d %s", status, body)
			}
			if status := request(t, base, access); status != http.StatusUnauthorized {
				t.Errorf("/users/me answers %d after the revocation", status)
			}
			if _, body := postForm(t, base+"/introspect", "demo-api", "demo-api-secret", url.Values{"token": {access}}); body != `{"active":false}` {
				t.Errorf("introspection tells %s", body)
			}
			refresh, _ := pair["refresh_token"].(string)
			form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}
			if status, answer := tokenFor(t, base, "demo", "demo-secret", form); status != 400 || answer["error"] != "invalid_grant" {
				t.Errorf("a refresh answers %d %v", status, answer)
			}
		})
	}
	t.Run("7662-2.1-07 an anonymous question is refused, also where a default client is", func(t *testing.T) {
		if status, body := postForm(t, base+"/introspect", "", "", url.Values{"token": {"x"}}); status != 401 || !strings.Contains(body, `"invalid_client"`) {
			t.Errorf("%d %s", status, body)
		}
	})
	t.Run("7662-4-07 so is one of a client that has no right to it", func(t *testing.T) {
		if status, body := postForm(t, base+"/introspect", "demo", "demo-secret", url.Values{"token": {"x"}}); status != 403 || !strings.Contains(body, `"unauthorized_client"`) {
			t.Errorf("%d %s", status, body)
		}
	})
}

// TestReadmeRevocation runs the lines of the section, and compares the answers
// with those in the README: the first by its members, the others as a whole.
func TestReadmeRevocation(t *testing.T) {
	g := startDev(t, "--memory")
	_, pair := tokenFor(t, g.URL, "demo", "demo-secret", passwordForm("alice", "secret123", ""))
	env := []string{fmt.Sprint("ACCESS_TOKEN=", pair["access_token"]), fmt.Sprint("REFRESH_TOKEN=", pair["refresh_token"])}
	steps := strings.Split(strings.TrimSpace(blocks(t, readme(t), "Log out, and ask about a token", "console")[0]), "\n\n")
	if len(steps) != 3 {
		t.Fatalf("the section has %d lines, want 3", len(steps))
	}
	for i, step := range steps {
		line, shown, _ := strings.Cut(step, "\n")
		line = strings.ReplaceAll(strings.TrimPrefix(line, "$ "), "http://127.0.0.1:8080", g.URL)
		got := strings.TrimSpace(shell(t, line, env...))
		if i > 0 && got != shown {
			t.Errorf("%s: got %q, README shows %q", line, got, shown)
		}
		if i > 0 {
			continue
		}
		wantNames, _ := members(t, shown)
		if gotNames, _ := members(t, got); !slices.Equal(gotNames, wantNames) {
			t.Errorf("%s: got the members %q, README shows %q", line, gotNames, wantNames)
		}
	}
}

// postForm posts as that client, or as none, and returns the status and body.
func postForm(t *testing.T, address, id, secret string, form url.Values) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if id != "" {
		r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// The operator decides whether the scope introspect is granted: the server
// knows it only when it is configured.
func TestIntrospectWithABearerToken(t *testing.T) {
	env := append([]string{
		"GRANTD_DATA=grantd.db", "GRANTD_SCOPES=read introspect",
	}, serveEnv...)
	dir := t.TempDir()
	l := launch{args: []string{"client", "add", "audit", "--grant", "client_credentials", "--scope", "introspect", "--scope", "read"}, dir: dir, env: env}
	printed := strings.Fields(must(t, l))
	secret := printed[len(printed)-1]
	l.args = []string{"serve"}
	g := l.start(t)

	ask := func(scope string) (int, http.Header) {
		_, answer := tokenFor(t, g.URL, "audit", secret, url.Values{"grant_type": {"client_credentials"}, "scope": {scope}})
		token, _ := answer["access_token"].(string)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+"/introspect", strings.NewReader("token="+token))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode, response.Header
	}
	if status, _ := ask("introspect"); status != http.StatusOK {
		t.Errorf("with the scope introspect: %d", status)
	}
	if status, header := ask("read"); status != http.StatusUnauthorized || !strings.Contains(header.Get("WWW-Authenticate"), "insufficient_scope") {
		t.Errorf("7662-2.3-02 without it: %d %s", status, header.Get("WWW-Authenticate"))
	}
}
