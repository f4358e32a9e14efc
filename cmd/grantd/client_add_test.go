package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// clientAdd runs grantd client add on the store of dir.
func clientAdd(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return launch{args: append([]string{"client", "add"}, args...), dir: dir, env: []string{"GRANTD_DATA=grantd.db"}}.run(t)
}

// clientList is what grantd client list prints of the store of dir.
func clientList(t *testing.T, dir string) []map[string]any {
	t.Helper()
	var clients []map[string]any
	out := must(t, launch{args: []string{"client", "list", "--json"}, dir: dir, env: []string{"GRANTD_DATA=grantd.db"}})
	if err := json.Unmarshal([]byte(out), &clients); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return clients
}

func TestClientsThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	secret := func(text string) string { return writeFile(t, "secret", text) }
	for name, c := range map[string]struct {
		args []string
		told string
	}{
		"6749-10.1-01 a public client with a secret":     {[]string{"app", "--public", "--secret-file", secret(secret32)}, "a public client has no secret"},
		"6749-4.4-01 a public client for its own sake":   {[]string{"app", "--public", "--grant", "client_credentials"}, "client_credentials, which a public client may not use"},
		"RFC 7662 2.1 a public client that introspects":  {[]string{"app", "--public", "--introspect"}, "may not introspect"},
		"6749-A-01 a client_id that is not ASCII":        {[]string{"clé"}, "visible ASCII"},
		"6749-A-01 a client_id with a line break":        {[]string{"a\nb"}, "visible ASCII"},
		"6749-A-01 an empty client_id":                   {[]string{""}, "the client's id is missing"},
		"6749-A-01 a client_secret that is not ASCII":    {[]string{"web", "--secret-file", secret(secret32 + "é")}, "visible ASCII"},
		"6749-A-01 a client_secret with a line break":    {[]string{"web", "--secret-file", secret(secret32 + "\nx")}, "visible ASCII"},
		"6749-A-01 a client_secret with a control in it": {[]string{"web", "--secret-file", secret(secret32 + "\x7f")}, "visible ASCII"},
		"6749-10.10-01 a client_secret of 23 characters": {[]string{"web", "--secret-file", secret(secret32[:23])}, "at least 24 characters"},
		"6749-3.1.2-01 a redirection URI of a path":      {[]string{"web", "--redirect-uri", "/cb"}, "has to be an absolute URI"},
		"6749-3.1.2-01 a relative redirection URI":       {[]string{"web", "--redirect-uri", "cb"}, "has to be an absolute URI"},
		"6749-3.1.2-01 a redirection URI without scheme": {[]string{"web", "--redirect-uri", "//client.test/cb"}, "has to be an absolute URI"},
		"6749-3.1.2-02 a redirection URI with fragment":  {[]string{"web", "--redirect-uri", "https://client.test/cb#x"}, "without a fragment"},
		"6749-3.1.2-02 one with an empty fragment":       {[]string{"web", "--redirect-uri", "https://client.test/cb#"}, "without a fragment"},
		"a grant that isn't offered":                     {[]string{"web", "--grant", "implicit"}, `--grant "implicit" isn't one that the server offers`},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := clientAdd(t, dir, append([]string{"--grant", "password"}, c.args...)...)
			if code != 2 || stdout != "" || !strings.Contains(stderr, c.told) {
				t.Errorf("exit %d\n%s%s", code, stdout, stderr)
			}
		})
	}
	none := launch{args: []string{"client", "list"}, dir: dir, env: []string{"GRANTD_DATA=grantd.db"}}
	if code, stdout, stderr := none.run(t); code != 1 || !strings.Contains(stderr, "the store is empty") {
		t.Errorf("kept all the same: %s%s", stdout, stderr)
	}
}

func TestKindsOfClients(t *testing.T) {
	dir := t.TempDir()
	made := regexp.MustCompile(`(?m)^client_secret  ([A-Za-z0-9_-]+)$`)
	secrets := map[string]bool{}
	for _, id := range []string{"web", "batch"} {
		_, stdout, _ := clientAdd(t, dir, id, "--grant", "password")
		t.Run("6749-10.10-01 6749-A-01 a secret of 256 bits is made for "+id, func(t *testing.T) {
			m := made.FindStringSubmatch(stdout)
			if m == nil || len(m[1]) != 43 || secrets[m[1]] { // 43 times 6 bits
				t.Fatalf("printed %q", stdout)
			}
			secrets[m[1]] = true
		})
	}
	code, stdout, stderr := clientAdd(t, dir, "app", "--public", "--grant", "password")
	t.Run("6749-10.1-01 no secret is made for a public client", func(t *testing.T) {
		if code != 0 || stdout != "client app added\n" || stderr != "" {
			t.Errorf("exit %d\n%s%s", code, stdout, stderr)
		}
	})

	kinds := map[string]any{}
	for _, c := range clientList(t, dir) {
		kinds[c["client_id"].(string)] = c["public"]
	}
	t.Run("6749-2.1-01 a client is confidential, and kept as such, unless it was called public", func(t *testing.T) {
		if kinds["web"] != false || kinds["batch"] != false || kinds["app"] != true {
			t.Errorf("the member public is %v", kinds)
		}
	})
}
