package main

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// No endpoint redirects yet, so only the registration of redirection URIs can
// be tested.
func TestRedirectionURIsAreKeptWhole(t *testing.T) {
	l := launch{dir: t.TempDir(), env: []string{"GRANTD_DATA=grantd.db"}}
	want := []string{"https://client.test/cb?a=1&a=2", "https://client.test/deep/path", "com.example.app:/cb"}

	l.args = []string{"client", "add", "two", "--grant", "password"}
	for _, uri := range want {
		l.args = append(l.args, "--redirect-uri", uri)
	}
	must(t, l)
	l.args = []string{"client", "list", "--json"}
	var clients []struct {
		RedirectURIs []string `json:"redirect_uris"`
	}
	if err := json.Unmarshal([]byte(must(t, l)), &clients); err != nil || len(clients) != 1 {
		t.Fatalf("%d clients, %v", len(clients), err)
	}
	t.Run("6749-3.1.2.2-03 6749-3.1.2.2-04 several, and all of each", func(t *testing.T) {
		if d := cmp.Diff(want, clients[0].RedirectURIs); d != "" {
			t.Errorf("-want +got\n%s", d)
		}
	})
}
