package authserver_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver"
)

// The fixture's issuer, and the place of its document by RFC 8414 section 3.
const (
	issuer       = "https://as.test"
	documentPath = "/.well-known/oauth-authorization-server"
)

func withIssuer(s string) option { return func(c *authserver.Config) { c.Issuer = s } }

// document gets the metadata at that path; it must be there.
func (f *fixture) document(t *testing.T, path string, changes ...change) answer {
	t.Helper()
	a := f.send(t, http.MethodGet, path, "", changes...)
	if a.status != http.StatusOK || a.json == nil {
		t.Fatalf("GET %s: got %d %s, want a JSON object", path, a.status, a.body)
	}
	return a
}

// endpoint returns the path, on the fixture, of an endpoint that the document
// names.
func (a answer) endpoint(t *testing.T, member string) string {
	t.Helper()
	path, ours := strings.CutPrefix(a.text(member), issuer)
	if !ours || !strings.HasPrefix(path, "/") {
		t.Fatalf("%s is %q, want a URL of %s", member, a.text(member), issuer)
	}
	return path
}

// list returns a member that is an array of strings.
func (a answer) list(t *testing.T, member string) []string {
	t.Helper()
	var list []string
	elements, isArray := a.json[member].([]any)
	if !isArray {
		t.Fatalf("%s is %v, want an array", member, a.json[member])
	}
	for _, e := range elements {
		text, isString := e.(string)
		if !isString {
			t.Fatalf("%s holds %v, want strings", member, e)
		}
		list = append(list, text)
	}
	return list
}

func TestMetadata(t *testing.T) {
	f := newFixture(t, func(c *authserver.Config) { c.Audiences = nil })
	doc := f.document(t, documentPath)

	t.Run("8414-2-01 8414-3.3-01 the issuer is an https URL, as it was configured", func(t *testing.T) {
		u, err := url.Parse(doc.text("issuer"))
		if err != nil || u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || doc.text("issuer") != issuer {
			t.Errorf("issuer is %q (%v), want %q", doc.text("issuer"), err, issuer)
		}
	})
	t.Run("8414-3.2-01 9700-2.6-01 a JSON object as application/json", func(t *testing.T) {
		if doc.status != http.StatusOK || doc.header.Get("Content-Type") != "application/json" {
			t.Errorf("got %d %q", doc.status, doc.header.Get("Content-Type"))
		}
	})
	t.Run("8414-3.2-02 lists are arrays, and no member is empty", func(t *testing.T) {
		for name, value := range doc.json {
			if list, is := value.([]any); value == nil || value == "" || is && len(list) == 0 {
				t.Errorf("%s is %v, want it left out", name, value)
			}
			if strings.HasSuffix(name, "_supported") || name == "protected_resources" {
				doc.list(t, name)
			}
		}
	})
	for id, members := range map[string][]string{
		"8414-2-02 no authorization endpoint":              {"authorization_endpoint"},
		"8414-2-04 no keys":                                {"jwks_uri"},
		"8414-2-10 no assertions at the token endpoint":    {"token_endpoint_auth_signing_alg_values_supported"},
		"8414-2-14 no assertions at the other endpoints":   {"revocation_endpoint_auth_signing_alg_values_supported", "introspection_endpoint_auth_signing_alg_values_supported"},
		"8414-2-15 no PKCE, as there is nothing to use it": {"code_challenge_methods_supported"},
		"8414-2.1-01 no signed metadata":                   {"signed_metadata"},
		"8414-2-16 no extension that is not there": {
			"registration_endpoint", "device_authorization_endpoint", "pushed_authorization_request_endpoint",
			"dpop_signing_alg_values_supported", "authorization_response_iss_parameter_supported",
		},
	} {
		t.Run(id, func(t *testing.T) {
			for _, name := range members {
				if value, there := doc.json[name]; there {
					t.Errorf("%s is %v, want it left out", name, value)
				}
			}
		})
	}
}

func TestMetadataNamesTheResourceServers(t *testing.T) {
	want := []string{"https://api.test", "https://api.test/users/me"}
	f := newFixture(t, func(c *authserver.Config) { c.Audiences = want })
	t.Run("8414-2-16 9728-4-01 the resource servers that are configured, and no other", func(t *testing.T) {
		if diff := cmp.Diff(want, f.document(t, documentPath).list(t, "protected_resources")); diff != "" {
			t.Error(diff)
		}
	})
}

func TestMetadataTellsWhatWorks(t *testing.T) {
	f := newFixture(t)
	doc := f.document(t, documentPath)
	token := doc.endpoint(t, "token_endpoint")

	t.Run("8414-2-03 the token endpoint issues tokens", func(t *testing.T) {
		wantToken(t, f.send(t, http.MethodPost, token, passwordForm("alice", "secret123").Encode(), asWeb))
	})
	t.Run("6749-3.2-05 7009-2-02 the endpoints are https URLs without query and fragment", func(t *testing.T) {
		for _, member := range []string{"token_endpoint", "revocation_endpoint", "introspection_endpoint"} {
			u, err := url.Parse(doc.text(member))
			if err != nil || u.Scheme != "https" || u.Host != "as.test" || strings.ContainsAny(doc.text(member), "?#") {
				t.Errorf("%s is %q", member, doc.text(member))
			}
		}
	})
	t.Run("7009-2-03 nothing in the document is plain http", func(t *testing.T) {
		if strings.Contains(string(doc.body), "http:") {
			t.Errorf("got %s", doc.body)
		}
	})
	t.Run("8414-2-05 every scope can be granted", func(t *testing.T) {
		scopes := doc.list(t, "scopes_supported")
		if diff := cmp.Diff([]string{"read", "write", "admin"}, scopes); diff != "" {
			t.Error(diff)
		}
		for _, scope := range scopes {
			body := form("grant_type", "client_credentials", "scope", scope)
			if a := wantToken(t, f.send(t, http.MethodPost, token, body.Encode(), basic("root", "s3cret4"))); a.text("scope") != scope {
				t.Errorf("got the scope %q, want %q", a.text("scope"), scope)
			}
		}
	})
	t.Run("8414-2-08 each grant type works, and no other", func(t *testing.T) {
		pair := wantToken(t, f.send(t, http.MethodPost, token, passwordForm("alice", "secret123").Encode(), basic("root", "s3cret4")))
		requests := map[string]url.Values{
			"password":           passwordForm("alice", "secret123"),
			"refresh_token":      refreshForm(pair.text("refresh_token")),
			"client_credentials": form("grant_type", "client_credentials"),
		}
		listed := doc.list(t, "grant_types_supported")
		for _, grantType := range listed {
			if requests[grantType] == nil {
				t.Fatalf("%s is listed", grantType)
			}
			wantToken(t, f.send(t, http.MethodPost, token, requests[grantType].Encode(), basic("root", "s3cret4")))
		}
		for _, grantType := range []string{
			"password", "refresh_token", "client_credentials", "authorization_code", "implicit",
			"urn:ietf:params:oauth:grant-type:device_code", "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:token-exchange",
		} {
			if !slices.Contains(listed, grantType) {
				a := f.send(t, http.MethodPost, token, form("grant_type", grantType).Encode(), basic("root", "s3cret4"))
				wantError(t, a, http.StatusBadRequest, "unsupported_grant_type")
			}
		}
	})
}

// authMethods makes a request of a form for each method of client
// authentication, with the client's secret if the method needs one.
var authMethods = map[string]func(body url.Values) (string, []change){
	"client_secret_basic": func(body url.Values) (string, []change) { return body.Encode(), []change{asWeb} },
	"client_secret_post": func(body url.Values) (string, []change) {
		body.Set("client_id", "web")
		body.Set("client_secret", webSecret)
		return body.Encode(), nil
	},
	"none": func(body url.Values) (string, []change) {
		body.Set("client_id", "spa")
		return body.Encode(), nil
	},
}

func TestMetadataTellsHowClientsAuthenticate(t *testing.T) {
	f := newFixture(t)
	doc := f.document(t, documentPath)
	for id, tt := range map[string]struct {
		endpoint string
		body     url.Values
	}{
		"8414-2-09": {"token", passwordForm("alice", "secret123")},
		"8414-2-12": {"revocation", form("token", "unknown")},
	} {
		t.Run(id+" at the "+tt.endpoint+" endpoint", func(t *testing.T) {
			listed := doc.list(t, tt.endpoint+"_endpoint_auth_methods_supported")
			if diff := cmp.Diff([]string{"client_secret_basic", "client_secret_post", "none"}, listed); diff != "" {
				t.Error(diff)
			}
			for _, method := range listed {
				body, changes := authMethods[method](cloneForm(tt.body))
				a := f.send(t, http.MethodPost, doc.endpoint(t, tt.endpoint+"_endpoint"), body, changes...)
				if a.status != http.StatusOK {
					t.Errorf("%s: got %d %s, want 200", method, a.status, a.body)
				}
			}
			assertion := cloneForm(tt.body)
			assertion.Set("client_assertion", "e30.e30.")
			assertion.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
			wantError(t, f.send(t, http.MethodPost, doc.endpoint(t, tt.endpoint+"_endpoint"), assertion.Encode()), http.StatusUnauthorized, "invalid_client")
		})
	}
}

func cloneForm(form url.Values) url.Values {
	clone := url.Values{}
	for name, values := range form {
		clone[name] = slices.Clone(values)
	}
	return clone
}

func TestMetadataTellsWhoMayIntrospect(t *testing.T) {
	requests := func(token string) map[string]func(*fixture, string) answer {
		byClient, byBody := form("token", token), form("token", token, "client_id", "rs1", "client_secret", "rs1-secret")
		return map[string]func(*fixture, string) answer{
			"client_secret_basic": func(f *fixture, path string) answer {
				return f.send(t, http.MethodPost, path, byClient.Encode(), basic("rs1", "rs1-secret"))
			},
			"client_secret_post": func(f *fixture, path string) answer {
				return f.send(t, http.MethodPost, path, byBody.Encode())
			},
			"Bearer": func(f *fixture, path string) answer {
				return f.send(t, http.MethodPost, path, byClient.Encode(), asBearer(f.bearer(t, authserver.IntrospectScope)))
			},
			"none": func(f *fixture, path string) answer {
				return f.send(t, http.MethodPost, path, form("token", token, "client_id", "spa").Encode())
			},
		}
	}
	for name, tt := range map[string]struct {
		fixture *fixture
		listed  []string
		refused string
	}{
		"without the scope introspect": {newFixture(t), []string{"client_secret_basic", "client_secret_post"}, "none"},
		"with the scope introspect":    {newBearerFixture(t), []string{"client_secret_basic", "client_secret_post", "Bearer"}, "none"},
	} {
		t.Run("8414-2-13 8414-2-17 the methods that work "+name, func(t *testing.T) {
			doc := tt.fixture.document(t, documentPath)
			if diff := cmp.Diff(tt.listed, doc.list(t, "introspection_endpoint_auth_methods_supported")); diff != "" {
				t.Error(diff)
			}
			access := wantToken(t, tt.fixture.post(t, passwordForm("alice", "secret123"), asWeb)).text("access_token")
			for _, method := range tt.listed {
				active(t, requests(access)[method](tt.fixture, doc.endpoint(t, "introspection_endpoint")))
			}
			wantError(t, requests(access)[tt.refused](tt.fixture, doc.endpoint(t, "introspection_endpoint")), http.StatusUnauthorized, "invalid_client")
		})
	}
}

// The document is made together with the server, whose configuration never
// changes.
func TestMetadataFollowsTheConfiguration(t *testing.T) {
	f := newFixture(t, func(c *authserver.Config) { c.Scopes, c.DefaultScopes = []string{"read", "photos"}, nil })
	t.Run("8414-2-17 8414-2-08 the strict profile has no password grant", func(t *testing.T) {
		strict := newFixture(t, func(c *authserver.Config) { c.Strict = true })
		want := []string{"client_credentials", "refresh_token"}
		if diff := cmp.Diff(want, slices.Sorted(slices.Values(strict.document(t, documentPath).list(t, "grant_types_supported")))); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("8414-2-17 the scopes are those of the configuration", func(t *testing.T) {
		if diff := cmp.Diff([]string{"read", "photos"}, f.document(t, documentPath).list(t, "scopes_supported")); diff != "" {
			t.Error(diff)
		}
	})
}

// RFC 8414 section 3.1.
func TestPlaceOfTheMetadata(t *testing.T) {
	for name, tt := range map[string]struct {
		issuer, place, endpoints string
		elsewhere                []string
	}{
		"8414-3-01 8414-3.2-03 without a path":                      {issuer, documentPath, issuer, []string{documentPath + "/t1", documentPath + "/", "/.well-known/openid-configuration"}},
		"8414-3.1-02 with a slash alone":                            {issuer + "/", documentPath, issuer, []string{documentPath + "/"}},
		"8414-3-01 8414-3.2-03 the path comes after the well-known": {issuer + "/t1", documentPath + "/t1", issuer + "/t1", []string{documentPath, "/t1" + documentPath, documentPath + "/t2", documentPath + "/t1/x"}},
		"8414-3-01 a path of two segments":                          {issuer + "/a/b", documentPath + "/a/b", issuer + "/a/b", []string{documentPath + "/a"}},
		"8414-3.1-02 a terminating slash is dropped":                {issuer + "/t1/", documentPath + "/t1", issuer + "/t1", []string{documentPath + "/t1/", documentPath}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, withIssuer(tt.issuer))
			doc := f.document(t, tt.place)
			if doc.text("issuer") != tt.issuer {
				t.Errorf("issuer is %q, want %q", doc.text("issuer"), tt.issuer)
			}
			for member, path := range map[string]string{"token_endpoint": "/token", "revocation_endpoint": "/revoke", "introspection_endpoint": "/introspect"} {
				if doc.text(member) != tt.endpoints+path {
					t.Errorf("%s is %q, want %q", member, doc.text(member), tt.endpoints+path)
				}
			}
			for _, path := range tt.elsewhere {
				if a := f.send(t, http.MethodGet, path, ""); a.status != http.StatusNotFound {
					t.Errorf("GET %s: got %d, want 404", path, a.status)
				}
			}
			for _, path := range []string{doc.endpoint(t, "token_endpoint"), "/token"} {
				wantToken(t, f.send(t, http.MethodPost, path, passwordForm("alice", "secret123").Encode(), asWeb))
			}
			for _, path := range []string{doc.endpoint(t, "revocation_endpoint"), "/revoke"} {
				if a := f.send(t, http.MethodPost, path, "token=x", asWeb); a.status != http.StatusOK {
					t.Errorf("POST %s: got %d %s", path, a.status, a.body)
				}
			}
			for _, path := range []string{doc.endpoint(t, "introspection_endpoint"), "/introspect"} {
				inactive(t, f.send(t, http.MethodPost, path, "token=x", basic("rs1", "rs1-secret")))
			}
		})
	}
}

func TestMetadataDoesNotFollowTheRequest(t *testing.T) {
	f := newFixture(t)
	want := f.document(t, documentPath)
	host := func(h string) change { return func(r *http.Request) { r.Host = h } }
	for name, changes := range map[string][]change{
		"Host: as.test":     {host("as.test")},
		"Host: as.test:443": {host("as.test:443")},
		"Host: evil.test":   {host("evil.test")},
		"X-Forwarded-Host":  {header("X-Forwarded-Host", "evil.test"), header("X-Forwarded-Proto", "http"), header("X-Forwarded-Prefix", "/evil.test")},
		"Forwarded":         {header("Forwarded", "host=evil.test;proto=http")},
	} {
		t.Run("8414-3.3-01 8414-3.3-02 "+name, func(t *testing.T) {
			got := f.document(t, documentPath, changes...)
			if diff := cmp.Diff(want.json, got.json); diff != "" || got.text("issuer") != issuer || strings.Contains(string(got.body), "evil.test") {
				t.Errorf("%s\n%s", diff, got.body)
			}
		})
	}
	t.Run("8414-3.3-02 a query changes nothing", func(t *testing.T) {
		if got := f.document(t, documentPath+"?issuer=https://evil.test"); string(got.body) != string(want.body) {
			t.Errorf("got %s", got.body)
		}
	})
}

func TestMethodsOfTheMetadata(t *testing.T) {
	f := newFixture(t)
	get := f.document(t, documentPath)
	t.Run("8414-3.1-01 HEAD has the headers of GET and no body", func(t *testing.T) {
		head := f.send(t, http.MethodHead, documentPath, "")
		get.header.Del("Date")
		head.header.Del("Date")
		if diff := cmp.Diff(get.header, head.header); diff != "" || head.status != http.StatusOK || len(head.body) > 0 {
			t.Errorf("got %d %q\n%s", head.status, head.body, diff)
		}
	})
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} {
		t.Run("8414-3.1-01 405 and Allow for "+method, func(t *testing.T) {
			a := wantError(t, f.send(t, method, documentPath, ""), http.StatusMethodNotAllowed, "invalid_request")
			if a.header.Get("Allow") != "GET, HEAD" {
				t.Errorf("Allow is %q", a.header.Get("Allow"))
			}
			if ev := f.events.last(t); ev.Err == nil {
				t.Error("noted as answered")
			}
		})
	}
}

func TestScriptsMayAskForTheMetadata(t *testing.T) {
	f := newFixture(t)
	got := f.send(t, "OPTIONS", documentPath, "", header("Origin", "https://spa.test"), header("Access-Control-Request-Method", "GET"))
	if got.status != http.StatusNoContent || got.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("got %d %v", got.status, got.header)
	}
}

func TestMetadataMayBeKept(t *testing.T) {
	f := newFixture(t)
	doc := f.document(t, documentPath, header("Origin", "https://spa.test"))
	t.Run("8414-3.2-04 scripts of every origin may read it", func(t *testing.T) {
		if got := doc.header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != "*" || doc.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("headers %v", doc.header)
		}
	})
	t.Run("8414-3.2-04 caches may keep it for a bounded time", func(t *testing.T) {
		age, err := time.ParseDuration(strings.TrimPrefix(doc.header.Get("Cache-Control"), "public, max-age=") + "s")
		if err != nil || age < time.Minute || age > time.Hour || doc.header.Get("Pragma") != "" {
			t.Errorf("headers %v", doc.header)
		}
		if doc.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("headers %v", doc.header)
		}
	})
	t.Run("8414-3.2-04 who has it already isn't sent it again", func(t *testing.T) {
		tag := doc.header.Get("ETag")
		again := f.send(t, http.MethodGet, documentPath, "", header("If-None-Match", tag))
		if again.status != http.StatusNotModified || len(again.body) > 0 || again.header.Get("ETag") != tag || !strings.HasPrefix(tag, `"`) {
			t.Errorf("got %d %v %s", again.status, again.header, again.body)
		}
		if other := newFixture(t, withIssuer(issuer+"/t1")).document(t, documentPath+"/t1"); other.header.Get("ETag") == tag {
			t.Error("another document has the same tag")
		}
	})
}

// RFC 8414 section 2.
func TestWhatIsNoIssuer(t *testing.T) {
	var c authserver.Config
	newFixture(t, func(config *authserver.Config) { c = *config })
	if _, err := authserver.New(c); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "as.test", "ftp://as.test", issuer + "?x", issuer + "?", issuer + "#y", issuer + "#", "https://user@as.test", issuer + "/a//b", issuer + "/{a}"} {
		t.Run("8414-2-01 refused at start: "+bad, func(t *testing.T) {
			c.Issuer = bad
			if _, err := authserver.New(c); err == nil || !strings.Contains(err.Error(), "Issuer") {
				t.Errorf("got %v, want an error that names Issuer", err)
			}
		})
	}
}
