package admin

import (
	"net/url"
	"strings"
	"testing"
)

// An origin must be spelled as in RFC 6454 section 6.2, because the header
// Origin is compared as text.
func TestOrigins(t *testing.T) {
	for _, good := range []string{
		"https://spa.test", "https://spa.test:8443", "http://localhost:3000", "http://127.0.0.1", "http://[::1]:5173",
		"https://xn--bcher-kva.example", "https://192.0.2.7", "chrome-extension://abcdefghijklmnop", "capacitor://localhost",
	} {
		if !validOrigin(good) {
			t.Errorf("%q was refused", good)
		}
	}
	for _, bad := range []string{
		"", "*", "null", "spa.test", "https://", "https://spa.test/", "https://spa.test/app", "https://SPA.test", "HTTPS://spa.test",
		"https://spa.test:443", "http://localhost:80", "http://spa.test", "https://spa.test:", "https://spa.test:0", "https://spa.test:99999",
		"https://spa.test:08443", "https://u@spa.test", "https://spa.test?", "https://spa.test#", "https://*.spa.test", "https://bücher.example",
		"https://spa.test,https://two.test", "https://spa.test https://two.test", "https://spa.test\n", "//spa.test", "https://[::1", "https://[0:0::1]", "https://[.]", "https://[192.0.2.7]", "https://%73pa.test",
	} {
		if validOrigin(bad) {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// An accepted origin is a scheme, a host and perhaps a port, spelled as a
// browser spells it.
func FuzzOrigin(f *testing.F) {
	for _, seed := range []string{"https://spa.test", "http://localhost:3000", "http://[::1]:5173", "null", "https://spa.test:443", "https://a/b", "http://a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !validOrigin(text) {
			return
		}
		u, err := url.Parse(text)
		if err != nil {
			t.Fatalf("%q does not parse: %v", text, err)
		}
		if u.Scheme+"://"+u.Host != text || u.Hostname() == "" || text != strings.ToLower(text) {
			t.Errorf("%q is more than an origin, or spelled otherwise", text)
		}
		if u.Scheme == "http" && u.Hostname() != "localhost" && !loopbackIP(u.Hostname()) {
			t.Errorf("%q comes by plain http", text)
		}
	})
}
