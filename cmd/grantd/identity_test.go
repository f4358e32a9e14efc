package main

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// RFC 9700 sections 2.6 and 4.15: the ids of clients and of users never meet.
func TestClientsDoNotPassForUsers(t *testing.T) {
	g := startDev(t, "--memory")
	told := func(form url.Values) (introspected, me map[string]any) {
		_, answer := tokenFor(t, g.URL, "demo", "demo-secret", form)
		token, _ := answer["access_token"].(string)
		_, body := postForm(t, g.URL+"/introspect", "demo-api", "demo-api-secret", url.Values{"token": {token}})
		_, meBody := getUsersMe(t, g.URL, token)
		for text, to := range map[string]*map[string]any{body: &introspected, meBody: &me} {
			if err := json.Unmarshal([]byte(text), to); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
		}
		return introspected, me
	}
	t.Run("9700-4.15.1-01 9700-2.6-02 a client's token has no username, and its sub is no user's", func(t *testing.T) {
		for _, of := range asList(told(url.Values{"grant_type": {"client_credentials"}})) {
			if _, named := of["username"]; named || of["sub"] != "demo" || of["client_id"] != "demo" {
				t.Errorf("told %v", of)
			}
		}
	})
	t.Run("9700-4.15.1-01 9700-2.6-02 a user's token has one, and its sub is no client's", func(t *testing.T) {
		for _, of := range asList(told(passwordForm("alice", "secret123", ""))) {
			if sub, _ := of["sub"].(string); of["username"] != "alice" || !strings.HasPrefix(sub, "usr_") {
				t.Errorf("told %v", of)
			}
		}
	})
}

func asList(a, b map[string]any) []map[string]any { return []map[string]any{a, b} }

func TestClientIDsThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	env := []string{"GRANTD_DATA=grantd.db"}
	added := must(t, launch{args: []string{"user", "add", "alice", "--password-file", writeFile(t, "p", "correct horse battery")}, dir: dir, env: env})
	words := strings.Fields(added)
	for name, id := range map[string]string{
		"a user's name":               "alice",
		"such a name in another case": "Alice",
		"a user's id":                 words[len(words)-1],
		"an id that a user may get":   "usr_0123456789abcdef",
	} {
		t.Run("9700-2.6-02 "+name, func(t *testing.T) {
			code, _, stderr := launch{args: []string{"client", "add", id, "--grant", "client_credentials"}, dir: dir, env: env}.run(t)
			if code == 0 || !strings.Contains(stderr, "RFC 9700 section 4.15") {
				t.Errorf("%s: exit %d: %s", id, code, stderr)
			}
		})
	}
	t.Run("9700-2.6-02 any other id is free", func(t *testing.T) {
		must(t, launch{args: []string{"client", "add", "alice-app", "--grant", "client_credentials"}, dir: dir, env: env})
	})
}

func TestRedirectURIsOfPlainHTTP(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		uri    string
		public bool
		code   int
	}{
		"of a website":                          {"http://client.test/cb", false, 2},
		"of a public website":                   {"http://client.test/cb", true, 2},
		"on loopback, of a confidential client": {"http://127.0.0.1/cb", false, 2},
		"on a name that may resolve elsewhere":  {"http://localhost/cb", true, 2},
		"on loopback, of an app":                {"http://127.0.0.1/cb", true, 0},
		"on loopback by IPv6, of an app":        {"http://[::1]/cb", true, 0},
		"in capitals":                           {"HTTP://client.test/cb", true, 2},
		"https":                                 {"https://client.test/cb", false, 0},
	} {
		t.Run("9700-2.6-03 "+name, func(t *testing.T) {
			args := []string{"client", "add", "app" + randomText(6), "--grant", "password", "--redirect-uri", c.uri}
			if c.public {
				args = append(args, "--public")
			}
			code, _, stderr := launch{args: args, dir: dir, env: []string{"GRANTD_DATA=grantd.db"}}.run(t)
			if code != c.code || code != 0 && !strings.Contains(stderr, "has to be https") {
				t.Errorf("exit %d: %s", code, stderr)
			}
		})
	}
}
