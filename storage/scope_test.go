package storage_test

import (
	"strings"
	"testing"

	"github.com/grantd/grantd/storage"
)

func TestValidScopeToken(t *testing.T) {
	var all strings.Builder
	for c := '!'; c <= '~'; c++ {
		if c != '"' && c != '\\' {
			all.WriteRune(c)
		}
	}
	for _, s := range []string{"read", "a", "~", "https://api.test/orders.read", all.String()} {
		if !storage.ValidScopeToken(s) {
			t.Errorf("%q is refused", s)
		}
	}
	for name, s := range map[string]string{
		"empty":        "",
		"a space":      "read write",
		"a tab":        "read\t",
		"a line break": "read\n",
		"NUL":          "\x00",
		"DEL":          "read\x7f",
		"a quote":      `re"ad`,
		"a backslash":  `read\`,
		"beyond ASCII": "lesé",
		"not UTF-8":    "read\xff",
	} {
		if storage.ValidScopeToken(s) {
			t.Errorf("%s: %q is taken", name, s)
		}
	}
}
