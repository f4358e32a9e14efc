package resource_test

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
)

// refusals returns one answer of every kind that has a challenge.
func refusals(t *testing.T, a *api) map[string]answer {
	t.Helper()
	expired := a.accessToken(t, func(g *storage.Grant) { g.AccessExpiry = signIn })
	revoked, revokedToken, _ := a.grant(t)
	if err := a.store.DeleteGrant(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	token := a.accessToken(t)
	return map[string]answer{
		"no credentials":       a.get(t, "/users/me"),
		"another scheme":       a.get(t, "/users/me", "Basic eDp5"),
		"two headers":          a.get(t, "/users/me", "Bearer "+token, "Bearer "+token),
		"malformed":            a.get(t, "/users/me", `Bearer "é\`),
		"invented":             a.get(t, "/users/me", "Bearer gat_"+strings.Repeat("A", 76)),
		"expired":              a.get(t, "/users/me", "Bearer "+expired),
		"revoked":              a.get(t, "/users/me", "Bearer "+revokedToken),
		"missing scope":        a.get(t, "/write", "Bearer "+token),
		"malformed, on /write": a.get(t, "/write", "Bearer a b"),
	}
}

// RFC 6750 section 3.
func TestEveryRefusalHasAChallenge(t *testing.T) {
	for name, got := range refusals(t, newAPI(t)) {
		t.Run("6750-3-02 7235-3.1-01 a challenge when "+name, func(t *testing.T) {
			if len(got.header["Www-Authenticate"]) != 1 {
				t.Errorf("status %d with challenges %q, want one", got.status, got.header["Www-Authenticate"])
			}
		})
		t.Run("6750-3-03 6750-3-04 6750-3-06 7235-4.1-01 Bearer and attributes, once each, when "+name, func(t *testing.T) {
			if c := got.challenge(t); c["realm"] != "orders" {
				t.Errorf("attributes %q, want realm orders among them", c)
			}
		})
		t.Run("7235-2.2-01 the realm is a quoted-string when "+name, func(t *testing.T) {
			if h := got.header.Get("WWW-Authenticate"); !strings.Contains(h, `realm="orders"`) {
				t.Errorf("challenge %q", h)
			}
		})
		t.Run("7235-4.2-01 no cache keeps the answer when "+name, func(t *testing.T) {
			if cc := got.header.Get("Cache-Control"); cc != "no-store" {
				t.Errorf("Cache-Control %q, want no-store", cc)
			}
		})
		t.Run("6750-5.3-01 no cookie when "+name, func(t *testing.T) {
			if cookies := got.header["Set-Cookie"]; len(cookies) > 0 {
				t.Errorf("cookies %q", cookies)
			}
		})
	}
}

// The sets of characters are those of RFC 6750 section 3.
func TestCharactersOfChallenges(t *testing.T) {
	type grammar struct {
		id     string
		values *regexp.Regexp
	}
	text := regexp.MustCompile(`^[\x20-\x21\x23-\x5b\x5d-\x7e]+$`)
	attributes := map[string]grammar{
		"scope":             {"6750-3-09", regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$`)},
		"error":             {"6750-3-10", text},
		"error_description": {"6750-3-10", text},
		"realm":             {"6750-3-05", regexp.MustCompile(`^orders$`)},
	}
	for name, got := range refusals(t, newAPI(t)) {
		challenge := got.challenge(t)
		for attribute, value := range challenge {
			t.Run(attributes[attribute].id+" "+attribute+" when "+name, func(t *testing.T) {
				if g, known := attributes[attribute]; !known || !g.values.MatchString(value) {
					t.Errorf("%s=%q", attribute, value)
				}
			})
		}
		t.Run("6750-3-11 no error_uri when "+name, func(t *testing.T) {
			if uri, sent := challenge["error_uri"]; sent {
				t.Errorf("error_uri=%q", uri)
			}
		})
	}
}

func TestRefusalsEchoNothing(t *testing.T) {
	a := newAPI(t, formBody)
	const input = "xyzzy"
	for _, got := range []answer{
		a.get(t, "/users/me", "Bearer "+input),
		a.get(t, "/users/me", `Bearer "`+input+`\é`),
		a.get(t, "/users/me", input+" "+input),
		a.get(t, "/write?"+input+"="+input, "Bearer "+input, "Bearer "+input),
		a.post(t, "/form", "access_token="+input+"%zz"),
		a.post(t, "/form", "access_token="+input+"é"),
		a.do(t, input, "/users/me", http.Header{"Authorization": {"Bearer " + a.accessToken(t)}}, ""),
	} {
		t.Run("6750-3-10 6750-5.3-04 nothing of the request is echoed", func(t *testing.T) {
			for name, values := range got.header {
				if strings.Contains(name+strings.Join(values, " "), input) {
					t.Errorf("header %s: %q", name, values)
				}
			}
			if got.status < 400 || strings.Contains(got.body, input) {
				t.Errorf("status %d, body %s", got.status, got.body)
			}
		})
	}
}

// RFC 6750 section 3.1.
func TestErrorCodes(t *testing.T) {
	a := newAPI(t)
	got := refusals(t, a)

	t.Run("6750-3-01 6750-3.1-05 7235-2.1-03 no error code without credentials", func(t *testing.T) {
		got["no credentials"].unauthenticated(t)
	})
	for _, header := range []string{"Basic eDp5", "Digest x", "Token abc", "BearerX abc", "DPoP abc", "Bear abc", "", "=", "é"} {
		t.Run("6750-3.1-06 no error code for another scheme: "+header, func(t *testing.T) {
			a.get(t, "/users/me", header).unauthenticated(t)
		})
	}
	t.Run("6750-3.1-01 invalid_request goes with 400", func(t *testing.T) {
		got["two headers"].refused(t, http.StatusBadRequest, "invalid_request")
	})
	for _, name := range []string{"malformed", "invented", "expired", "revoked"} {
		t.Run("6750-3-07 6750-3.1-02 7235-2.1-03 6749-7-01 6749-7.2-01 invalid_token with 401: "+name, func(t *testing.T) {
			got[name].refused(t, http.StatusUnauthorized, "invalid_token")
		})
		t.Run("6750-3-08 the answer doesn't tell what was wrong: "+name, func(t *testing.T) {
			first := got["expired"]
			if got[name].body != first.body || got[name].header.Get("WWW-Authenticate") != first.header.Get("WWW-Authenticate") {
				t.Errorf("%s differs from %s", got[name].body, first.body)
			}
		})
	}
	t.Run("6750-3.1-03 7235-2.1-02 9700-2.3-04 6749-7-02 insufficient_scope goes with 403", func(t *testing.T) {
		got["missing scope"].refused(t, http.StatusForbidden, "insufficient_scope")
	})
	t.Run("6750-3.1-04 insufficient_scope names the scope needed", func(t *testing.T) {
		if c := got["missing scope"].challenge(t); c["scope"] != "write" {
			t.Errorf(`scope=%q, want "write"`, c["scope"])
		}
	})
	t.Run("6750-3.1-04 nothing else names a scope", func(t *testing.T) {
		if c := got["malformed, on /write"].challenge(t); c["scope"] != "" {
			t.Errorf("scope=%q", c["scope"])
		}
	})
	t.Run("6750-3.1-02 a bad token on a route that needs more is 401, not 403", func(t *testing.T) {
		got["malformed, on /write"].refused(t, http.StatusUnauthorized, "invalid_token")
	})
}

func TestTokensOfAnotherKind(t *testing.T) {
	a := newAPI(t)
	_, access, refresh := a.grant(t)
	for name, token := range map[string]string{
		"a refresh token":                        refresh,
		"a refresh token under the other prefix": "gat_" + refresh[4:],
		"an access token under the code prefix":  "gac_" + access[4:],
	} {
		t.Run("6750-3.1-02 6749-7-01 invalid_token for "+name, func(t *testing.T) {
			a.get(t, "/users/me", "Bearer "+token).refused(t, http.StatusUnauthorized, "invalid_token")
		})
	}
	if n := a.lookups.Load(); n != 0 {
		t.Errorf("%d look-ups for tokens of another kind, want none", n)
	}
}

func TestRealm(t *testing.T) {
	for realm, want := range map[string]string{
		`a "b" \c`:      `realm="a \"b\" \\c"`,
		"Orders & more": `realm="Orders & more"`,
		`\`:             `realm="\\"`,
		"":              `realm="api"`,
	} {
		t.Run("6750-3-05 7235-2.2-01 a realm is a quoted-string: "+realm, func(t *testing.T) {
			got := newAPI(t, func(c *resource.Config) { c.Realm = realm }).get(t, "/users/me")
			if h := got.header.Get("WWW-Authenticate"); h != "Bearer "+want {
				t.Errorf("challenge %s, want Bearer %s", h, want)
			}
			if c := got.challenge(t); realm != "" && c["realm"] != realm {
				t.Errorf("the challenge reads as realm %q, want %q", c["realm"], realm)
			}
		})
	}
	for _, realm := range []string{"é", "a\nb", "a\r\nX: y", "a\tb", "\x7f", "\x00", "\xff"} {
		t.Run("6750-3-05 no realm: "+realm, func(t *testing.T) {
			if _, err := resource.New(resource.Config{Validator: &spy{}, Realm: realm}); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}

// Another middleware may have written a challenge of its own before the guard.
func TestOneChallengeOnly(t *testing.T) {
	h := guarded(t, invalid{})
	outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("WWW-Authenticate", "Basic realm=x")
		h.ServeHTTP(w, r)
	})
	got := call(outer, "Bearer x").Header()["Www-Authenticate"]
	if len(got) != 1 || !strings.HasPrefix(got[0], "Bearer ") {
		t.Errorf("6750-3-01 challenges %q, want the Bearer one", got)
	}
}

type invalid struct{}

func (invalid) Validate(context.Context, string) (resource.Identity, error) {
	return resource.Identity{}, resource.ErrInvalidToken
}
