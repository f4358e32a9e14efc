package resource_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/resource"
)

// The identifier of the API, and the place of its document by RFC 9728 section
// 3.
const (
	identifier   = "https://api.test"
	documentPath = "/.well-known/oauth-protected-resource"
	issuer       = "https://as.test"
)

// described gives the API an identifier, and its metadata an authorization
// server.
func described(id string) func(*resource.Config) {
	return func(c *resource.Config) { c.Resource, c.AuthorizationServers = id, []string{issuer} }
}

func TestMetadata(t *testing.T) {
	a := newAPI(t, described(identifier))
	got := a.get(t, documentPath)
	doc := got.members(t)

	t.Run("9728-2-01 9728-3.3-01 resource is the https URL that was configured", func(t *testing.T) {
		text, _ := doc["resource"].(string)
		if u, err := url.Parse(text); err != nil || u.Scheme != "https" || u.Fragment != "" || text != identifier {
			t.Errorf("resource is %v, want %q", doc["resource"], identifier)
		}
	})
	t.Run("9728-2-02 the authorization servers are those that were configured", func(t *testing.T) {
		if diff := cmp.Diff([]any{issuer}, doc["authorization_servers"]); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("9728-2-04 the scopes are those that the routes ask for", func(t *testing.T) {
		if diff := cmp.Diff([]any{"read", "write"}, doc["scopes_supported"]); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("9728-2-07 there is a name for people", func(t *testing.T) {
		if doc["resource_name"] != "orders" {
			t.Errorf("resource_name is %v, want the realm", doc["resource_name"])
		}
	})
	t.Run("9728-3.2-01 a JSON object as application/json", func(t *testing.T) {
		if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/json" || got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("got %d %v", got.status, got.header)
		}
	})
	t.Run("9728-3.2-02 no member is empty, and lists are arrays", func(t *testing.T) {
		for name, value := range doc {
			list, isArray := value.([]any)
			if value == nil || value == "" || isArray && len(list) == 0 {
				t.Errorf("%s is %v, want it left out", name, value)
			}
			if want := strings.HasSuffix(name, "_supported") || name == "authorization_servers"; isArray != want {
				t.Errorf("%s is %v; is it an array?", name, value)
			}
		}
	})
	for id, members := range map[string][]string{
		"9728-2-03 no keys":             {"jwks_uri"},
		"9728-2-06 no signed answers":   {"resource_signing_alg_values_supported"},
		"9728-2-08 no pages":            {"resource_documentation", "resource_policy_uri", "resource_tos_uri"},
		"9728-2-09 no DPoP":             {"dpop_bound_access_tokens_required", "dpop_signing_alg_values_supported"},
		"9728-2-10 no mutual TLS":       {"tls_client_certificate_bound_access_tokens"},
		"9728-2.2-01 no signed members": {"signed_metadata"},
	} {
		t.Run(id, func(t *testing.T) {
			for _, name := range members {
				if value, there := doc[name]; there {
					t.Errorf("%s is %v, want it left out", name, value)
				}
			}
		})
	}
	t.Run("9728-2.1-01 no member has a language tag", func(t *testing.T) {
		for name := range doc {
			if strings.Contains(name, "#") {
				t.Errorf("%s is there", name)
			}
		}
	})
}

func TestMetadataForPeople(t *testing.T) {
	const name, page = "Bestellungen & Rückgaben", "https://docs.test/orders?lang=de#tokens"
	doc := newAPI(t, described(identifier), func(c *resource.Config) { c.Name, c.Documentation = name, page }).get(t, documentPath).members(t)
	t.Run("9728-2-07 the name that was configured", func(t *testing.T) {
		if doc["resource_name"] != name {
			t.Errorf("resource_name is %v, want %q", doc["resource_name"], name)
		}
	})
	t.Run("9728-2-08 the page that was configured", func(t *testing.T) {
		if doc["resource_documentation"] != page {
			t.Errorf("resource_documentation is %v, want %q", doc["resource_documentation"], page)
		}
	})
	for _, bad := range []string{"docs.test", "/docs", "mailto:a@docs.test", "javascript:alert(1)", "https://", "%"} {
		if _, err := resource.New(resource.Config{Validator: &spy{}, Resource: identifier, Documentation: bad}); err == nil {
			t.Errorf("9728-2-08 the page %q was accepted", bad)
		}
	}
}

// The document lists exactly the scopes that Require was called with, however
// late the calls are.
func TestScopesOfTheMetadata(t *testing.T) {
	guard, err := resource.New(resource.Config{Validator: &spy{}, Resource: identifier})
	if err != nil {
		t.Fatal(err)
	}
	scopes := func() any {
		w := call(guard.Metadata())
		return answer{w.Code, w.Header(), w.Body.String()}.members(t)["scopes_supported"]
	}
	for _, step := range []struct {
		asked []string
		want  any
	}{
		{nil, nil},
		{[]string{"write"}, []any{"write"}},
		{[]string{"read", "write"}, []any{"read", "write"}},
		{nil, []any{"read", "write"}},
	} {
		guard.Require(step.asked...)
		t.Run("9728-2-04 9728-3.2-02 after Require "+strings.Join(step.asked, " "), func(t *testing.T) {
			if diff := cmp.Diff(step.want, scopes()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBearerMethodsOfTheMetadata(t *testing.T) {
	for name, tt := range map[string]struct {
		change []func(*resource.Config)
		want   []any
	}{
		"9728-2-05 the header alone":        {nil, []any{"header"}},
		"9728-2-05 the header and the body": {[]func(*resource.Config){formBody}, []any{"header", "body"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, append(tt.change, described(identifier))...)
			listed, _ := a.get(t, documentPath).members(t)["bearer_methods_supported"].([]any)
			if diff := cmp.Diff(tt.want, listed); diff != "" {
				t.Error(diff)
			}
			token := a.accessToken(t)
			for method, got := range map[string]answer{
				"header": a.post(t, "/form", "note=x", "Bearer "+token),
				"body":   a.post(t, "/form", "access_token="+token),
				"query":  a.post(t, "/form?access_token="+token, ""),
			} {
				want := http.StatusUnauthorized
				if slices.Contains(listed, any(method)) {
					want = http.StatusOK
				}
				if got.status != want {
					t.Errorf("a token in the %s: %d, want %d", method, got.status, want)
				}
			}
		})
	}
}

// RFC 9728 section 3.
func TestPlaceOfTheMetadata(t *testing.T) {
	for name, tt := range map[string]struct {
		identifier, place string
		elsewhere         []string
	}{
		"9728-3-01 9728-3.2-03 without a path":                      {identifier, documentPath, []string{documentPath + "/users", documentPath + "/"}},
		"9728-3-01 9728-3.2-03 the path comes after the well-known": {identifier + "/users", documentPath + "/users", []string{documentPath, "/users" + documentPath, documentPath + "/other", documentPath + "/users/me"}},
		"9728-3-01 a path of two segments":                          {identifier + "/users/me", documentPath + "/users/me", []string{documentPath, documentPath + "/users"}},
		"9728-3.1-02 the slash after the host is dropped":           {identifier + "/", documentPath, []string{documentPath + "/"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, described(tt.identifier))
			got := a.get(t, tt.place)
			got.want(t, http.StatusOK)
			if text := got.members(t)["resource"]; text != tt.identifier {
				t.Errorf("resource is %v, want %q", text, tt.identifier)
			}
			for _, path := range tt.elsewhere {
				a.get(t, path).want(t, http.StatusNotFound)
			}
			t.Run("9728-5-01 9728-5.1-01 challenges point there", func(t *testing.T) {
				if c := a.get(t, "/users/me").challenge(t); c["resource_metadata"] != identifier+tt.place {
					t.Errorf("resource_metadata is %q, want %q", c["resource_metadata"], identifier+tt.place)
				}
			})
		})
	}
}

// send passes a request straight to the handler, because a network client would
// choose the Host.
func send(h http.Handler, path string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	if host := header.Get("Host"); host != "" {
		r.Host = host
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Two guards for two resources share one host.
func TestEveryResourceHasItsDocument(t *testing.T) {
	mux := http.NewServeMux()
	for _, id := range []string{identifier, identifier + "/users/me"} {
		guard, err := resource.New(resource.Config{Validator: &spy{}, Resource: id})
		if err != nil {
			t.Fatal(err)
		}
		mux.Handle(guard.MetadataPath(), guard.Metadata())
	}
	for path, want := range map[string]string{documentPath: identifier, documentPath + "/users/me": identifier + "/users/me"} {
		t.Run("9728-3-02 "+want, func(t *testing.T) {
			w := send(mux, path, nil)
			if m := (answer{w.Code, w.Header(), w.Body.String()}).members(t); m["resource"] != want {
				t.Errorf("resource is %v", m["resource"])
			}
		})
	}
}

func TestMetadataDoesNotFollowTheRequest(t *testing.T) {
	a := newAPI(t, described(identifier))
	want := a.get(t, documentPath)
	for name, h := range map[string]http.Header{
		"Host":             {"Host": {"evil.test"}},
		"X-Forwarded-Host": {"X-Forwarded-Host": {"evil.test"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Prefix": {"/evil.test"}},
		"Forwarded":        {"Forwarded": {"host=evil.test;proto=http"}},
	} {
		t.Run("9728-3.3-01 "+name, func(t *testing.T) {
			got, refused := send(a.Config.Handler, documentPath, h), send(a.Config.Handler, "/users/me", h)
			if got.Body.String() != want.body || strings.Contains(got.Body.String(), "evil.test") {
				t.Errorf("got %s, want %s", got.Body, want.body)
			}
			if c := refused.Header().Get("WWW-Authenticate"); !strings.Contains(c, `resource_metadata="`+identifier+documentPath+`"`) {
				t.Errorf("challenge %q", c)
			}
		})
	}
	t.Run("9728-3.3-01 a query changes nothing", func(t *testing.T) {
		if got := a.get(t, documentPath+"?resource=https://evil.test"); got.body != want.body {
			t.Errorf("got %s", got.body)
		}
	})
}

func TestMethodsOfTheMetadata(t *testing.T) {
	a := newAPI(t, described(identifier))
	get := a.get(t, documentPath)
	t.Run("9728-3.1-01 HEAD has the headers of GET and no body", func(t *testing.T) {
		head := a.do(t, http.MethodHead, documentPath, nil, "")
		get.header.Del("Date")
		head.header.Del("Date")
		if diff := cmp.Diff(get.header, head.header); diff != "" || head.status != http.StatusOK || head.body != "" {
			t.Errorf("got %d %q\n%s", head.status, head.body, diff)
		}
	})
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} {
		t.Run("9728-3.1-01 405 and Allow for "+method, func(t *testing.T) {
			got := a.do(t, method, documentPath, nil, "")
			got.want(t, http.StatusMethodNotAllowed)
			if got.header.Get("Allow") != "GET, HEAD" || got.members(t)["error"] == nil {
				t.Errorf("headers %v, body %s", got.header, got.body)
			}
		})
	}
}

func TestScriptsMayReadTheMetadata(t *testing.T) {
	a := newAPI(t, described(identifier))
	got := a.do(t, "OPTIONS", documentPath, http.Header{"Origin": {"https://spa.test"}, "Access-Control-Request-Method": {"GET"}}, "")
	got.want(t, http.StatusNoContent)
	if got.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("headers %v", got.header)
	}
}

func TestMetadataMayBeKept(t *testing.T) {
	a := newAPI(t, described(identifier))
	got := a.get(t, documentPath)
	t.Run("9728-7.10-01 caches may keep it for a bounded time", func(t *testing.T) {
		age, err := time.ParseDuration(strings.TrimPrefix(got.header.Get("Cache-Control"), "public, max-age=") + "s")
		if err != nil || age < time.Minute || age > time.Hour {
			t.Errorf("Cache-Control is %q", got.header.Get("Cache-Control"))
		}
	})
	t.Run("9728-7.10-01 who has it already isn't sent it again", func(t *testing.T) {
		tag := got.header.Get("ETag")
		again := a.do(t, http.MethodGet, documentPath, http.Header{"If-None-Match": {tag}}, "")
		if again.status != http.StatusNotModified || again.body != "" || !strings.HasPrefix(tag, `"`) {
			t.Errorf("got %d %v %s", again.status, again.header, again.body)
		}
	})
	t.Run("scripts of every origin may read it", func(t *testing.T) {
		if h := got.header; h.Get("Access-Control-Allow-Origin") != "*" || h["Access-Control-Allow-Credentials"] != nil {
			t.Errorf("headers %v", h)
		}
	})
}

func TestEveryChallengePointsToTheMetadata(t *testing.T) {
	a := newAPI(t, described(identifier+"/users/me"))
	const want = identifier + documentPath + "/users/me"
	for name, got := range refusals(t, a) {
		t.Run("9728-5-01 9728-5.1-01 6750-3-04 once, as a quoted-string, when "+name, func(t *testing.T) {
			c := got.challenge(t)
			if c["resource_metadata"] != want || strings.Count(got.header.Get("WWW-Authenticate"), `resource_metadata="`+want+`"`) != 1 {
				t.Errorf("challenge %q, want it to point to %s", got.header["Www-Authenticate"], want)
			}
			if c["realm"] != "orders" {
				t.Errorf("challenge %q has lost its realm", got.header["Www-Authenticate"])
			}
			if wantCode := !slices.Contains([]string{"no credentials", "another scheme"}, name); (c["error"] != "") != wantCode {
				t.Errorf("challenge %q: an error: %v, want %v", got.header["Www-Authenticate"], c["error"], wantCode)
			}
		})
	}
	t.Run("9728-5.2-01 the URL stays when the document changes", func(t *testing.T) {
		other := newAPI(t, described(identifier+"/users/me"), func(c *resource.Config) { c.AuthorizationServers = []string{"https://new.test"} })
		if c := other.get(t, "/users/me").challenge(t); c["resource_metadata"] != want {
			t.Errorf("resource_metadata is %q, want %q", c["resource_metadata"], want)
		}
		path := strings.TrimPrefix(want, identifier)
		before, after := a.get(t, path), other.get(t, path)
		if diff := cmp.Diff([]any{"https://new.test"}, after.members(t)["authorization_servers"]); diff != "" || before.header.Get("ETag") == after.header.Get("ETag") {
			t.Errorf("%s\ntags %q and %q", diff, before.header.Get("ETag"), after.header.Get("ETag"))
		}
	})
}

func TestWithoutAnIdentifierThereIsNoMetadata(t *testing.T) {
	guard, err := resource.New(resource.Config{Validator: &spy{}})
	if err != nil {
		t.Fatal(err)
	}
	guard.Require("read")
	if path := guard.MetadataPath(); path != "" {
		t.Errorf("it belongs at %q", path)
	}
	if w := call(guard.Metadata()); w.Code != http.StatusNotFound {
		t.Errorf("got %d %s, want 404", w.Code, w.Body)
	}
	if c := call(guard.UsersMe()).Header().Get("WWW-Authenticate"); c != `Bearer realm="api"` {
		t.Errorf("challenge %q", c)
	}
}

func TestWhatIsNoIdentifier(t *testing.T) {
	for _, bad := range []string{
		"api.test", "urn:orders", "ftp://api.test", identifier + "?x=1", identifier + "?", identifier + "#y", identifier + "#", "https://user@api.test",
		identifier + "/users/", identifier + "//", identifier + "/{id}", identifier + "/%61", identifier + "/a\"b", "https://é.test",
	} {
		t.Run("9728-2-01 9728-1.2-01 refused: "+bad, func(t *testing.T) {
			_, err := resource.New(resource.Config{Validator: &spy{}, Resource: bad})
			if err == nil || !strings.Contains(err.Error(), "Config.Resource") {
				t.Errorf("got %v, want an error that names Config.Resource", err)
			}
		})
	}
	for _, bad := range []string{"", "as.test", issuer + "?x", issuer + "#y"} {
		t.Run("9728-2-02 no issuer: "+bad, func(t *testing.T) {
			_, err := resource.New(resource.Config{Validator: &spy{}, Resource: identifier, AuthorizationServers: []string{issuer, bad}})
			if err == nil || !strings.Contains(err.Error(), "Config.AuthorizationServers") {
				t.Errorf("got %v, want an error that names Config.AuthorizationServers", err)
			}
		})
	}
}
