package wellknown

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestAnyOriginAllocatesNothing(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	w := httptest.NewRecorder()
	AnyOrigin(w, r)
	if n := testing.AllocsPerRun(100, func() { AnyOrigin(w, r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAnyOrigin(t *testing.T) {
	ask := func(method string, headers ...string) (*httptest.ResponseRecorder, bool) {
		r := httptest.NewRequest(method, "/", nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		return w, AnyOrigin(w, r)
	}
	t.Run("a preflight is answered", func(t *testing.T) {
		w, answered := ask("OPTIONS", "Origin", "https://spa.test", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization")
		h := w.Header()
		if !answered || w.Code != http.StatusNoContent || h.Get("Access-Control-Allow-Origin") != "*" ||
			h.Get("Access-Control-Allow-Methods") != "GET, HEAD" || h.Get("Access-Control-Allow-Headers") != "Authorization, *" {
			t.Errorf("answered %v: %d %v", answered, w.Code, h)
		}
		if h.Get("Access-Control-Allow-Credentials") != "" {
			t.Error("cookies are let in")
		}
	})
	for name, other := range map[string][]string{
		"a GET":                    {"GET", "Origin", "https://spa.test"},
		"OPTIONS of no script":     {"OPTIONS"},
		"OPTIONS without a method": {"OPTIONS", "Origin", "https://spa.test"},
	} {
		t.Run("what is no preflight goes on: "+name, func(t *testing.T) {
			w, answered := ask(other[0], other[1:]...)
			if answered || w.Header().Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("answered %v: %v", answered, w.Header())
			}
		})
	}
}
