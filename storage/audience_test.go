package storage_test

import (
	"strings"
	"testing"

	"github.com/grantd/grantd/storage"
)

func TestValidResource(t *testing.T) {
	const host = "https://api.test/"
	for _, s := range []string{
		"https://api.test", host, "https://api.test:8443/t1/?tenant=a&b=%20", "http://127.0.0.1:8080/users/me", "https://[::1]/",
		"HTTPS://API.test", "urn:example:api", "tag:example.com,2026:api", host + strings.Repeat("a", storage.MaxResource-len(host)),
	} {
		if !storage.ValidResource(s) {
			t.Errorf("%q is refused", s)
		}
	}
	for name, s := range map[string]string{
		"empty":              "",
		"a word":             "foo",
		"a path":             "/x",
		"a colon":            ":",
		"no scheme":          "//api.test/",
		"a host and a port":  "127.0.0.1:8080",
		"a scheme alone":     "https:",
		"no host":            "https:///users/me",
		"a fragment":         "https://api.test/#x",
		"an empty fragment":  "https://api.test/#",
		"a space":            "https://api.test/a b",
		"a space at the end": "https://api.test ",
		"a line break":       "https://api.test/\n",
		"a tab":              "https://api.test/\tb",
		"DEL":                "https://api.test/\x7f",
		"beyond ASCII":       "https://api.test/é",
		"not UTF-8":          "https://api.test/\xff",
		"a quote":            `https://api.test/"`,
		"a backslash":        `https://api.test/\`,
		"a brace":            "https://api.test/{id}",
		"a bad escape":       "https://api.test/%zz",
		"too long":           host + strings.Repeat("a", storage.MaxResource-len(host)+1),
	} {
		if storage.ValidResource(s) {
			t.Errorf("%s: %q is taken", name, s)
		}
	}
}

// A valid resource is a single member of a space-separated list.
func FuzzValidResource(f *testing.F) {
	for _, s := range []string{"", "https://api.test", "urn:a:b", "a b", "https://a.test/#x", "https:///x", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !storage.ValidResource(s) {
			return
		}
		if words := strings.Fields(s); len(words) != 1 || words[0] != s || strings.Contains(s, "#") || !strings.Contains(s, ":") {
			t.Errorf("%q is taken", s)
		}
	})
}
