package resource_test

import (
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
)

// RFC 6749 section 10.3: nobody can make, change or guess an access token.
func TestInventedTokens(t *testing.T) {
	a := newAPI(t, func(c *resource.Config) { c.Note = nil })
	good := a.accessToken(t)
	r := httptest.NewRequest(http.MethodGet, "/users/me", nil)
	ask := func(token string) *httptest.ResponseRecorder { // not through the network, since there are many requests
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		a.Config.Handler.ServeHTTP(w, r)
		return w
	}
	refused := func(t *testing.T, token string) {
		t.Helper()
		w := ask(token)
		if c := w.Header().Get("WWW-Authenticate"); w.Code != http.StatusUnauthorized || !strings.Contains(c, `error="invalid_token"`) {
			t.Fatalf("%s: %d, challenge %q", token, w.Code, c)
		}
	}

	t.Run("6749-10.3-02 any character changed to any other", func(t *testing.T) {
		for i := range good {
			for c := byte(0x21); c < 0x7f; c++ {
				if c != good[i] {
					refused(t, good[:i]+string(c)+good[i+1:])
				}
			}
		}
	})
	t.Run("6749-10.3-02 6750-5.2-01 100,000 random tokens of the same shape", func(t *testing.T) {
		random := rand.NewChaCha8([32]byte{1})
		var raw [57]byte
		for range 100_000 {
			random.Read(raw[:])
			refused(t, "gat_"+base64.RawURLEncoding.EncodeToString(raw[:]))
		}
	})
	t.Run("6749-10.3-02 random secrets for a grant that there is", func(t *testing.T) {
		random := rand.NewChaCha8([32]byte{2})
		raw, err := base64.RawURLEncoding.DecodeString(good[len("gat_"):])
		if err != nil {
			t.Fatal(err)
		}
		for range 10_000 {
			random.Read(raw[21:]) // before that come the key, the grant and the generation
			refused(t, "gat_"+base64.RawURLEncoding.EncodeToString(raw))
		}
	})
	if n := a.lookups.Load(); n != 0 {
		t.Errorf("%d look-ups for tokens that nobody issued", n)
	}
	if w := ask(good); w.Code != http.StatusOK {
		t.Errorf("the token itself: %d", w.Code)
	}
}

// RFC 7662 section 4: a resource server that can't check a token lets nobody
// in, but doesn't reject the token for good. Here the look-up in the store
// stands for the introspection.
func TestTheGuardFailsClosed(t *testing.T) {
	a := newAPI(t)
	token := "Bearer " + a.accessToken(t)
	for name, fault := range map[string]error{
		"the store is down":       storage.ErrUnavailable,
		"the record is no record": storage.ErrEncoding,
		"something else":          errors.New("broken"),
	} {
		t.Run("7662-4-12 "+name, func(t *testing.T) {
			a.fault.Store(&fault)
			defer a.fault.Store(nil)
			for _, path := range []string{"/users/me", "/read"} {
				got := a.get(t, path, token)
				got.want(t, http.StatusServiceUnavailable)
				if got.header.Get("Retry-After") != "1" || strings.Contains(got.body, "alice") {
					t.Errorf("headers %v, body %s", got.header, got.body)
				}
			}
		})
		t.Run("7662-4-13 the same token works again after "+name, func(t *testing.T) {
			a.get(t, "/users/me", token).want(t, http.StatusOK)
		})
	}
}
