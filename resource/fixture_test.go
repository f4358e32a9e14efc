package resource_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// signIn is when every token of the tests is issued; access tokens live an hour.
var signIn = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const accessLifetime = time.Hour

// api is a protected API in front of a store in memory: /users/me, /read and
// /write, which need the scope of their name, and /form, which echoes its body.
type api struct {
	*httptest.Server
	keys    *opaque.Keyring
	store   storage.Store
	lookups atomic.Int64
	fault   atomic.Pointer[error] // the error of look-ups, if set
	clock   atomic.Pointer[time.Time]

	mu    sync.Mutex
	noted []error
}

// newAPI starts the API; change may alter the configuration of its guard.
func newAPI(t testing.TB, change ...func(*resource.Config)) *api {
	t.Helper()
	keys, err := opaque.NewKeyring(opaque.NewKey(1))
	if err != nil {
		t.Fatal(err)
	}
	a := &api{keys: keys}
	a.at(signIn)
	a.store = newStore(t, a.now)
	c := resource.Config{
		Validator: resource.NewStoreValidator(keys, countedLoads{a}, resource.WithClock(a.now)),
		Realm:     "orders",
		Note:      a.note,
	}
	for _, f := range change {
		f(&c)
	}
	guard, err := resource.New(c)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	if path := guard.MetadataPath(); path != "" {
		mux.Handle(path, guard.Metadata())
	}
	mux.Handle("/users/me", guard.UsersMe())
	mux.Handle("/read", guard.Require("read")(http.HandlerFunc(hello)))
	mux.Handle("/write", guard.Require("write")(http.HandlerFunc(hello)))
	mux.Handle("/form", guard.Require()(http.HandlerFunc(echoForm)))
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

func formBody(c *resource.Config) { c.FormBody = true }

func hello(w http.ResponseWriter, r *http.Request) {
	id, _ := resource.IdentityFrom(r.Context())
	io.WriteString(w, "hello "+id.Username)
}

func echoForm(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, "note="+r.PostFormValue("note"))
}

func (a *api) at(now time.Time) { a.clock.Store(&now) }
func (a *api) now() time.Time   { return *a.clock.Load() }

func (a *api) note(_ context.Context, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.noted = append(a.noted, err)
}

func (a *api) notes() []error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.noted
}

// countedLoads counts the look-ups in the store of the API.
type countedLoads struct{ *api }

func (c countedLoads) LoadGrant(ctx context.Context, id storage.GrantID) (storage.Grant, error) {
	c.lookups.Add(1)
	if fault := c.fault.Load(); fault != nil {
		return storage.Grant{}, *fault
	}
	return c.store.LoadGrant(ctx, id)
}

// grant makes a grant of alice with the scope read and returns its tokens;
// change may alter it before it is kept.
func (a *api) grant(t testing.TB, change ...func(*storage.Grant)) (g storage.Grant, access, refresh string) {
	t.Helper()
	g = storage.Grant{
		ID: storage.NewGrantID("u-alice"), Type: storage.Password,
		UserID: "u-alice", Username: "alice", ClientID: "demo",
		Scope: "read", AccessScope: "read", Generation: 1,
		Created: signIn, Issued: signIn,
		AccessExpiry:  signIn.Add(accessLifetime),
		RefreshExpiry: signIn.Add(24 * time.Hour),
		End:           signIn.Add(90 * 24 * time.Hour),
	}
	for _, f := range change {
		f(&g)
	}
	access, g.Access = a.keys.Mint(opaque.Access, g.ID, g.Generation)
	refresh, g.Refresh = a.keys.Mint(opaque.Refresh, g.ID, g.Generation)
	var err error
	if g.Epoch, err = a.store.Epoch(t.Context(), g.ID); err != nil {
		t.Fatal(err)
	}
	if err := a.store.CreateGrant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	return g, access, refresh
}

// accessToken returns the access token of a new grant.
func (a *api) accessToken(t testing.TB, change ...func(*storage.Grant)) string {
	_, access, _ := a.grant(t, change...)
	return access
}

func scope(s string) func(*storage.Grant) {
	return func(g *storage.Grant) { g.Scope, g.AccessScope = s, s }
}

// answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// get sends GET with these values of the Authorization header.
func (a *api) get(t testing.TB, path string, authorization ...string) answer {
	t.Helper()
	return a.do(t, http.MethodGet, path, http.Header{"Authorization": authorization}, "")
}

// post sends a form with these values of the Authorization header.
func (a *api) post(t testing.TB, path, form string, authorization ...string) answer {
	t.Helper()
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": authorization}
	return a.do(t, http.MethodPost, path, h, form)
}

func (a *api) do(t testing.TB, method, path string, h http.Header, body string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, a.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range h {
		if len(values) > 0 {
			r.Header[name] = values
		}
	}
	resp, err := a.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(got)}
}

func (a answer) want(t testing.TB, status int) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d; challenge %q, body %s", a.status, status, a.header["Www-Authenticate"], a.body)
	}
}

// refused checks a refusal that has an error code: status, challenge and body.
func (a answer) refused(t testing.TB, status int, code string) {
	t.Helper()
	a.want(t, status)
	c := a.challenge(t)
	if c["error"] != code {
		t.Errorf("error=%q in the challenge, want %q", c["error"], code)
	}
	body := a.members(t)
	if body["error"] != code || body["error_description"] != c["error_description"] {
		t.Errorf("body %s says something else than the challenge %q", a.body, a.header["Www-Authenticate"])
	}
}

// unauthenticated checks the answer to a request without credentials.
func (a answer) unauthenticated(t testing.TB) {
	t.Helper()
	a.want(t, http.StatusUnauthorized)
	c := a.challenge(t)
	if len(c) != 1 || c["realm"] == "" {
		t.Errorf("challenge %q, want nothing but a realm", a.header["Www-Authenticate"])
	}
	if strings.Contains(a.body, "error") {
		t.Errorf("body %s holds error information", a.body)
	}
}

func (a answer) members(t testing.TB) map[string]any {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Errorf("body %q: %v", a.body, err)
	}
	return m
}

// challenge returns the attributes, by lower-case name, of the only challenge.
func (a answer) challenge(t testing.TB) map[string]string {
	t.Helper()
	headers := a.header["Www-Authenticate"]
	if len(headers) != 1 {
		t.Errorf("%d WWW-Authenticate headers, want one: %q", len(headers), headers)
		return nil
	}
	scheme, attributes, err := parseChallenge(headers[0])
	if err != nil || !strings.EqualFold(scheme, "Bearer") {
		t.Errorf("challenge %q: scheme %q, %v", headers[0], scheme, err)
	}
	return attributes
}

// parseChallenge reads one challenge of RFC 9110 section 11.6.1, strictly:
//
//	auth-scheme 1*SP auth-param *( OWS "," OWS auth-param )
//
// A name that comes twice is an error (RFC 6750 section 3).
func parseChallenge(s string) (scheme string, attributes map[string]string, err error) {
	scheme, rest, found := strings.Cut(s, " ")
	if !found {
		return scheme, nil, errors.New("no auth-param after the scheme")
	}
	attributes = map[string]string{}
	for {
		name, after, found := strings.Cut(strings.TrimLeft(rest, " "), "=")
		name = strings.ToLower(name)
		if _, twice := attributes[name]; !found || name == "" || twice {
			return scheme, attributes, errors.New("a bad or repeated name: " + name)
		}
		value, after, err := cutQuoted(after)
		if err != nil {
			return scheme, attributes, err
		}
		attributes[name] = value
		rest = strings.TrimLeft(after, " ")
		if rest == "" {
			return scheme, attributes, nil
		}
		if rest[0] != ',' {
			return scheme, attributes, errors.New("no comma between attributes")
		}
		rest = rest[1:]
	}
}

// cutQuoted takes a quoted-string of RFC 9110 section 5.6.4 off the front of s.
func cutQuoted(s string) (value, after string, err error) {
	if s == "" || s[0] != '"' {
		return "", "", errors.New("the value isn't a quoted-string")
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
