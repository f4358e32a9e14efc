package resource_test

import (
	"regexp"
	"strings"
	"testing"
)

// A token that reaches the validator fits the grammar of RFC 6750 section 2.1
// and is unchanged from the header. Every token that fits reaches it.
func FuzzAuthorizationHeader(f *testing.F) {
	for _, header := range []string{
		"", "Bearer", "Bearer ", "Bearer a", "bearer  a==", "Bearer a b", "Bearer\ta", "Basic eDp5", "Bearer é", "Bearer =", ",Bearer a", "gat_abc",
	} {
		f.Add(header)
	}
	b64token := regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)
	v := &spy{}
	h := guarded(f, v)
	f.Fuzz(func(t *testing.T, header string) {
		call(h, header)
		if token := v.took(); token != "" {
			fits := b64token.MatchString(token) && strings.HasSuffix(header, " "+token)
			if !fits || !strings.EqualFold(header[:7], "Bearer ") {
				t.Errorf("%q gave the token %q", header, token)
			}
		}
		call(h, "Bearer "+header)
		if token := v.took(); b64token.MatchString(header) && token != header {
			t.Errorf("the token %q reached the validator as %q", header, token)
		}
	})
}
