package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// target is a server under test. Checks speak HTTP to it; the hooks are for
// things that HTTP doesn't show.
type target struct {
	t testing.TB

	token   string // URL of the token endpoint
	revoke  string // URL of the revocation endpoint
	me      string // URL of a resource that any access token may read
	writing string // URL of a resource that takes every method and needs the scope write

	// lookups is how often a user's password has been asked for.
	lookups func() int

	// meet makes the next n refreshes wait for each other after they looked
	// their token up. So the worst case of concurrency happens every time.
	meet func(n int)

	// dump returns all that the store holds, uncompressed.
	dump func() string

	// keys returns the keys of the store with the time until they expire,
	// negative if they never do. On Redis only.
	keys func() map[string]time.Duration
}

// account is a client of the server. All have the scopes read and write.
type account struct{ id, secret string }

var (
	web     = account{"web", "web-secret"}     // password, refresh_token and client_credentials
	mobile  = account{"mobile", "mob-secret"}  // the same
	machine = account{"machine", "mac-secret"} // client_credentials
	odd     = account{"odd id", "a+b/c=%d e"}  // password; both have to be encoded
	encoded = account{"encoded", "a+b/c=%d e"} // client_credentials; the secret has to be
	spa     = account{id: "spa"}               // public: password, refresh_token
	blank   = account{id: "blank"}             // not public, client_credentials; stored without a secret
)

// The only user.
const (
	stockUser     = "alice"
	stockPassword = "secret123"
)

func signInForm(scope string) url.Values { return passwordForm(stockUser, stockPassword, scope) }

func refreshForm(refresh, scope string) url.Values {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}
	if scope != "" {
		form.Set("scope", scope)
	}
	return form
}

// answer is a server's answer.
type answer struct {
	status  int
	header  http.Header
	body    string
	members map[string]any // if the body is a JSON object
}

func (a answer) member(name string) string {
	text, _ := a.members[name].(string)
	return text
}

// challenge is the WWW-Authenticate header.
func (a answer) challenge() string { return a.header.Get("WWW-Authenticate") }

// String is the status with the error code, or with whatever else the answer
// has.
func (a answer) String() string {
	switch {
	case a.member("error") != "":
		return fmt.Sprint(a.status, " ", a.member("error"))
	case a.member("access_token") != "":
		return fmt.Sprint(a.status, " with a token")
	case a.members != nil:
		return fmt.Sprint(a.status, " with JSON")
	}
	return fmt.Sprintf("%d %q", a.status, a.body)
}

// refused returns nil for an error response of that status and code, RFC 6749
// section 5.2.
func (a answer) refused(status int, code string) error {
	if a.status != status || a.member("error") != code || a.member("access_token") != "" {
		return fmt.Errorf("answers %s, want %d %s", a, status, code)
	}
	return nil
}

// ok returns nil for a success.
func (a answer) ok() error {
	if a.status != http.StatusOK {
		return fmt.Errorf("answers %s, want 200", a)
	}
	return nil
}

const formType = "application/x-www-form-urlencoded"

// A server that doesn't answer fails the test rather than hanging it.
var stockClient = &http.Client{Timeout: time.Minute}

// send sends a request; headers are names and values in turn. It may be called
// by many goroutines. If the server can't be reached, the test fails; that is
// no defect.
func (s target) send(method, address, body string, headers ...string) answer {
	r, err := http.NewRequestWithContext(s.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		s.t.Error(err)
		return answer{}
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := stockClient.Do(r)
	if err != nil {
		s.t.Error(err)
		return answer{}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Error(err)
	}
	a := answer{status: response.StatusCode, header: response.Header, body: strings.TrimSpace(string(text))}
	_ = json.Unmarshal(text, &a.members) // stays nil if the body is no object
	return a
}

// basic is the header of RFC 7617. The ids and secrets that it is used with
// need no encoding.
func (c account) basic() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.id+":"+c.secret))
}

// wrong is the client with a wrong secret.
func (c account) wrong() account { return account{c.id, "wrong"} }

// ask posts the form to the token endpoint, as that client.
func (s target) ask(c account, form url.Values) answer {
	return s.send(http.MethodPost, s.token, form.Encode(), "Content-Type", formType, "Authorization", c.basic())
}

// tokenPair is the result of a sign-in or a refresh.
type tokenPair struct{ access, refresh, scope string }

// signIn signs the user in. The test fails if that does.
func (s target) signIn(c account, scope string) tokenPair { return s.must(s.ask(c, signInForm(scope))) }

// refreshed returns the successor of the pair. The test fails if there is none.
func (s target) refreshed(c account, p tokenPair) tokenPair {
	return s.must(s.ask(c, refreshForm(p.refresh, "")))
}

func (s target) must(a answer) tokenPair {
	s.t.Helper()
	p := tokenPair{a.member("access_token"), a.member("refresh_token"), a.member("scope")}
	if err := a.ok(); err != nil || p.access == "" || p.refresh == "" {
		s.t.Fatalf("no tokens: %s", a)
	}
	return p
}

// bearer asks for the resource of the user with that header.
func (s target) bearer(authorization string) answer {
	return s.send(http.MethodGet, s.me, "", "Authorization", authorization)
}

// lives reports whether the access token is good.
func (s target) lives(access string) bool { return s.bearer("Bearer "+access).status == http.StatusOK }

// lookedUp returns how often a password is looked up while f runs.
func (s target) lookedUp(f func()) int {
	before := s.lookups()
	f()
	return s.lookups() - before
}

// meeting makes goroutines wait for each other.
type meeting struct {
	mu      sync.Mutex
	missing int
	all     chan struct{}
}

// arm makes the next n calls of join wait for each other.
func (m *meeting) arm(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.missing, m.all = n, make(chan struct{})
}

// join returns at once unless the meeting is armed.
func (m *meeting) join(ctx context.Context) {
	m.mu.Lock()
	if m.missing == 0 {
		m.mu.Unlock()
		return
	}
	m.missing--
	all := m.all
	if m.missing == 0 {
		close(all)
	}
	m.mu.Unlock()
	select {
	case <-all:
	case <-ctx.Done():
	}
}

// redisHooks look into a Redis server.
func redisHooks(t testing.TB, s target, c *redis.Client) target {
	keys := func() []string {
		keys, err := c.Keys(t.Context(), "*").Result()
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	s.keys = func() map[string]time.Duration {
		lives := map[string]time.Duration{}
		for _, key := range keys() {
			life, err := c.PTTL(t.Context(), key).Result()
			if err != nil {
				t.Fatal(err)
			}
			lives[key] = life
		}
		return lives
	}
	s.dump = func() string {
		var all strings.Builder
		for _, key := range keys() {
			value, err := c.Dump(t.Context(), key).Result()
			if err != nil {
				t.Fatal(err)
			}
			all.WriteString(key + value)
		}
		return all.String()
	}
	return s
}
