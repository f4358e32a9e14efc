package resource_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
)

const (
	apiTest   = "https://api.test"
	otherTest = "https://other.test"
)

// identified gives the guard these identifiers of the resource server.
func identified(resourceID string, more ...string) func(*resource.Config) {
	return func(c *resource.Config) { c.Resource, c.Audiences = resourceID, more }
}

// audience restricts the tokens of a grant.
func audience(s string) func(*storage.Grant) {
	return func(g *storage.Grant) { g.Audience, g.AccessAudience = s, s }
}

// paths are guarded by Require and by UsersMe.
var paths = []string{"/read", "/form", "/users/me"}

func TestATokenForAnotherResourceServerIsRefused(t *testing.T) {
	a := newAPI(t, identified(apiTest))
	token := a.accessToken(t, audience(otherTest))
	for _, path := range paths {
		t.Run("9700-2.3-03 6750-5.3-03 "+path, func(t *testing.T) {
			for range 2 { // the same on every request
				before := len(a.notes())
				a.get(t, path, "Bearer "+token).refused(t, http.StatusUnauthorized, "invalid_token")
				if noted := a.notes()[before:]; len(noted) != 1 || !errors.Is(noted[0], resource.ErrInvalidToken) {
					t.Errorf("noted %v", noted)
				}
			}
		})
	}
	t.Run("9700-2.3-03 whatever the scope that is asked for", func(t *testing.T) {
		a.get(t, "/write", "Bearer "+token).refused(t, http.StatusUnauthorized, "invalid_token")
	})
	t.Run("9700-2.3-03 and whatever the method", func(t *testing.T) {
		got := a.do(t, http.MethodDelete, "/users/me", http.Header{"Authorization": {"Bearer " + token}}, "")
		got.refused(t, http.StatusUnauthorized, "invalid_token")
	})
	t.Run("it looks like any other bad token", func(t *testing.T) {
		bad := a.get(t, "/users/me", "Bearer nonsense")
		got := a.get(t, "/users/me", "Bearer "+token)
		if got.body != bad.body || got.header.Get("WWW-Authenticate") != bad.header.Get("WWW-Authenticate") {
			t.Errorf("got %q %s, want %q %s", got.header["Www-Authenticate"], got.body, bad.header["Www-Authenticate"], bad.body)
		}
	})
	t.Run("the audience of the access token counts, not that of its grant", func(t *testing.T) {
		narrowed := a.accessToken(t, func(g *storage.Grant) { g.Audience, g.AccessAudience = apiTest+" "+otherTest, otherTest })
		a.get(t, "/users/me", "Bearer "+narrowed).refused(t, http.StatusUnauthorized, "invalid_token")
	})
}

func TestATokenForThisResourceServerIsAccepted(t *testing.T) {
	a := newAPI(t, identified(apiTest+"/users/me", apiTest))
	for name, token := range map[string]string{
		"for it":                      a.accessToken(t, audience(apiTest+"/users/me")),
		"for another of its names":    a.accessToken(t, audience(apiTest)),
		"for it among others":         a.accessToken(t, audience(otherTest+" "+apiTest+" urn:c")),
		"for every resource server":   a.accessToken(t),
		"narrowed to it by a refresh": a.accessToken(t, func(g *storage.Grant) { g.Audience, g.AccessAudience = apiTest+" "+otherTest, apiTest }),
	} {
		for _, path := range paths {
			t.Run(path+" with a token "+name, func(t *testing.T) {
				a.get(t, path, "Bearer "+token).want(t, http.StatusOK)
			})
		}
	}
}

func TestIdentifiersAreComparedAsTheyStand(t *testing.T) {
	for _, tt := range []struct{ name, resource, audience string }{
		{"9728-6-01 a slash more", apiTest, apiTest + "/"},
		{"9728-6-01 in other case", apiTest, "HTTPS://API.test"},
		{"9728-6-01 with the default port", apiTest, apiTest + ":443"},
		{"9728-6-01 escaped otherwise", apiTest + "/~a", apiTest + "/%7Ea"},
		{"9728-6-01 with a dot segment", apiTest + "/a", apiTest + "/./a"},
		{"8707-3-01 another tenant", apiTest + "/t2", apiTest + "/t1"},
		{"8707-3-01 a tenant whose name begins alike", apiTest + "/t1", apiTest + "/t12"},
		{"8707-3-01 below it", apiTest + "/t1", apiTest + "/t1/x"},
		{"8707-3-01 above it", apiTest + "/t1", apiTest},
		{"8707-3-01 with a query", apiTest + "/t1", apiTest + "/t1?a=b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAPI(t, identified(tt.resource))
			for _, path := range paths {
				a.get(t, path, "Bearer "+a.accessToken(t, audience(tt.audience))).refused(t, http.StatusUnauthorized, "invalid_token")
				a.get(t, path, "Bearer "+a.accessToken(t, audience(tt.resource))).want(t, http.StatusOK)
			}
		})
	}
}

func TestFurtherIdentifiersAreComparedAsTheyStand(t *testing.T) {
	a := newAPI(t, identified(apiTest, otherTest+"/", "urn:example:a"))
	for aud, status := range map[string]int{
		otherTest + "/": http.StatusOK, otherTest: http.StatusUnauthorized,
		"urn:example:a": http.StatusOK, "URN:example:a": http.StatusUnauthorized,
	} {
		t.Run("9728-6-01 "+aud, func(t *testing.T) {
			a.get(t, "/users/me", "Bearer "+a.accessToken(t, audience(aud))).want(t, status)
		})
	}
}

func TestAGuardWithoutAnIdentifierTakesNoRestrictedToken(t *testing.T) {
	a := newAPI(t)
	a.get(t, "/read", "Bearer "+a.accessToken(t)).want(t, http.StatusOK)
	t.Run("9700-2.3-03 for another", func(t *testing.T) {
		a.get(t, "/read", "Bearer "+a.accessToken(t, audience(otherTest))).refused(t, http.StatusUnauthorized, "invalid_token")
	})
}

func TestUsersMeTellsTheAudience(t *testing.T) {
	a := newAPI(t, identified(apiTest))
	for _, tt := range []struct {
		name, audience string
		want           any
	}{
		{"a string when there is one", apiTest, apiTest},
		{"an array when there are several", otherTest + " " + apiTest, []any{otherTest, apiTest}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := a.get(t, "/users/me", "Bearer "+a.accessToken(t, audience(tt.audience))).members(t)
			if d := cmp.Diff(tt.want, m["aud"]); d != "" {
				t.Error(d)
			}
		})
	}
	t.Run("nothing when the token is for all", func(t *testing.T) {
		if m := a.get(t, "/users/me", "Bearer "+a.accessToken(t)).members(t); m["sub"] == nil || len(m) != 6 {
			t.Errorf("members %v", m)
		}
	})
}

func TestFaultyIdentifiers(t *testing.T) {
	for name, c := range map[string]resource.Config{
		"a path":                        {Resource: "/users/me"},
		"a fragment":                    {Resource: apiTest + "#x"},
		"a space":                       {Resource: apiTest + " " + otherTest},
		"a good one and a bad one":      {Resource: apiTest, Audiences: []string{otherTest, "api"}},
		"an empty one among the others": {Resource: apiTest, Audiences: []string{""}},
	} {
		c.Validator = &spy{}
		if _, err := resource.New(c); err == nil {
			t.Errorf("%s: a guard was made", name)
		}
	}
}
