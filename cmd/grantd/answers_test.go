package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// challenge is one of a WWW-Authenticate header.
type challenge struct {
	scheme     string
	parameters map[string]string // by name in lower case
}

// parseChallenges reads a WWW-Authenticate header in the grammar of RFC 9110
// section 11.6.1, except for token68, which none of the schemes here uses:
//
//	WWW-Authenticate = #( scheme [ 1*SP #( name BWS "=" BWS ( token / quoted-string ) ) ] )
func parseChallenges(s string) ([]challenge, error) {
	var all []challenge
	for s = strings.TrimLeft(s, " ,"); s != ""; s = strings.TrimLeft(s, " ,") {
		word, rest := cutToken(s)
		if word == "" {
			return nil, fmt.Errorf("no token at %q", s)
		}
		value, isParameter := strings.CutPrefix(strings.TrimLeft(rest, " "), "=")
		if !isParameter {
			all = append(all, challenge{word, map[string]string{}})
			s = rest
			continue
		}
		name := strings.ToLower(word)
		if len(all) == 0 || all[len(all)-1].parameters[name] != "" {
			return nil, fmt.Errorf("%s belongs to no challenge, or comes twice", name)
		}
		text, after, err := cutValue(strings.TrimLeft(value, " "))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if after = strings.TrimLeft(after, " "); after != "" && after[0] != ',' {
			return nil, fmt.Errorf("after %s: %q", name, after)
		}
		all[len(all)-1].parameters[name] = text
		s = after
	}
	return all, nil
}

func cutToken(s string) (token, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:]
}

// cutValue takes a token or a quoted-string off the front of s.
func cutValue(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		value, rest = cutToken(s)
		return value, rest, nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], nil
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", errors.New("the quoted-string doesn't end")
}

func TestParseChallenges(t *testing.T) {
	for text, want := range map[string]string{
		`Basic realm="a, b=\"c\""`:                     `[{Basic map[realm:a, b="c"]}]`,
		`Bearer realm="x", error=y, Basic realm = "z"`: `[{Bearer map[error:y realm:x]} {Basic map[realm:z]}]`,
		`Negotiate, DPoP algs="ES256"`:                 `[{Negotiate map[]} {DPoP map[algs:ES256]}]`,
		`realm="x"`:                                    "", // of what?
		`Bearer realm="x" error="y"`:                   "", // no comma
		`Bearer realm="x`:                              "",
		`Bearer error="x", error="y"`:                  "",
		"Bearer \u00e9=x":                              "",
	} {
		got, err := parseChallenges(text)
		if want == "" && err == nil || want != "" && fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v; want %s", text, got, err, want)
		}
	}
}

// exchange is a request and its answer.
type exchange struct {
	method, path, authorization string
	status                      int
	header                      http.Header
}

func (e exchange) String() string {
	scheme, _, _ := strings.Cut(e.authorization, " ")
	return fmt.Sprintf("%s %s with %q: %d", e.method, e.path, scheme, e.status)
}

var allPaths = []string{"/token", "/revoke", "/introspect", "/users/me", "/livez", "/readyz", "/metrics", "/", "/nope"}

// exchanges asks every path by every method with credentials of every kind.
func exchanges(t *testing.T) []exchange {
	t.Helper()
	dir, secretFile := t.TempDir(), writeFile(t, "secret", secret32)
	env := slices.Concat([]string{"GRANTD_DATA=grantd.db", "GRANTD_ADMIN_PASSWORD=" + sitePassword, "GRANTD_SCOPES=read introspect"}, serveEnv, cheapHash)
	for _, rights := range [][]string{
		{"web", "--grant", "password", "--grant", "refresh_token"},
		{"app", "--grant", "password", "--public"},
		{"api", "--introspect"},
	} {
		if rights[0] != "app" {
			rights = append(rights, "--secret-file", secretFile)
		}
		must(t, launch{args: append([]string{"client", "add"}, rights...), dir: dir, env: env})
	}
	g := launch{args: []string{"serve"}, dir: dir, env: env}.start(t)

	signIn := func() (access, refresh string) {
		_, answer := tokenFor(t, g.URL, "web", secret32, passwordForm("admin", sitePassword, ""))
		access, _ = answer["access_token"].(string)
		refresh, _ = answer["refresh_token"].(string)
		return access, refresh
	}
	good, _ := signIn()
	revoked, refresh := signIn()
	postForm(t, g.URL+"/revoke", "web", secret32, url.Values{"token": {revoked}})
	basic := func(id, secret string) string {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(id, secret)
		return r.Header.Get("Authorization")
	}
	authorizations := []string{
		"none", "", "Basic", "Basic !", basic("web", "wrong"), basic("ghost", "x"), basic("web", secret32), basic("app", "x"), basic("api", secret32),
		"Bearer", "Bearer x", "bearer a b", "Bearer " + good, "Bearer " + revoked, "Bearer " + refresh, "Digest x", "DPoP x", "é",
	}
	form := passwordForm("admin", sitePassword, "")
	form.Set("token", good)
	var all []exchange
	for _, method := range []string{"POST", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"} {
		for _, path := range allPaths {
			for _, authorization := range authorizations {
				if path == "/revoke" && authorization == basic("web", secret32) {
					continue // it would end the good token
				}
				all = append(all, ask(t, g.URL, exchange{method: method, path: path, authorization: authorization}, form.Encode()))
			}
		}
	}
	return all
}

func ask(t *testing.T, base string, e exchange, body string) exchange {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), e.method, base+e.path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if e.authorization != "none" {
		r.Header.Set("Authorization", e.authorization)
	}
	response, err := http.DefaultTransport.RoundTrip(r) // follows no redirection, unlike a Client
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	e.status, e.header = response.StatusCode, response.Header
	return e
}

// TestEvery401 makes a whole server refuse requests in every way, and checks
// each refusal.
func TestEvery401(t *testing.T) {
	all := exchanges(t)
	refused, schemes := map[string]int{}, map[string]bool{}
	for _, e := range all {
		if e.status != http.StatusUnauthorized {
			continue
		}
		refused[e.path]++
		t.Run("7235-2.2-01 7235-3.1-01 7235-4.1-01 7617-2-01 7617-2.1-01 "+e.String(), func(t *testing.T) {
			for scheme := range fitting(t, e) {
				schemes[scheme] = true
			}
		})
	}
	t.Run("7235-3.1-01 every endpoint refused somebody, and both schemes were asked for", func(t *testing.T) {
		if paths := slices.Sorted(maps.Keys(refused)); !slices.Equal(paths, []string{"/introspect", "/revoke", "/token", "/users/me"}) || len(schemes) != 2 {
			t.Errorf("%v, %v", refused, schemes)
		}
	})
	t.Run("7235-3.1-01 nothing but a refusal has a challenge", func(t *testing.T) {
		for _, e := range all {
			if e.header["Www-Authenticate"] != nil && e.status != http.StatusUnauthorized && e.path != "/users/me" { // RFC 6750 section 3 has it on 400 and 403 too
				t.Errorf("%v: %q", e, e.header["Www-Authenticate"])
			}
		}
	})
	t.Run("7235-4.2-01 no cache may keep an answer to who sent credentials", func(t *testing.T) {
		for _, e := range all {
			if got := e.header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("%v: Cache-Control is %q", e, got)
			}
		}
	})
}

// fitting checks the challenges of a 401: they must name the scheme that the
// path takes, and a realm. It returns their schemes.
func fitting(t *testing.T, e exchange) map[string]bool {
	t.Helper()
	schemes := map[string]bool{}
	for _, text := range e.header["Www-Authenticate"] {
		found, err := parseChallenges(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		for _, c := range found {
			schemes[c.scheme] = true
			if c.parameters["realm"] == "" || !strings.Contains(text, `realm="`) {
				t.Errorf("%q: want a realm as a quoted-string", text)
			}
			if charset, given := c.parameters["charset"]; given && !strings.EqualFold(charset, "UTF-8") {
				t.Errorf("%q: charset %q", text, charset)
			}
		}
	}
	want := "Basic"
	if e.path == "/users/me" || e.path == "/introspect" && strings.HasPrefix(strings.ToLower(e.authorization), "bearer") {
		want = "Bearer"
	}
	if len(schemes) != 1 || !schemes[want] {
		t.Errorf("challenges %q, want %s", e.header["Www-Authenticate"], want)
	}
	return schemes
}

// RFC 9700 section 2.1: no request chooses where a client is redirected to. The
// server doesn't redirect at all; net/http's mux would, from //token to /token
// for example.
func TestNobodyIsSentElsewhere(t *testing.T) {
	g := startDev(t, "--memory")
	var targets []string
	for _, path := range allPaths {
		for _, to := range []string{"https://evil.test", "//evil.test", `/\evil.test`, "javascript:alert(1)"} {
			query := url.Values{}
			for _, name := range []string{"next", "url", "return_to", "continue", "redirect", "redirect_uri", "post_logout_redirect_uri", "target"} {
				query.Set(name, to)
			}
			targets = append(targets, path+"?"+query.Encode())
		}
	}
	targets = append(targets, "//evil.test", "//evil.test/token", "/%2fevil.test", "/.//evil.test", "/token/..//evil.test", "//token", "/./token", "/token/",
		`/%5cevil.test`, "/token%0d%0aLocation:%20https://evil.test", "/login?next=//evil.test", "/logout?post_logout=//evil.test", "/authorize?redirect_uri=//evil.test")
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead} {
		t.Run("9700-2.1-02 by "+method, func(t *testing.T) {
			for _, target := range targets {
				e := ask(t, g.URL, exchange{method: method, path: target, authorization: "none"}, "next=//evil.test&username=alice&password=secret123")
				if e.status >= 300 && e.status < 400 || e.header["Location"] != nil || e.header["Refresh"] != nil {
					t.Errorf("%v, headers %v", e, e.header)
				}
			}
		})
	}
}
