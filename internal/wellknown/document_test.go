package wellknown_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/grantd/grantd/internal/wellknown"
)

// RFC 9110 sections 8.8.3 and 13.1.2.
func TestDocumentIsSentOnce(t *testing.T) {
	type members struct {
		Name string `json:"name"`
	}
	get := func(d wellknown.Document, known string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if known != "" {
			r.Header.Set("If-None-Match", known)
		}
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		return w
	}
	d, same, other := wellknown.NewDocument(members{"a"}), wellknown.NewDocument(members{"a"}), wellknown.NewDocument(members{"b"})
	first := get(d, "")
	tag := first.Header().Get("ETag")
	if first.Code != http.StatusOK || first.Body.String() != `{"name":"a"}` || tag[0] != '"' {
		t.Fatalf("got %d %s with the tag %s, want a strong one", first.Code, first.Body, tag)
	}
	for _, known := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		again := get(same, known)
		if again.Code != http.StatusNotModified || again.Body.Len() > 0 || again.Header().Get("ETag") != tag || again.Header().Get("Cache-Control") == "" {
			t.Errorf("If-None-Match %s: got %d %v %s", known, again.Code, again.Header(), again.Body)
		}
	}
	if changed := get(other, tag); changed.Code != http.StatusOK || changed.Header().Get("ETag") == tag {
		t.Errorf("another document: got %d with the tag %s", changed.Code, changed.Header().Get("ETag"))
	}
}

// RFC 9110 section 14.2: a server may ignore Range.
func TestDocumentIsWholeOrNotSent(t *testing.T) {
	for name, value := range map[string]string{"Range": "bytes=9-", "If-Modified-Since": "Tue, 01 Jan 2030 00:00:00 GMT"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set(name, value)
		w := httptest.NewRecorder()
		wellknown.NewDocument(map[string]string{"a": "b"}).ServeHTTP(w, r)
		if w.Code != http.StatusOK || w.Body.String() != `{"a":"b"}` {
			t.Errorf("%s: got %d %s", name, w.Code, w.Body)
		}
	}
}

// RFC 9110 section 13.1.1. The refusal isn't cached.
func TestDocumentIsTheOneAskedFor(t *testing.T) {
	d := wellknown.NewDocument(map[string]string{"a": "b"})
	get := func(condition string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("If-Match", condition)
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		return w
	}
	w := get("*")
	tag := w.Header().Get("ETag")
	if w.Code != http.StatusOK || get(`"x", `+tag).Code != http.StatusOK {
		t.Errorf("what is there and its tag: got %d, want 200 both times", w.Code)
	}
	for _, condition := range []string{`"other"`, "W/" + tag} {
		if w := get(condition); w.Code != http.StatusPreconditionFailed || w.Body.Len() > 0 || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("If-Match %s: got %d %v %s", condition, w.Code, w.Header(), w.Body)
		}
	}
}

// RFC 9110 section 5.3: each member of a list may have a line of its own.
func TestConditionsMayHaveMoreThanOneLine(t *testing.T) {
	d := wellknown.NewDocument(map[string]string{"a": "b"})
	get := func(name string, lines ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header[name] = lines
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		return w
	}
	tag := get("If-Match").Header().Get("ETag")
	for name, want := range map[string]int{"If-Match": http.StatusOK, "If-None-Match": http.StatusNotModified} {
		for _, lines := range [][]string{{tag, `"x"`}, {`"x"`, tag}, {`"x"`, `"y"`, tag}} {
			if w := get(name, lines...); w.Code != want {
				t.Errorf("%s %q: got %d, want %d", name, lines, w.Code, want)
			}
		}
	}
}
