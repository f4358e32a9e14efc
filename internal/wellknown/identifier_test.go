package wellknown_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/internal/wellknown"
)

// The places are those of the examples in RFC 8414 section 3.1 and RFC 9728
// section 3.1, and of similar identifiers.
func TestPlaces(t *testing.T) {
	for text, want := range map[string]struct{ base, place, url string }{
		"https://example.com":           {"https://example.com", "/.well-known/x", "https://example.com/.well-known/x"},
		"https://example.com/":          {"https://example.com", "/.well-known/x", "https://example.com/.well-known/x"},
		"https://example.com/issuer1":   {"https://example.com/issuer1", "/.well-known/x/issuer1", "https://example.com/.well-known/x/issuer1"},
		"https://example.com/a/b/":      {"https://example.com/a/b", "/.well-known/x/a/b", "https://example.com/.well-known/x/a/b"},
		"http://127.0.0.1:8080/a":       {"http://127.0.0.1:8080/a", "/.well-known/x/a", "http://127.0.0.1:8080/.well-known/x/a"},
		"http://[::1]:8080":             {"http://[::1]:8080", "/.well-known/x", "http://[::1]:8080/.well-known/x"},
		"https://Example.com/Issuer":    {"https://Example.com/Issuer", "/.well-known/x/Issuer", "https://Example.com/.well-known/x/Issuer"},
		"https://example.com/a:b@c,d;e": {"https://example.com/a:b@c,d;e", "/.well-known/x/a:b@c,d;e", "https://example.com/.well-known/x/a:b@c,d;e"},
		"https://a/a":                   {"https://a/a", "/.well-known/x/a", "https://a/.well-known/x/a"},
	} {
		id, err := wellknown.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := struct{ base, place, url string }{id.Base, id.Place("x"), id.URL("x")}
		if got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestParseTakesApart(t *testing.T) {
	got, err := wellknown.Parse("http://[::1]:8080/t1/")
	want := wellknown.Identifier{Scheme: "http", Host: "::1", Base: "http://[::1]:8080/t1", Path: "/t1"}
	if err != nil || got != want {
		t.Errorf("%s %v", cmp.Diff(want, got), err)
	}
}

func TestWhatIsNoIdentifier(t *testing.T) {
	for _, text := range []string{
		"", "example.com", "/a", "//example.com", "https:example.com", "https://", "https:///a", "https://:443",
		"ftp://example.com", "HTTPS://example.com", "https://é.example", "https://a\"b", "https://a b", "https://a\\b",
		"https://example.com?", "https://example.com?x", "https://example.com/a?x=1", "https://example.com#", "https://example.com#y",
		"https://user@example.com", "https://user:pw@example.com", "https://@example.com",
		"https://example.com//", "https://example.com//a", "https://example.com/a//", "https://example.com/./a", "https://example.com/a/..",
		"https://example.com/%61", "https://example.com/a%2Fb", "https://example.com/a b", "https://example.com/é",
		"https://example.com/{a}", "https://example.com/a!", "https://example.com/\"", "https://example.com/[a]", "https://example.com/\n",
	} {
		if id, err := wellknown.Parse(text); err == nil {
			t.Errorf("%q was taken as %+v", text, id)
		}
	}
}

// The place of any accepted identifier can be registered, and its URL reaches
// it.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"https://example.com/a/", "http://[::1]:1/a:b", "https://example.com/{a}", "https://a//", "https://h/%61", "https://h/a?b#c"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := wellknown.Parse(text)
		if err != nil {
			return
		}
		if id.Base != text && id.Base+"/" != text {
			t.Errorf("%q has the base %q", text, id.Base)
		}
		reached := false
		mux := http.NewServeMux()
		mux.HandleFunc(id.Place("x"), func(http.ResponseWriter, *http.Request) { reached = true })
		mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, id.URL("x"), nil))
		if !reached {
			t.Errorf("%q: GET %s doesn't reach %s", text, id.URL("x"), id.Place("x"))
		}
	})
}
