package authserver_test

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grantd/grantd/storage"
)

// failure is a request to the token endpoint that must fail, and the error
// expected.
type failure struct {
	send   func() answer
	status int
	code   string
}

// failures returns requests that fail, at least one for every reason that the
// token endpoint has. A name that begins with 5.2 is a reason of that section.
func failures(t *testing.T, f *fixture) map[string]failure {
	t.Helper()
	user, refresh := passwordForm("alice", "secret123"), signIn(t, f).text("refresh_token")
	post := func(body string, changes ...change) func() answer {
		return func() answer { return f.send(t, http.MethodPost, "/token", body, changes...) }
	}
	json := func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }
	const bad, denied = http.StatusBadRequest, http.StatusUnauthorized
	return map[string]failure{
		"5.2 no grant_type":               {post("", asWeb), bad, "invalid_request"},
		"5.2 a repeated parameter":        {post(user.Encode()+"&username=bob", asWeb), bad, "invalid_request"},
		"5.2 no password":                 {post("grant_type=password&username=alice", asWeb), bad, "invalid_request"},
		"5.2 a body that doesn't decode":  {post("%zz", asWeb), bad, "invalid_request"},
		"5.2 two client credentials":      {post(user.Encode()+"&client_secret=x", asWeb), bad, "invalid_request"},
		"5.2 no client":                   {post(user.Encode()), denied, "invalid_client"},
		"5.2 a wrong client secret":       {post(user.Encode(), basic("web", "é\"\\\n")), denied, "invalid_client"},
		"5.2 an unknown scheme":           {post(user.Encode(), header("Authorization", "Digest x")), denied, "invalid_client"},
		"5.2 a wrong password":            {post(passwordForm("alice", "é\"\\\n").Encode(), asWeb), bad, "invalid_grant"},
		"5.2 an unknown user":             {post(passwordForm("é\"\\\n", "x").Encode(), asWeb), bad, "invalid_grant"},
		"5.2 an unknown refresh token":    {post(refreshForm("é\"\\\n").Encode(), asWeb), bad, "invalid_grant"},
		"5.2 another's refresh token":     {post(refreshForm(refresh).Encode(), basic("web2", "s3cret2")), bad, "invalid_grant"},
		"5.2 a grant the client may not":  {post(user.Encode(), basic("svc", "s3cret3")), bad, "unauthorized_client"},
		"5.2 a grant that isn't offered":  {post("grant_type=%C3%A9%22%5C%0A", asWeb), bad, "unsupported_grant_type"},
		"5.2 a malformed scope":           {post(passwordForm("alice", "secret123", "scope", "é\"\\\n").Encode(), asWeb), bad, "invalid_scope"},
		"5.2 an unknown scope":            {post(passwordForm("alice", "secret123", "scope", "nosuch").Encode(), asWeb), bad, "invalid_scope"},
		"5.2 more scope than was granted": {post(refreshForm(refresh, "scope", "admin").Encode(), asWeb), bad, "invalid_scope"},
		"another method":                  {func() answer { return f.send(t, http.MethodGet, "/token", "", asWeb) }, http.StatusMethodNotAllowed, "invalid_request"},
		"another media type":              {post("{}", asWeb, json), http.StatusUnsupportedMediaType, "invalid_request"},
		"a body that is too large":        {post(strings.Repeat("x", 33<<10), asWeb), http.StatusRequestEntityTooLarge, "invalid_request"},
	}
}

// RFC 6749 section 5.2: the codes, the characters and the form of errors.
func TestEveryFailureOfTheTokenEndpoint(t *testing.T) {
	f := newFixture(t)
	codes := []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
	seen := map[string]bool{}
	for name, c := range failures(t, f) {
		a := c.send()
		if reason, listed := strings.CutPrefix(name, "5.2 "); listed && c.code != "invalid_client" {
			t.Run("6749-5.2-01 a 400 for "+reason, func(t *testing.T) { wantError(t, a, http.StatusBadRequest, c.code) })
		}
		t.Run("6749-5.2-14 one code of those that there are for "+name, func(t *testing.T) {
			wantError(t, a, c.status, c.code)
			if !slices.Contains(codes, a.text("error")) {
				t.Errorf("error is %q", a.text("error"))
			}
			seen[a.text("error")] = true
		})
		t.Run("6749-5.2-15 6749-5.2-16 6749-5.2-17 6749-5.2-18 6749-5.2-19 the form of "+name, func(t *testing.T) { wellFormed(t, a) })
	}
	if all := slices.Sorted(maps.Keys(seen)); len(all) != len(codes) {
		t.Errorf("only %q were seen", all)
	}
}

// wellFormed fails the test unless the answer has the form of RFC 6749 section
// 5.2, whatever its status and code are.
func wellFormed(t *testing.T, a answer) {
	t.Helper()
	text, uri := regexp.MustCompile(`^[\x20-\x21\x23-\x5b\x5d-\x7e]+$`), regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]+$`)
	members := map[string]*regexp.Regexp{"error": text, "error_description": text, "error_uri": uri}
	for name, value := range a.json {
		s, isText := value.(string)
		if grammar := members[name]; grammar == nil || !isText || !grammar.MatchString(s) {
			t.Errorf("%s is %v", name, value)
		}
	}
	if a.text("error") == "" {
		t.Errorf("no error in %s", a.body)
	}
	if got := a.header["Content-Type"]; len(got) != 1 || got[0] != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
	if got := a.header["Cache-Control"]; len(got) != 1 || got[0] != "no-store" {
		t.Errorf("Cache-Control is %q", got)
	}
}

// Section 5.2 has no code for a server that can't answer. The two codes used
// here come from section 4.1.2.1; the form is that of all errors.
func TestAnUnavailableTokenEndpoint(t *testing.T) {
	f := newFixture(t)
	for fault, want := range map[error]failure{
		storage.ErrUnavailable: {status: http.StatusServiceUnavailable, code: "temporarily_unavailable"},
		storage.ErrEncoding:    {status: http.StatusInternalServerError, code: "server_error"},
	} {
		t.Run("6749-5.2-18 6749-5.2-19 "+want.code, func(t *testing.T) {
			f.store.set(func(s *faultyStore) { s.fault = fault })
			a := f.post(t, passwordForm("alice", "secret123"), asWeb)
			wantError(t, a, want.status, want.code)
			wellFormed(t, a)
		})
	}
}
