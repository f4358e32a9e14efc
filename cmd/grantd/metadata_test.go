package main

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The paths of the documents in RFC 8414 section 3 and RFC 9728 section 3.
const (
	serverDocument   = "/.well-known/oauth-authorization-server"
	resourceDocument = "/.well-known/oauth-protected-resource"
)

// document gets the metadata at that URL; it must be there.
func document(t *testing.T, address string) map[string]any {
	t.Helper()
	status, body := get(t, address)
	var members map[string]any
	if err := json.Unmarshal([]byte(body), &members); err != nil || status != http.StatusOK {
		t.Fatalf("GET %s: %d %s, want a JSON object", address, status, body)
	}
	return members
}

// announced calls the URL without a token and returns the URL of the metadata
// that the challenge names.
func announced(t *testing.T, address string) string {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	challenge := resp.Header.Get("WWW-Authenticate")
	_, after, found := strings.Cut(challenge, `resource_metadata="`)
	place, _, closed := strings.Cut(after, `"`)
	if resp.StatusCode != http.StatusUnauthorized || !found || !closed || strings.Count(challenge, "resource_metadata") != 1 {
		t.Fatalf("GET %s: %d, challenge %q", address, resp.StatusCode, challenge)
	}
	return place
}

// known are the clients and the user that a server knows.
type known struct{ client, clientSecret, introspector, introspectorSecret, user, password string }

var (
	demoKnown = known{"demo", "demo-secret", "demo-api", "demo-api-secret", "alice", "secret123"}
	ownKnown  = known{"web", secret32, "api", secret32, "carol", "correct horse battery"}
)

// discover acts as a client that knows only the URL of an API. It follows the
// challenge to the API's metadata, and from there to the authorization
// server's. It checks that each document belongs to the server that it was
// looked up for, and signs in.
func discover(t *testing.T, api, issuer string, k known) {
	t.Helper()
	place := announced(t, api)
	var about map[string]any
	t.Run("9728-5-01 9728-5.1-01 the challenge points to the metadata", func(t *testing.T) {
		if u, err := url.Parse(place); err != nil || !u.IsAbs() {
			t.Errorf("resource_metadata is %q", place)
		}
		about = document(t, place)
	})
	t.Run("9728-3.3-02 the metadata names the URL that was called", func(t *testing.T) {
		if about["resource"] != api {
			t.Errorf("resource is %v, want %s", about["resource"], api)
		}
	})
	t.Run("9728-2-02 8414-3.3-01 the issuer is the same in both documents", func(t *testing.T) {
		servers, _ := about["authorization_servers"].([]any)
		if diff := cmp.Diff([]any{issuer}, servers); diff != "" {
			t.Fatal(diff)
		}
	})
	at, err := url.Parse(issuer)
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimSuffix(at.Path, "/")
	at.Path = serverDocument + path
	server := document(t, at.String())
	t.Run("8414-2-01 8414-3-01 8414-3.3-01 the issuer is that from which the URL was built", func(t *testing.T) {
		if server["issuer"] != issuer {
			t.Errorf("issuer is %v, want %s", server["issuer"], issuer)
		}
	})
	t.Run("9728-4-01 each resource has a document that lists the issuer", func(t *testing.T) {
		resources, _ := server["protected_resources"].([]any)
		if !slices.Contains(resources, any(api)) || len(resources) != 2 {
			t.Errorf("protected_resources is %v, want two, and %s among them", resources, api)
		}
		for _, r := range resources {
			id, err := url.Parse(r.(string))
			if err != nil {
				t.Fatal(err)
			}
			id.Path = resourceDocument + id.Path
			its := document(t, id.String())
			if servers, _ := its["authorization_servers"].([]any); its["resource"] != r || !slices.Contains(servers, any(issuer)) {
				t.Errorf("%s: %v", r, its)
			}
		}
	})
	t.Run("8414-2-03 8414-2-12 8414-2-13 the endpoints are where the document says", func(t *testing.T) {
		endpoint := func(member string) string { s, _ := server[member].(string); return s }
		_, body := postForm(t, endpoint("token_endpoint"), k.client, k.clientSecret, passwordForm(k.user, k.password, ""))
		_, pair := members(t, body)
		token, _ := pair["access_token"].(string)
		if me := getAs(t, api, token); me["username"] != k.user {
			t.Errorf("%s tells %v", api, me)
		}
		if _, body := postForm(t, endpoint("introspection_endpoint"), k.introspector, k.introspectorSecret, url.Values{"token": {token}}); !strings.Contains(body, `"active":true`) {
			t.Errorf("introspection tells %s", body)
		}
		if status, body := postForm(t, endpoint("revocation_endpoint"), k.client, k.clientSecret, url.Values{"token": {token}}); status != http.StatusOK {
			t.Errorf("revocation answers %d %s", status, body)
		}
	})
}

func getAs(t *testing.T, address, token string) map[string]any {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var m map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDiscoveryOfDev(t *testing.T) {
	t.Run("on a free port", func(t *testing.T) {
		g := startDev(t, "--memory")
		discover(t, g.URL+"/users/me", g.URL, demoKnown)
	})
	t.Run("under the name that --addr has", func(t *testing.T) {
		g := launch{args: []string{"dev", "--memory", "--addr", "localhost:0"}}.start(t)
		if !strings.HasPrefix(g.URL, "http://localhost:") {
			t.Errorf("dev says that it is at %s", g.URL)
		}
		discover(t, g.URL+"/users/me", g.URL, demoKnown)
	})
}

// RFC 9728 section 3.3: a client doesn't use metadata that names another URL
// than the one it called.
func TestChallengesPointToMetadataOfTheURL(t *testing.T) {
	g := startDev(t, "--memory")
	asked := 0
	for path, item := range document(t, g.URL+openAPIPath)["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			at := g.URL + path
			r, err := http.NewRequest(strings.ToUpper(method), strings.NewReplacer("{", "", "}", "").Replace(at), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			challenge := resp.Header.Get("WWW-Authenticate")
			if !strings.HasPrefix(challenge, "Bearer ") {
				continue
			}
			asked++
			t.Run("9728-3.3-02 "+r.Method+" "+path, func(t *testing.T) {
				_, after, found := strings.Cut(challenge, `resource_metadata="`)
				if found != (path == "/users/me") {
					t.Errorf("challenge %q", challenge)
				}
				if place, _, _ := strings.Cut(after, `"`); found && document(t, place)["resource"] != at {
					t.Errorf("%s is about another URL than %s", place, at)
				}
			})
		}
	}
	if asked < 20 {
		t.Errorf("only %d operations challenged", asked)
	}
}

// configure makes a store with ownKnown in it, and returns the launch for
// servers on it: serve and resource at addresses that are free now, with the
// path appended to both URLs.
func configure(t *testing.T, path string) (l launch, issuer, resource string) {
	t.Helper()
	serveAddr, resourceAddr := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	issuer, resource = "http://"+serveAddr+path, "http://"+resourceAddr+path
	l = launch{dir: t.TempDir(), env: []string{
		"GRANTD_DATA=grantd.db", "GRANTD_SECRET=" + secret32, "GRANTD_ISSUER=" + issuer,
		"GRANTD_ADDR=" + serveAddr, "GRANTD_RESOURCE_ADDR=" + resourceAddr,
	}}
	secret, password := writeFile(t, "secret", secret32), writeFile(t, "password", ownKnown.password)
	for _, args := range [][]string{
		{"client", "add", ownKnown.client, "--grant", "password", "--scope", "read", "--secret-file", secret},
		{"client", "add", ownKnown.introspector, "--introspect", "--secret-file", secret},
		{"user", "add", ownKnown.user, "--password-file", password},
	} {
		must(t, launch{args: args, dir: l.dir, env: l.env})
	}
	return l, issuer, resource
}

func (l launch) with(command string, env ...string) launch {
	return launch{args: []string{command}, dir: l.dir, env: append(slices.Clone(l.env), env...)}
}

func TestDiscoveryBelowAPath(t *testing.T) {
	l, issuer, _ := configure(t, "/t1")
	g := l.with("serve").start(t)
	discover(t, issuer+"/users/me", issuer, ownKnown)

	t.Run("8414-3-01 8414-3.2-03 9728-3-01 9728-3.2-03 nothing is elsewhere", func(t *testing.T) {
		for _, path := range []string{
			serverDocument, serverDocument + "/t2", "/t1" + serverDocument, serverDocument + "/t1/", "/.well-known/openid-configuration", "/.well-known/",
			resourceDocument, resourceDocument + "/users/me", "/t1" + resourceDocument, resourceDocument + "/t1/users", resourceDocument + "/t1/", "/t2/token", "/t1",
		} {
			if status, body := get(t, g.URL+path); status != http.StatusNotFound || body != `{"error":"not_found","error_description":"There is nothing at this path."}` {
				t.Errorf("GET %s: %d %s", path, status, body)
			}
		}
	})
	t.Run("a proxy may take the path away", func(t *testing.T) {
		status, answer := tokenFor(t, g.URL, ownKnown.client, ownKnown.clientSecret, passwordForm(ownKnown.user, ownKnown.password, ""))
		if status != http.StatusOK {
			t.Fatalf("/token: %d %v", status, answer)
		}
		if status, body := getUsersMe(t, g.URL, answer["access_token"].(string)); status != http.StatusOK {
			t.Errorf("/users/me: %d %s", status, body)
		}
		if place := announced(t, g.URL+"/users/me"); place != g.URL+resourceDocument+"/t1/users/me" {
			t.Errorf("resource_metadata is %s", place)
		}
	})
}

func TestDiscoveryOfAResourceServerApart(t *testing.T) {
	for _, path := range []string{"", "/api"} {
		t.Run("below the path "+path, func(t *testing.T) {
			l, issuer, resource := configure(t, path)
			l.with("serve", "GRANTD_RESOURCE="+resource).start(t)
			g := l.with("resource", "GRANTD_RESOURCE="+resource).start(t)
			discover(t, resource+"/users/me", issuer, ownKnown)

			whole := document(t, g.URL+resourceDocument+path)
			t.Run("9728-3-02 the server as a whole has a document of its own", func(t *testing.T) {
				if whole["resource"] != resource {
					t.Errorf("resource is %v, want %s", whole["resource"], resource)
				}
			})
			t.Run("9728-2-07 both have a name", func(t *testing.T) {
				me := document(t, g.URL+resourceDocument+path+"/users/me")
				if name, _ := me["resource_name"].(string); name == "" || name == whole["resource_name"] {
					t.Errorf("the names are %v and %v", me["resource_name"], whole["resource_name"])
				}
			})
			t.Run("9728-2-04 9728-3.2-02 no scope is asked for, so none is told", func(t *testing.T) {
				for _, place := range []string{path, path + "/users/me"} {
					if scopes, there := document(t, g.URL+resourceDocument+place)["scopes_supported"]; there {
						t.Errorf("%s: scopes_supported is %v", place, scopes)
					}
				}
			})
			t.Run("8414-3.2-03 it isn't the authorization server", func(t *testing.T) {
				for _, place := range []string{serverDocument, serverDocument + path, path + "/token"} {
					if status, body := get(t, g.URL+place); status != http.StatusNotFound {
						t.Errorf("GET %s: %d %s", place, status, body)
					}
				}
			})
		})
	}
}

// TestReadmeDiscovery runs the lines of the section, and compares the answers
// with those in the README.
func TestReadmeDiscovery(t *testing.T) {
	g := startDev(t, "--memory")
	const shownURL = "http://127.0.0.1:8080"
	steps := strings.Split(strings.TrimSpace(blocks(t, readme(t), "Discovery", "console")[0]), "\n\n")
	if len(steps) != 3 {
		t.Fatalf("the section has %d lines, want 3", len(steps))
	}
	for _, step := range steps {
		line, shown, _ := strings.Cut(strings.ReplaceAll(step, shownURL, g.URL), "\n")
		if got := strings.TrimSpace(shell(t, strings.TrimPrefix(line, "$ "))); got != shown {
			t.Errorf("%s: got %s, README shows %s", line, got, shown)
		}
	}
}

// A document that comes by plain http could have been changed on its way.
func TestMetadataByPlainHTTPIsRefused(t *testing.T) {
	env := append(append([]string{"GRANTD_DATA=grantd.db"}, serveEnv...), "GRANTD_ISSUER=https://login.example.com/t1", "GRANTD_RESOURCE=https://api.example.com")
	g := launch{args: []string{"serve"}, env: env}.start(t)
	for id, tt := range map[string]struct{ path, member, want string }{
		"8414-3-02 8414-2-01 of the authorization server": {serverDocument + "/t1", "issuer", "https://login.example.com/t1"},
		"9728-2-01 of the resource server":                {resourceDocument, "resource", "https://api.example.com"},
		"9728-2-01 of /users/me":                          {resourceDocument + "/users/me", "resource", "https://api.example.com/users/me"},
	} {
		t.Run(id, func(t *testing.T) {
			if status, body := get(t, g.URL+tt.path); status != http.StatusForbidden || !strings.Contains(body, `"error":"invalid_request"`) || strings.Contains(body, tt.want) {
				t.Errorf("by plain http: %d %s", status, body)
			}
			r, err := http.NewRequest(http.MethodGet, g.URL+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Forwarded-Proto", "https") // every peer of a loopback listener is the proxy's machine
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var m map[string]any
			if err := json.NewDecoder(resp.Body).Decode(&m); err != nil || resp.StatusCode != http.StatusOK || m[tt.member] != tt.want {
				t.Errorf("by a proxy with TLS: %d %v (%v), want %s", resp.StatusCode, m, err, tt.want)
			}
		})
	}
}

func TestMetadataOverTLS(t *testing.T) {
	cert, key, pool := certificate(t)
	addr := "127.0.0.1:" + freePort(t)
	env := append(append([]string{"GRANTD_DATA=grantd.db", "GRANTD_TLS_CERT=" + cert, "GRANTD_TLS_KEY=" + key}, serveEnv...), "GRANTD_ADDR="+addr, "GRANTD_ISSUER=https://"+addr)
	launch{args: []string{"serve"}, env: env}.start(t)
	for id, path := range map[string]string{"8414-6.1-01": serverDocument, "9728-7.1-01": resourceDocument} {
		for version, good := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
			t.Run(id+" "+tls.VersionName(version), func(t *testing.T) {
				transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: version, MaxVersion: version}}
				defer transport.CloseIdleConnections()
				resp, err := (&http.Client{Transport: transport}).Get("https://" + addr + path)
				if (err == nil) != good {
					t.Fatalf("got %v, want success: %v", err, good)
				}
				if err != nil {
					return
				}
				defer resp.Body.Close()
				var m map[string]any
				if err := json.NewDecoder(resp.Body).Decode(&m); err != nil || resp.TLS.Version != version || m["issuer"] != "https://"+addr && m["resource"] != "https://"+addr {
					t.Errorf("%v: %v", err, m)
				}
			})
		}
	}
}

// An issuer by plain http is on this machine. So a server that listens for
// other machines logs a warning.
func TestPlainHTTPForOthersIsWarnedOf(t *testing.T) {
	const warning = "plain http on an address that other machines may reach"
	for addr, want := range map[string]int{":0": 1, "127.0.0.1:0": 0, "localhost:0": 0} {
		env := append(append([]string{"GRANTD_DATA=grantd.db"}, serveEnv...), "GRANTD_ADDR="+addr)
		g := launch{args: []string{"serve"}, env: env}.start(t)
		g.Stop()
		if got := strings.Count(g.Stderr(), warning); got != want {
			t.Errorf("%s: warned %d times, want %d\n%s", addr, got, want, g.Stderr())
		}
	}
}
