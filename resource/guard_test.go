package resource_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
)

// spy is a validator that accepts everything and remembers the last token.
type spy struct{ last string }

func (s *spy) Validate(_ context.Context, token string) (resource.Identity, error) {
	s.last = token
	return resource.Identity{Subject: "s"}, nil
}

// took returns the token of the last call and forgets it.
func (s *spy) took() string {
	last := s.last
	s.last = ""
	return last
}

// guarded is a handler that answers 200 behind a guard without scopes.
func guarded(t testing.TB, v resource.Validator) http.Handler {
	t.Helper()
	g, err := resource.New(resource.Config{Validator: v})
	if err != nil {
		t.Fatal(err)
	}
	return g.Require()(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
}

// call passes a GET with these Authorization headers straight to the handler,
// because a network client would refuse some of them.
func call(h http.Handler, authorization ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header["Authorization"] = authorization
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestScopes(t *testing.T) {
	a := newAPI(t)
	for _, tt := range []struct {
		scope, path string
		status      int
	}{
		{"read", "/read", 200},
		{"read", "/write", 403},
		{"write read", "/read", 200},
		{"write read", "/write", 200},
		{"", "/read", 403},
		{"", "/form", 200},
		{"reads", "/read", 403},
		{"rea", "/read", 403},
		{"READ", "/read", 403},
		{"read:all", "/read", 403},
	} {
		t.Run("6749-7-02 scope "+tt.scope+" on "+tt.path, func(t *testing.T) {
			token := a.accessToken(t, scope(tt.scope))
			a.get(t, tt.path, "Bearer "+token).want(t, tt.status)
		})
	}
	t.Run("6749-7-02 the narrowed scope of the access token counts, not that of its grant", func(t *testing.T) {
		token := a.accessToken(t, func(g *storage.Grant) { g.Scope, g.AccessScope = "read write", "read" })
		a.get(t, "/write", "Bearer "+token).refused(t, http.StatusForbidden, "insufficient_scope")
	})
}

func TestEveryScopeIsNeeded(t *testing.T) {
	v := validatorFunc(func(string) (resource.Identity, error) {
		return resource.Identity{Subject: "usr_a", Scope: "read admin"}, nil
	})
	g, err := resource.New(resource.Config{Validator: v})
	if err != nil {
		t.Fatal(err)
	}
	w := call(g.Require("read", "write")(http.NotFoundHandler()), "Bearer x")
	if w.Code != http.StatusForbidden {
		t.Errorf("6750-3.1-03 status %d, want 403", w.Code)
	}
	if h := w.Header().Get("WWW-Authenticate"); !strings.Contains(h, `scope="read write"`) {
		t.Errorf("6750-3.1-04 challenge %q, want all scopes that are needed", h)
	}
	// With the scopes granted the caller's handler runs.
	if w := call(g.Require("read", "admin")(http.NotFoundHandler()), "Bearer x"); w.Code != http.StatusNotFound {
		t.Errorf("6749-7-02 status %d, want the handler's 404", w.Code)
	}
}

// A validator may accept a token without naming a user or a client. The guard
// then refuses it.
func TestATokenThatSpeaksForNobodyIsRefused(t *testing.T) {
	v := validatorFunc(func(string) (resource.Identity, error) { return resource.Identity{Scope: "read"}, nil })
	var told error
	g, err := resource.New(resource.Config{Validator: v, Note: func(_ context.Context, err error) { told = err }})
	if err != nil {
		t.Fatal(err)
	}
	if w := call(g.Require("read")(http.NotFoundHandler()), "Bearer x"); w.Code != http.StatusUnauthorized || !errors.Is(told, resource.ErrInvalidToken) {
		t.Errorf("status %d, %v", w.Code, told)
	}
}

type validatorFunc func(string) (resource.Identity, error)

func (f validatorFunc) Validate(_ context.Context, token string) (resource.Identity, error) {
	return f(token)
}

func TestRequirePanicsOnWhatIsNoScope(t *testing.T) {
	g, err := resource.New(resource.Config{Validator: &spy{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"", " ", "read write", `re"ad`, `re\ad`, "é", "a\n", "\x7f"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("6750-3-09 Require(%q) didn't panic", s)
				}
			}()
			g.Require(s)
		}()
	}
	g.Require("!", "#", "[", "]", "~", "https://example.com/read") // RFC 6749 section 3.3
}

func TestRequireKeepsItsOwnScopes(t *testing.T) {
	g, err := resource.New(resource.Config{Validator: &spy{}})
	if err != nil {
		t.Fatal(err)
	}
	scopes := []string{"read"}
	h := g.Require(scopes...)(http.NotFoundHandler())
	scopes[0] = "write"
	if c := call(h, "Bearer x").Header().Get("WWW-Authenticate"); !strings.Contains(c, `scope="read"`) {
		t.Errorf("challenge %q, want scope read", c)
	}
}

func TestIdentityReachesTheHandler(t *testing.T) {
	want := resource.Identity{Subject: "u", Username: "alice", ClientID: "demo", Scope: "read", IssuedAt: signIn, ExpiresAt: signIn.Add(1)}
	g, err := resource.New(resource.Config{Validator: validatorFunc(func(string) (resource.Identity, error) { return want, nil })})
	if err != nil {
		t.Fatal(err)
	}
	reached := false
	call(g.Require("read")(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, ok := resource.IdentityFrom(r.Context())
		reached = ok
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})), "Bearer x")
	if !reached {
		t.Error("the handler didn't run, or had no identity")
	}
	if _, ok := resource.IdentityFrom(t.Context()); ok {
		t.Error("a context that passed no guard has an identity")
	}
}

func TestHasScope(t *testing.T) {
	id := resource.Identity{Scope: "read write:all"}
	for s, want := range map[string]bool{
		"read": true, "write:all": true, "write": false, "": false, "read write:all": false, " ": false, "READ": false,
	} {
		if id.HasScope(s) != want {
			t.Errorf("HasScope(%q) of %q is %v", s, id.Scope, !want)
		}
	}
	if (resource.Identity{}).HasScope("") {
		t.Error("no scope has the empty scope")
	}
}

func TestNewNeedsAValidator(t *testing.T) {
	if _, err := resource.New(resource.Config{}); err == nil {
		t.Error("a guard without a validator was made")
	}
}

// When the store can't answer, the token may be good. A client that got a 401
// would throw it away.
func TestUnavailable(t *testing.T) {
	for name, fault := range map[string]error{
		"the store can't answer":               fmt.Errorf("redis: %w", storage.ErrUnavailable),
		"the record can't be decoded":          storage.ErrEncoding,
		"the client is gone":                   context.Canceled,
		"an error of the guard's own vocation": resource.ErrNoCredentials,
	} {
		t.Run("503 and Retry-After when "+name, func(t *testing.T) {
			var noted []error
			g, err := resource.New(resource.Config{
				Validator: validatorFunc(func(string) (resource.Identity, error) { return resource.Identity{Scope: "read"}, fault }),
				Note:      func(_ context.Context, err error) { noted = append(noted, err) },
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range []http.Handler{g.UsersMe(), g.Require("read")(http.NotFoundHandler())} {
				w := call(h, "Bearer x")
				got := answer{w.Code, w.Header(), w.Body.String()}
				got.want(t, http.StatusServiceUnavailable)
				if got.header.Get("Retry-After") != "1" || got.header["Www-Authenticate"] != nil || got.header.Get("Cache-Control") != "no-store" {
					t.Errorf("headers %v", got.header)
				}
				if got.body != `{"error":"temporarily_unavailable"}` {
					t.Errorf("body %s", got.body)
				}
			}
			if len(noted) != 2 || !errors.Is(noted[0], resource.ErrUnavailable) || !errors.Is(noted[1], fault) {
				t.Errorf("noted %v, want the cause of each", noted)
			}
		})
	}
}

func TestNoteIsToldEveryRefusalOnce(t *testing.T) {
	a := newAPI(t)
	token := a.accessToken(t)
	for _, tt := range []struct {
		path    string
		headers []string
		want    error
	}{
		{"/users/me", nil, resource.ErrNoCredentials},
		{"/users/me", []string{"Basic eDp5"}, resource.ErrNoCredentials},
		{"/users/me", []string{"Bearer " + token, "Bearer " + token}, resource.ErrInvalidRequest},
		{"/users/me", []string{"Bearer a b"}, resource.ErrInvalidToken},
		{"/users/me", []string{"Bearer " + token + "x"}, resource.ErrInvalidToken},
		{"/write", []string{"Bearer " + token}, resource.ErrInsufficientScope},
	} {
		before := len(a.notes())
		a.get(t, tt.path, tt.headers...)
		noted := a.notes()[before:]
		if len(noted) != 1 || !errors.Is(noted[0], tt.want) {
			t.Errorf("%q: noted %v, want one %v", tt.headers, noted, tt.want)
		}
		t.Run("6750-5.3-04 no token in the note", func(t *testing.T) {
			if len(noted) > 0 && strings.Contains(noted[0].Error(), token[4:]) {
				t.Errorf("%v", noted[0])
			}
		})
	}
	before := len(a.notes())
	a.get(t, "/read", "Bearer "+token).want(t, http.StatusOK)
	if noted := a.notes()[before:]; len(noted) > 0 {
		t.Errorf("a good request was noted: %v", noted)
	}
}
