package main

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/grantd/grantd/authserver/admin"
)

// siteConfig is a configuration on a store in memory.
func siteConfig(change func(*config)) *config {
	c := defaultConfig()
	c.Issuer, c.Data, c.Secret = "http://127.0.0.1", ":memory:", newSecret(secret32)
	c.Scopes = list{"read", "write", "admin", "introspect"}
	c.PasswordHash = hashConfig{Memory: 64, Time: 1, Threads: 1}
	change(&c)
	return &c
}

// openSite is a process that is ready to serve.
func openSite(t *testing.T, c *config) *process {
	t.Helper()
	p, err := newProcess(t.Context(), c, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.store.Close() })
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// offered is the handler of all that the process serves, with its middleware.
func offered(t *testing.T, p *process, offer func() (handlers, error)) (http.Handler, handlers) {
	t.Helper()
	h, err := offer()
	if err != nil {
		t.Fatal(err)
	}
	handler, err := p.handler("127.0.0.1:8080", h)
	if err != nil {
		t.Fatal(err)
	}
	return handler, h
}

// openAPIOf gets the document and checks that it is OpenAPI 3.1, and that every
// example in it fits its schema.
func openAPIOf(t *testing.T, handler http.Handler, at string) *openapi3.T {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", at, nil)
	r.Header.Set("X-Forwarded-Proto", "https") // believed on loopback, where the issuer is https
	r.RemoteAddr = "127.0.0.1:1"
	handler.ServeHTTP(w, r)
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("GET %s: %d %v", at, w.Code, w.Header())
	}
	doc, err := openapi3.NewLoader().LoadFromData(w.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.EnableMultiError(), openapi3.ProhibitExtensionsWithRef()); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Errorf("it is OpenAPI %s", doc.OpenAPI)
	}
	return doc
}

func TestOpenAPIOfEachListener(t *testing.T) {
	const tokenPath, serverPath, usersPath = "/token", "/.well-known/oauth-authorization-server", "/users/me"
	for _, c := range []struct {
		name     string
		change   func(*config)
		resource bool // grantd resource, which offers nothing else
		at       string
		server   string
		tokenURL string
		own      map[string]string // paths that are below another URL
		flows    []string
	}{
		{
			name: "an issuer without a path", change: func(*config) {}, at: "/openapi.json",
			server: "http://127.0.0.1", tokenURL: "http://127.0.0.1/token",
			own: map[string]string{tokenPath: "", serverPath: "", usersPath: "", "/livez": ""}, flows: []string{"clientCredentials", "password"},
		},
		{
			name: "an issuer with a path", change: func(c *config) { c.Issuer = "https://login.example/t1/" }, at: "/t1/openapi.json",
			server: "https://login.example/t1", tokenURL: "https://login.example/t1/token",
			own: map[string]string{
				tokenPath: "", serverPath + "/t1": "https://login.example", "/.well-known/oauth-protected-resource/t1/users/me": "https://login.example",
				usersPath: "", "/livez": "/",
			},
			flows: []string{"clientCredentials", "password"},
		},
		{
			name: "a resource server elsewhere", change: func(c *config) {
				c.Issuer, c.Resource = "https://login.example", "https://api.example/v1"
			},
			at: "/openapi.json", server: "https://login.example", tokenURL: "https://login.example/token",
			own: map[string]string{
				serverPath: "", "/.well-known/oauth-protected-resource/v1": "https://api.example", usersPath: "https://api.example/v1", "/livez": "",
			},
			flows: []string{"clientCredentials", "password"},
		},
		{
			name: "the resource server alone", resource: true, change: func(c *config) {
				c.Issuer, c.Resource = "https://login.example", "https://api.example/v1"
			},
			at: "/v1/openapi.json", server: "https://api.example/v1", tokenURL: "https://login.example/token",
			own:   map[string]string{usersPath: "", "/livez": "/", "/.well-known/oauth-protected-resource/v1/users/me": "https://api.example"},
			flows: []string{"clientCredentials", "password"},
		},
		{
			name: "the strict profile", change: func(c *config) { c.Profile, c.Scopes = profileStrict, list{"read"} }, at: "/openapi.json",
			server: "http://127.0.0.1", tokenURL: "http://127.0.0.1/token", own: map[string]string{tokenPath: ""}, flows: []string{"clientCredentials"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := openSite(t, siteConfig(c.change))
			offer := func() (handlers, error) { return p.offerAll("") }
			if c.resource {
				offer = p.offerResource
			}
			handler, h := offered(t, p, offer)
			doc := openAPIOf(t, handler, c.at)
			if len(doc.Servers) != 1 || doc.Servers[0].URL != c.server {
				t.Errorf("servers: %v, want %s", doc.Servers, c.server)
			}
			for path, want := range c.own {
				item := doc.Paths.Value(path)
				if item == nil {
					t.Errorf("%s isn't there", path)
				} else if got := firstURL(item.Servers); got != want {
					t.Errorf("%s is below %q, want %q", path, got, want)
				}
			}
			checkFlows(t, doc, p.config, c.tokenURL, c.flows)
			if token := doc.Paths.Value("/token"); token != nil {
				form := token.Post.RequestBody.Value.Content["application/x-www-form-urlencoded"]
				if told := form.Examples["password"] != nil; told != slices.Contains(c.flows, "password") {
					t.Errorf("an example of the password grant: %v", told)
				}
			}
			samePaths(t, p, doc, h)
		})
	}
}

// The admin API is described where it is, and nowhere else.
func TestOpenAPIOfAnAdminListener(t *testing.T) {
	p := openSite(t, siteConfig(func(c *config) {
		c.Issuer, c.AdminAddr = "https://login.example/t1", "127.0.0.1:0"
	}))
	handler, h := offered(t, p, func() (handlers, error) { return p.offerAll("") })
	samePaths(t, p, openAPIOf(t, handler, "/t1/openapi.json"), h)
	h = handlers{oauth: h.admin, escaped: h.escaped, nothing: h.nothing}
	handler, _ = offered(t, p, func() (handlers, error) { return h, nil })
	for _, at := range []string{"/openapi.json", "/t1/openapi.json"} {
		doc := openAPIOf(t, handler, at)
		samePaths(t, p, doc, h)
		if got := firstURL(doc.Servers); got != "/" {
			t.Errorf("it is at %s", got)
		}
		checkFlows(t, doc, p.config, "https://login.example/t1/token", []string{"clientCredentials", "password"})
		if doc.Paths.Value("/admin/v1/users/{username}") == nil || doc.Paths.Value("/token") != nil {
			t.Errorf("it has %v", slices.Sorted(maps.Keys(doc.Paths.Map())))
		}
	}
}

func firstURL(s openapi3.Servers) string {
	if len(s) == 0 {
		return ""
	}
	return s[0].URL
}

func checkFlows(t *testing.T, doc *openapi3.T, c *config, tokenURL string, want []string) {
	t.Helper()
	flows := doc.Components.SecuritySchemes["oauth2"].Value.Flows
	found := map[string]*openapi3.OAuthFlow{"password": flows.Password, "clientCredentials": flows.ClientCredentials, "implicit": flows.Implicit, "authorizationCode": flows.AuthorizationCode}
	maps.DeleteFunc(found, func(_ string, f *openapi3.OAuthFlow) bool { return f == nil })
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, want) {
		t.Errorf("flows %v, want %v", got, want)
	}
	for name, f := range found {
		if f.TokenURL != tokenURL || f.RefreshURL != "" && f.RefreshURL != tokenURL {
			t.Errorf("%s: tokens from %q and %q, want %q", name, f.TokenURL, f.RefreshURL, tokenURL)
		}
		scopes := slices.Sorted(maps.Keys(f.Scopes))
		if !slices.Equal(scopes, slices.Sorted(slices.Values(c.Scopes))) {
			t.Errorf("%s: scopes %v, want %v", name, scopes, c.Scopes)
		}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	if told := bytes.Contains(text, []byte("PasswordGrant")); told != slices.Contains(want, "password") {
		t.Errorf("the password grant is told of: %v, flows %v", told, want)
	}
	if introspect := doc.Paths.Value("/introspect"); introspect != nil {
		bearer := slices.ContainsFunc(*introspect.Post.Security, func(s openapi3.SecurityRequirement) bool { return s["oauth2"] != nil })
		if bearer != slices.Contains(c.Scopes, "introspect") {
			t.Errorf("introspection by bearers: %v, scopes %v", bearer, c.Scopes)
		}
	}
}

// samePaths checks that the document has exactly the paths that the listener
// serves. A path that is served both below the path of the server and at its
// root is there once.
func samePaths(t *testing.T, p *process, doc *openapi3.T, h handlers) {
	t.Helper()
	want := map[string]bool{"/livez": true, "/readyz": true}
	if h.metrics != nil {
		want[metricsPath] = true
	}
	for path := range h.oauth {
		want[path] = true
	}
	maps.DeleteFunc(want, func(path string, _ bool) bool { // these answer 404
		return strings.HasSuffix(path, "/") || strings.HasSuffix(path, admin.Root)
	})
	base, _ := p.config.resources()
	for path := range want {
		for _, at := range []string{p.config.Issuer, base} {
			below, isBelow := strings.CutPrefix(path, urlPath(t, at))
			if below != path && isBelow && want[below] {
				delete(want, path)
			}
		}
	}
	if d := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(doc.Paths.Map()))); d != "" {
		t.Errorf("paths (-answered +documented):\n%s", d)
	}
}

// Every part of the document that readers look at has an example. The test
// checks the examples that kin-openapi doesn't.
func TestOpenAPIExamples(t *testing.T) {
	p := openSite(t, siteConfig(func(*config) {}))
	handler, _ := offered(t, p, func() (handlers, error) { return p.offerAll("") })
	doc := openAPIOf(t, handler, openAPIPath)
	fits := func(what string, schema *openapi3.SchemaRef, example any) {
		if err := schema.Value.VisitJSON(example, openapi3.EnableJSONSchema2020()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for name, header := range doc.Components.Headers {
		if header.Value.Example == nil {
			t.Errorf("the header %s has no example", name)
			continue
		}
		fits("the header "+name, header.Value.Schema, header.Value.Example)
	}
	for name, schema := range doc.Components.Schemas {
		for _, example := range schema.Value.Examples {
			fits("the schema "+name, schema, example)
		}
	}
	for path, item := range doc.Paths.Map() {
		for method, o := range item.Operations() {
			if o.OperationID == "" || o.Summary == "" || len(o.Tags) != 1 || doc.Tags.Get(o.Tags[0]) == nil || o.Security == nil {
				t.Errorf("%s %s lacks an id, a summary, a tag that is told of, or what it takes to call it", method, path)
			}
			if o.RequestBody != nil {
				haveExamples(t, method+" "+path, o.RequestBody.Value.Content)
			}
			for status, response := range o.Responses.Map() {
				haveExamples(t, method+" "+path+" "+status, response.Value.Content)
			}
		}
	}
}

func haveExamples(t *testing.T, what string, content openapi3.Content) {
	t.Helper()
	for mediaType, m := range content {
		if m.Schema == nil || m.Example == nil && len(m.Examples) == 0 {
			t.Errorf("%s, %s has no schema or no example", what, mediaType)
		}
	}
}

// The document is written in YAML for people; a slip of YAML must not become JSON.
func TestOpenAPISourceIsPlain(t *testing.T) {
	for _, source := range []string{"a: 1.5", "a: ~", "a: 2026-11-25", "a: .nan", "a: !!binary aGk="} {
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(source), &n); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := writeNode(&b, n.Content[0]); err == nil {
			t.Errorf("%s became %s", source, b.String())
		}
	}
}

func TestOpenAPIIsServedAsOtherDocumentsAre(t *testing.T) {
	g := startDev(t, "--memory")
	at := g.URL + openAPIPath
	ask := func(method, tag string) *http.Response {
		r, err := http.NewRequest(method, at, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "evil.example"
		if tag != "" {
			r.Header.Set("If-None-Match", tag)
		}
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { response.Body.Close() })
		return response
	}
	got := ask("GET", "")
	body, err := io.ReadAll(got.Body)
	if err != nil || got.StatusCode != 200 {
		t.Fatal(got.StatusCode, err)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff",
	} {
		if got := got.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if bytes.Contains(body, []byte("evil.example")) || !bytes.Contains(body, []byte(`"servers":[{"url":"`+g.URL+`"}]`)) || !bytes.Contains(body, []byte(`"tokenUrl":"`+g.URL+`/token"`)) {
		t.Errorf("its URLs aren't those of the issuer: %s", body[:1000])
	}
	tag := got.Header.Get("ETag")
	if again := ask("GET", tag); again.StatusCode != 304 || again.Header.Get("ETag") != tag {
		t.Errorf("with the tag %q: %d", tag, again.StatusCode)
	}
	if head := ask("HEAD", ""); head.StatusCode != 200 || head.ContentLength != int64(len(body)) {
		t.Errorf("HEAD: %d, %d bytes", head.StatusCode, head.ContentLength)
	}
	if post := ask("POST", ""); post.StatusCode != 405 || post.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, Allow %q", post.StatusCode, post.Header.Get("Allow"))
	}
}

// urlPath is the path of the URL, without a slash at its end.
func urlPath(t *testing.T, text string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(u.Path, "/")
}
