package authserver_test

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/opaque"
)

// fixture is a listening server with the clients and users that the
// requirements need, and a clock that the test moves.
type fixture struct {
	url    string
	server *authserver.Server
	store  *faultyStore
	keys   *opaque.Keyring
	events *events

	mu    sync.Mutex
	clock time.Time
}

// option changes the configuration of a fixture's server.
type option func(*authserver.Config)

const (
	webSecret = "s3cret"
	oddID     = "odd id"
	oddSecret = "p%+ :é"

	apiTest   = "https://api.test" // the resource server rs1
	otherTest = "https://other.test"
)

func newFixture(t *testing.T, options ...option) *fixture {
	t.Helper()
	f := &fixture{clock: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), events: &events{}}
	store, err := embedded.Open(embedded.Memory, embedded.WithClock(f.now))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	f.store = &faultyStore{Store: store}
	if f.keys, err = opaque.NewKeyring(opaque.NewKey(1)); err != nil {
		t.Fatal(err)
	}
	c := authserver.Config{
		Issuer:        "https://as.test",
		Store:         f.store,
		Keys:          f.keys,
		Passwords:     newHasher(t, 64, 1),
		Scopes:        []string{"read", "write", "admin"},
		DefaultScopes: []string{"read"},
		Audiences:     []string{apiTest, otherTest},
		RetryWindow:   10 * time.Second,
		Now:           f.now,
		RemoteAddr:    func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.7") },
		Note:          f.events.add,
	}
	for _, o := range options {
		o(&c)
	}
	f.seed(t, c.Passwords)
	s, err := authserver.New(c)
	if err != nil {
		t.Fatal(err)
	}
	f.server = s
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// newHasher returns a hasher that uses that many KiB and passes. Both are small
// to keep the tests quick.
func newHasher(t testing.TB, memory, passes uint32) *passhash.Hasher {
	t.Helper()
	h, err := passhash.New(passhash.Params{Memory: memory, Time: passes, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (f *fixture) seed(t *testing.T, passwords *passhash.Hasher) {
	t.Helper()
	all := []string{"password", "refresh_token", "client_credentials", "authorization_code"}
	for _, c := range []storage.Client{
		{ID: "web", Secret: storage.NewSecretVerifier(webSecret), Grants: all[:2], Scopes: []string{"read", "write"}},
		{ID: "web2", Secret: storage.NewSecretVerifier("s3cret2"), Grants: all[1:2], Scopes: []string{"read", "write"}},
		{ID: "short", Secret: storage.NewSecretVerifier(webSecret), Grants: all[:2], Scopes: []string{"read"}, AccessLifetime: 2 * time.Second},
		{ID: "once", Secret: storage.NewSecretVerifier(webSecret), Grants: all[:1], Scopes: []string{"read"}},
		{ID: "svc", Secret: storage.NewSecretVerifier("s3cret3"), Grants: all[2:3], Scopes: []string{"read", "write"}},
		{ID: "root", Secret: storage.NewSecretVerifier("s3cret4"), Grants: all, Scopes: []string{"read", "write", "admin"}},
		{ID: "spa", Public: true, Grants: all[:2], Scopes: []string{"read"}},
		{ID: "cli", Public: true, Grants: all[:3], Scopes: []string{"read"}},
		{ID: oddID, Secret: storage.NewSecretVerifier(oddSecret), Grants: all[:2], Scopes: []string{"read"}},
		{ID: "colon", Secret: storage.NewSecretVerifier("a:b"), Grants: all[:2], Scopes: []string{"read"}},
		{ID: "percent", Secret: storage.NewSecretVerifier("100%+1"), Grants: all[:2], Scopes: []string{"read"}},
		{ID: "rs1", Secret: storage.NewSecretVerifier("rs1-secret"), Introspect: true, Audiences: []string{apiTest}}, // a resource server
		{ID: "rs2", Secret: storage.NewSecretVerifier("rs2-secret"), Introspect: true, Audiences: []string{otherTest}},
		{ID: "gateway", Secret: storage.NewSecretVerifier("gw-secret"), Introspect: true}, // asks on behalf of all resource servers
		{ID: "bound", Secret: storage.NewSecretVerifier("s3cret5"), Grants: all, Scopes: []string{"read", "write"}, Audiences: []string{"urn:example:a", apiTest}},
		{ID: "secretless", Grants: all, Scopes: []string{"read"}}, // confidential, but without a secret
	} {
		c.Created = f.clock
		if err := f.store.CreateClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for name, password := range map[string]string{
		"alice": "secret123", "bob": "builder456", "admin": "admin-admin", "zoë": "pä€ß word+%", "sample": " %&+£€",
	} {
		f.addUser(t, passwords, name, password)
	}
}

func (f *fixture) addUser(t *testing.T, passwords *passhash.Hasher, name, password string) {
	t.Helper()
	name, err := passhash.Username(name)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := passwords.Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	u := storage.User{ID: "id-of-" + name, Name: name, Password: hash, Admin: name == "admin", Created: f.clock}
	if err := f.store.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clock
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clock = f.clock.Add(d)
}

// faultyStore is a real store that can be made to fail, or to run something
// between two steps of a request.
type faultyStore struct {
	storage.Store
	mu           sync.Mutex
	fault        error
	guesses      error // of the methods that the throttle uses
	beforeCreate func()
	afterClient  func() // runs after LoadClient has found a client
	grantLoads   int
}

func (s *faultyStore) set(change func(*faultyStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// events collects what the server noted of its requests.
type events struct {
	mu   sync.Mutex
	list []authserver.Event
}

// last returns the newest event; there must be one.
func (e *events) last(t *testing.T) authserver.Event {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.list) == 0 {
		t.Fatal("the server noted nothing")
	}
	return e.list[len(e.list)-1]
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
	json   map[string]any
}

func (a answer) text(member string) string { s, _ := a.json[member].(string); return s }

// change edits a request before it is sent.
type change func(*http.Request)

// basic authenticates as golang.org/x/oauth2 does: form-encoded, RFC 6749
// section 2.3.1.
func basic(id, secret string) change {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}

func header(name, value string) change {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

// form makes the values of a form from pairs.
func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v
}

func passwordForm(username, password string, more ...string) url.Values {
	return form(append([]string{"grant_type", "password", "username", username, "password", password}, more...)...)
}

func refreshForm(token string, more ...string) url.Values {
	return form(append([]string{"grant_type", "refresh_token", "refresh_token", token}, more...)...)
}

var asWeb = basic("web", webSecret)

func (f *fixture) post(t *testing.T, body url.Values, changes ...change) answer {
	t.Helper()
	return f.send(t, http.MethodPost, "/token", body.Encode(), changes...)
}

// send makes a request with a urlencoded body unless a change says otherwise.
func (f *fixture) send(t *testing.T, method, path, body string, changes ...change) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range changes {
		c(r)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	a := answer{status: response.StatusCode, header: response.Header}
	if a.body, err = io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	if media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); media == "application/json" && method != http.MethodHead {
		d := json.NewDecoder(bytes.NewReader(a.body))
		d.UseNumber()
		if err := d.Decode(&a.json); err != nil {
			t.Fatalf("body is not a JSON object: %v: %s", err, a.body)
		}
	}
	return a
}

// wantToken fails the test unless the answer is a token response.
func wantToken(t *testing.T, a answer) answer {
	t.Helper()
	if a.status != http.StatusOK || a.text("access_token") == "" || a.text("token_type") == "" {
		t.Fatalf("got %d %s, want 200 with a token", a.status, a.body)
	}
	return a
}

// wantError fails the test unless the answer is that error, with the form that
// RFC 6749 section 5.2 demands of all errors.
func wantError(t *testing.T, a answer, status int, code string) answer {
	t.Helper()
	if a.status != status || a.text("error") != code {
		t.Fatalf("got %d %s, want %d %s", a.status, a.body, status, code)
	}
	if a.json["access_token"] != nil {
		t.Errorf("an error response holds a token: %s", a.body)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q, want no-store", got)
	}
	if challenged := a.header.Get("WWW-Authenticate") != ""; challenged != (status == http.StatusUnauthorized) {
		t.Errorf("WWW-Authenticate on a %d: %v", status, challenged)
	}
	for _, member := range []string{"error", "error_description"} {
		if strings.IndexFunc(a.text(member), func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) >= 0 {
			t.Errorf("%s has characters that RFC 6749 section 5.2 excludes: %q", member, a.text(member))
		}
	}
	return a
}

// valid introspects the access token as the resource server rs1, and reports
// whether it is active.
func (f *fixture) valid(t *testing.T, access string) bool {
	t.Helper()
	a := f.introspect(t, form("token", access), asRS1)
	if a.status != http.StatusOK {
		t.Fatalf("introspection answers %d %s", a.status, a.body)
	}
	return a.json["active"] == true
}

// grants counts the live grants of alice.
func (f *fixture) grants(t *testing.T) int {
	t.Helper()
	list, _, err := f.store.ListGrants(t.Context(), storage.Target{UserID: "id-of-alice"}, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
