package main

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// site is a running serve with the user admin, the client web and the resource
// server api. Its methods send requests to it.
type site struct {
	*running
	http *http.Client
}

const sitePassword = "first-admin-password"

// startSite starts serve with the issuer https://localhost; env is added to its
// environment.
func startSite(t *testing.T, env ...string) *site {
	t.Helper()
	secretFile := writeFile(t, "secret", secret32)
	all := append([]string{"GRANTD_DATA=grantd.db", "GRANTD_ADMIN_PASSWORD=" + sitePassword}, serveEnv...)
	l := launch{dir: t.TempDir(), env: append(append(all, "GRANTD_ISSUER=https://localhost"), env...)}
	for _, rights := range [][]string{
		{"web", "--grant", "password", "--grant", "refresh_token"},
		{"api", "--introspect"},
	} {
		l.args = append([]string{"client", "add", "--secret-file", secretFile}, rights...)
		must(t, l)
	}
	l.args = []string{"serve"}
	return &site{l.start(t), http.DefaultClient}
}

// from returns the site for requests that come from that address of this
// machine.
func (s *site) from(address string) *site {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: 5 * time.Second}
	return &site{s.running, &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}}
}

// post sends a form as that client; proto is what X-Forwarded-Proto says, if anything.
func (s *site) post(t *testing.T, path, id, secret, proto string, form url.Values) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(id, secret)
	return s.do(t, r, proto)
}

// usersMe asks GET /users/me.
func (s *site) usersMe(t *testing.T, token, proto string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/users/me", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return s.do(t, r, proto)
}

func (s *site) do(t *testing.T, r *http.Request, proto string) (int, string) {
	t.Helper()
	if proto != "" {
		r.Header.Set("X-Forwarded-Proto", proto)
	}
	response, err := s.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// signIn gets the admin's tokens.
func (s *site) signIn(t *testing.T, proto string) (answer map[string]any, access string) {
	t.Helper()
	status, body := s.post(t, "/token", "web", secret32, proto, passwordForm("admin", sitePassword, ""))
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK {
		t.Fatalf("/token answers %d %s", status, body)
	}
	access, _ = answer["access_token"].(string)
	return answer, access
}

// Where a proxy ends TLS, its header decides whether a request came protected.
// A request that didn't is not processed.
func TestPlainHTTPBehindAnHTTPSIssuerIsRefused(t *testing.T) {
	s := startSite(t, "GRANTD_TRUSTED_PROXIES=127.0.0.2")
	proxy, stranger := s.from("127.0.0.2"), s.from("127.0.0.1")
	answer, access := proxy.signIn(t, "https")

	t.Run("6750-5.2-02 6750-5.3-02 an access token lives an hour unless told otherwise", func(t *testing.T) {
		if answer["expires_in"] != 3600.0 {
			t.Errorf("expires_in is %v", answer["expires_in"])
		}
	})
	t.Run("6750-5.2-04 the proxy's word counts", func(t *testing.T) {
		if status, body := proxy.usersMe(t, access, "https"); status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
	})
	for name, c := range map[string]struct {
		s     *site
		proto string
	}{
		"no proxy":                   {stranger, ""},
		"a stranger's word":          {stranger, "https"},
		"a proxy that says http":     {proxy, "http"},
		"a proxy that says nothing":  {proxy, ""},
		"a proxy after a plain link": {proxy, "http, https"},
	} {
		refused := func(id string, status int, body string) {
			t.Run(id+" by "+name, func(t *testing.T) {
				if status != http.StatusForbidden || !strings.HasPrefix(body, `{"error":"invalid_request","error_description":`) {
					t.Errorf("got %d %s", status, body)
				}
			})
		}
		status, body := c.s.usersMe(t, access, c.proto)
		refused("6750-5.2-03 6750-5.2-04 /users/me", status, body)
		status, body = c.s.post(t, "/introspect", "api", secret32, c.proto, url.Values{"token": {access}})
		refused("7662-2-01 /introspect", status, body)
		status, body = c.s.post(t, "/revoke", "web", secret32, c.proto, url.Values{"token": {access}})
		refused("6749-2.3.1-06 /revoke", status, body)
		for what, secret := range map[string]string{"the right secret": secret32, "a wrong secret": "x"} {
			status, body = c.s.post(t, "/token", "web", secret, c.proto, passwordForm("admin", sitePassword, ""))
			refused("6749-2.3.1-06 6749-3.2-06 6750-5.2-03 /token with "+what, status, body)
		}
	}
	t.Run("6749-2.3.1-06 no client was authenticated and no token revoked", func(t *testing.T) {
		if status, body := proxy.usersMe(t, access, "https"); status != http.StatusOK {
			t.Errorf("/users/me answers %d %s", status, body)
		}
		s.Stop()
		refused := 0
		for line := range strings.Lines(s.Stderr()) {
			if !strings.Contains(line, `"status":403`) {
				continue
			}
			if refused++; strings.Contains(line, "client_id") {
				t.Errorf("logged %s", line)
			}
		}
		if refused != 25 {
			t.Errorf("%d lines of refusals, want 25", refused)
		}
	})
}

// Probes come by plain http, and on a loopback listener every peer is the
// proxy's machine.
func TestPlainHTTPOnALoopbackListener(t *testing.T) {
	s := startSite(t)
	if status, _ := get(t, s.URL+"/readyz"); status != http.StatusOK {
		t.Errorf("/readyz by plain http: %d", status)
	}
	if status, _ := s.usersMe(t, "x", ""); status != http.StatusForbidden {
		t.Errorf("/users/me by plain http: %d", status)
	}
	if _, access := s.signIn(t, "https"); access == "" {
		t.Error("no token by a proxy with TLS")
	}
}

func TestServeSpeaksTLS(t *testing.T) {
	cert, key, pool := certificate(t)
	metricsAddr := "127.0.0.1:" + freePort(t)
	s := startSite(t, "GRANTD_TLS_CERT="+cert, "GRANTD_TLS_KEY="+key, "GRANTD_METRICS_ADDR="+metricsAddr)
	addr := strings.TrimPrefix(s.URL, "http://")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	secure := &site{&running{URL: "https://" + addr}, client}

	answer, access := secure.signIn(t, "")
	t.Run("6749-10.9-01 tokens come from a server that proves who it is", func(t *testing.T) {
		if access == "" || answer["refresh_token"] == nil {
			t.Errorf("got %v", answer)
		}
	})
	t.Run("6750-5.2-03 no plain http is spoken on its port", func(t *testing.T) {
		status, body := s.post(t, "/token", "web", secret32, "https", passwordForm("admin", sitePassword, ""))
		if status != http.StatusBadRequest || strings.Contains(body, "token") {
			t.Errorf("/token answers %d %s", status, body)
		}
		if status, body = s.usersMe(t, access, "https"); status != http.StatusBadRequest || strings.Contains(body, "admin") {
			t.Errorf("/users/me answers %d %s", status, body)
		}
	})
	t.Run("7009-2-04 so there is no /revoke by plain http either", func(t *testing.T) {
		if status, _ := s.post(t, "/revoke", "web", secret32, "", url.Values{"token": {access}}); status != http.StatusBadRequest {
			t.Errorf("/revoke answers %d", status)
		}
		if status, _ := secure.usersMe(t, access, ""); status != http.StatusOK {
			t.Errorf("/users/me answers %d", status)
		}
	})
	t.Run("over HTTP/2", func(t *testing.T) {
		response, err := client.Get("https://" + addr + "/users/me")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized || response.ProtoMajor != 2 {
			t.Errorf("/users/me: %d over HTTP/%d", response.StatusCode, response.ProtoMajor)
		}
	})
	t.Run("for Prometheus too", func(t *testing.T) {
		for scheme, want := range map[string]int{"https": http.StatusOK, "http": http.StatusBadRequest} {
			response, err := client.Get(scheme + "://" + metricsAddr + metricsPath)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != want {
				t.Errorf("%s: %d, want %d", scheme, response.StatusCode, want)
			}
		}
	})
	t.Run("TLS 1.1 is too old", func(t *testing.T) {
		if _, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
			t.Error("it was accepted")
		}
	})
	must(t, launch{args: []string{"healthcheck"}, env: []string{"GRANTD_ADDR=" + addr, "GRANTD_TLS_CERT=" + cert}})
}

// A configuration that would put secrets or tokens at risk keeps the program
// from starting.
func TestServeRefusesToStart(t *testing.T) {
	for name, c := range map[string]struct{ env, told string }{
		"6749-10.9-01 an issuer by plain http":             {"GRANTD_ISSUER=http://login.example.com", "issuer: must be https"},
		"6749-10.9-01 an address by plain http":            {"GRANTD_ISSUER=http://10.0.0.1", "issuer: must be https"},
		"6749-10.9-01 every address, without TLS or proxy": {"GRANTD_ADDR=:0", "tls_cert: is missing"},
		"6750-5.2-02 tokens that live for no time":         {"GRANTD_ACCESS_LIFETIME=0s", "access_lifetime: must be"},
		"6750-5.2-02 tokens that live backwards":           {"GRANTD_ACCESS_LIFETIME=-1h", "access_lifetime: must be"},
		"6750-5.2-02 tokens that live for a week":          {"GRANTD_ACCESS_LIFETIME=168h", "access_lifetime: must be"},
	} {
		t.Run(name, func(t *testing.T) {
			env := append(append([]string{"GRANTD_DATA=grantd.db"}, serveEnv...), "GRANTD_ISSUER=https://localhost", c.env)
			code, _, stderr := launch{args: []string{"serve"}, env: env}.run(t)
			if code != 2 || !strings.Contains(stderr, c.told) {
				t.Errorf("exit %d: %s", code, stderr)
			}
		})
	}
}
