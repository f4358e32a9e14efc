package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// Secrets that occur nowhere else, each a single word, so that a search finds
// it.
const (
	deploymentMark = "DeploymentSecretOf32BytesOrMore0"
	adminMark      = "AdminPasswordMark"
	userMark       = "UserPasswordMark"
	clientMark     = "ClientSecretMarkOf24Bytes"
	redisMark      = "RedisPasswordMark"
	guessMark      = "GuessedSecretMark"
)

// marks are the secrets, and the headers that hold them.
func marks() []string {
	all := []string{deploymentMark, adminMark, userMark, clientMark, redisMark, guessMark}
	for _, credentials := range []string{"web:" + clientMark, "api:" + clientMark, "web:" + guessMark} {
		all = append(all, base64.StdEncoding.EncodeToString([]byte(credentials)))
	}
	return all
}

// talkative is serve and resource at debug level on a Redis with a password,
// and another resource with TLS. printed is the output of all of them, and of
// the commands that ran before.
type talkative struct {
	as, rs, tls *running
	printed     strings.Builder
}

func startTalkative(t *testing.T, redisURL string) *talkative {
	t.Helper()
	d := &talkative{}
	dir := t.TempDir()
	env := slices.Concat([]string{
		"GRANTD_REDIS_URL=" + redisURL, "GRANTD_REDIS_PASSWORD=" + redisMark, "GRANTD_LOG_LEVEL=debug",
	}, serveEnv, cheapHash, []string{"GRANTD_SECRET=" + deploymentMark, "GRANTD_ADMIN_PASSWORD_FILE=" + writeFile(t, "a", adminMark)})
	secretFile := writeFile(t, "c", clientMark)
	for _, args := range [][]string{
		{"init"},
		{"config", "check"},
		{"user", "add", "alice", "--password-file", writeFile(t, "u", userMark)},
		{"user", "passwd", "alice", "--password-file", writeFile(t, "u", userMark)},
		{"user", "list", "--json"},
		{"client", "add", "web", "--grant", "password", "--grant", "refresh_token", "--secret-file", secretFile},
		{"client", "add", "api", "--introspect", "--secret-file", secretFile},
		{"client", "list", "--json"},
	} {
		code, stdout, stderr := launch{args: args, dir: dir, env: env}.run(t)
		if code != 0 {
			t.Fatalf("grantd %q: exit %d\n%s", args, code, stderr)
		}
		d.printed.WriteString(stdout + stderr)
	}
	d.as = launch{args: []string{"serve"}, dir: dir, env: env}.start(t)
	d.rs = launch{args: []string{"resource"}, dir: dir, env: env}.start(t)
	cert, key, _ := certificate(t)
	d.tls = launch{args: []string{"resource"}, dir: dir, env: append(env, "GRANTD_TLS_CERT="+cert, "GRANTD_TLS_KEY="+key)}.start(t)
	return d
}

// stop ends all and returns all that was printed.
func (d *talkative) stop() string {
	for _, g := range []*running{d.as, d.rs, d.tls} {
		g.Stop()
		d.printed.WriteString(g.Stdout() + g.Stderr())
	}
	return d.printed.String()
}

// pester sends malformed requests, with the text in every place that a log
// might quote.
func pester(t *testing.T, base, text string) {
	t.Helper()
	for _, lines := range []string{
		text + "\r\n\r\n",
		"GET /" + text + " HTTP/9.9\r\n\r\n",
		text + " /token HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /token?" + text + " HTTP/1.1\r\nHost: " + text + "\r\n\r\n",
		"GET /token HTTP/1.1\r\nHost: x\r\n" + text + "\r\n\r\n",
		"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: " + text + "\r\n\r\n",
		"POST /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + text + "\r\n\r\n",
		"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/" + text + "\r\nContent-Length: 1\r\n\r\nx",
		"POST /token HTTP/1.1\r\nHost: x\r\nExpect: " + text + "\r\nContent-Length: 1\r\n\r\nx",
		"GET /token HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat(text, 2000) + "\r\n\r\n",
		"\x16\x03\x01" + text + "\r\n\r\n", // as TLS
	} {
		c := dial(t, strings.TrimPrefix(base, "http://"))
		io.WriteString(c, lines)
		io.CopyN(io.Discard, c, 1)
		c.Close()
	}
}

func TestNoSecretIsEverLogged(t *testing.T) {
	server := redistest.Single(t, "--requirepass", redisMark)
	d := startTalkative(t, "redis://"+server.Addr()+"/0")
	form := func(password string) url.Values { return passwordForm("alice", password, "") }
	var tokens []string
	signIn := func(secret, password string) map[string]any {
		_, answer := tokenFor(t, d.as.URL, "web", secret, form(password))
		for _, member := range []string{"access_token", "refresh_token"} {
			if token, issued := answer[member].(string); issued {
				tokens = append(tokens, token)
			}
		}
		return answer
	}
	signIn(clientMark, userMark)
	signIn(clientMark, userMark)
	if len(tokens) != 4 {
		t.Fatal("no tokens were issued")
	}
	signIn(clientMark, guessMark)
	signIn(guessMark, userMark)
	misplaced := form(userMark)
	misplaced.Set("client_id", "web")
	misplaced.Set("client_secret", clientMark)
	misplaced.Set("scope", guessMark)
	misplaced.Set("grant_type", guessMark)
	for _, path := range []string{"/token", "/revoke", "/introspect", "/users/me"} {
		postForm(t, d.as.URL+path+"?"+misplaced.Encode(), "", "", misplaced)
		postForm(t, d.as.URL+path+"?"+misplaced.Encode(), clientMark, guessMark, misplaced)
	}
	pester(t, d.as.URL, guessMark)
	pester(t, d.tls.URL, guessMark) // net/http logs handshakes that fail

	// Resource servers mostly see tokens: here a hundred requests, and the store
	// goes away meanwhile.
	for i := range 100 {
		token := tokens[i%len(tokens)]
		target := []string{"/users/me", "/users/me?access_token=" + token, "/" + token, "/introspect?token=" + token}[i/4%4]
		if i == 80 {
			server.Kill()
		}
		for _, base := range []string{d.as.URL, d.rs.URL} {
			everywhere(t, base+target, token)
		}
		if i%10 == 0 {
			for _, path := range []string{"/introspect", "/revoke", "/token"} {
				postForm(t, d.as.URL+path, "api", clientMark, url.Values{"token": {token}, "refresh_token": {token}, "grant_type": {"refresh_token"}})
			}
		}
	}
	pester(t, d.rs.URL, tokens[0])
	printed := d.stop()

	t.Run("the log is there, at debug level", func(t *testing.T) {
		if strings.Count(printed, `"msg":"request"`) < 200 || !strings.Contains(printed, `"level":"DEBUG"`) || !strings.Contains(printed, `"status":503`) {
			t.Errorf("the log:\n%s", printed)
		}
	})
	for _, secret := range marks() {
		t.Run("PW-OWASP-authn-04 nothing printed holds "+secret, func(t *testing.T) { holdsNot(t, printed, secret) })
	}
	for i, token := range tokens {
		t.Run(fmt.Sprint("9700-4.9.3-01 PW-OWASP-authn-04 nothing printed holds token ", i+1), func(t *testing.T) {
			holdsNot(t, printed, token[len("gat_"):])
		})
	}
}

// everywhere requests the address with the token in every place where one could
// be put.
func everywhere(t *testing.T, address, token string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Authorization", "Referer", "User-Agent", "X-Request-Id", "X-Forwarded-For", "Cookie", token} {
		r.Header.Set(name, "Bearer "+token)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
}

// holdsNot fails the test at each line that holds the text.
func holdsNot(t *testing.T, printed, text string) {
	t.Helper()
	for line := range strings.Lines(printed) {
		if strings.Contains(line, text) {
			t.Errorf("printed: %s", line)
		}
	}
}
