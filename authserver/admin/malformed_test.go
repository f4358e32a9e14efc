package admin_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver/admin"
)

// A malformed body or query is refused as a whole, and the answer names every
// wrong field.

func TestMalformedBody(t *testing.T) {
	f := newFixture(t)
	tests := []struct {
		name, body string
		status     int
		code       string
		fields     []string
	}{
		{"no JSON", `{"username":"x"`, 400, "invalid_request", nil},
		{"trailing data", `{"username":"x"}{}`, 400, "invalid_request", nil},
		{"trailing garbage", `{"username":"x"}x`, 400, "invalid_request", nil},
		{"only white space", ` `, 400, "invalid_request", nil},
		{"a list", `["username"]`, 400, "invalid_request", nil},
		{"a string", `"username"`, 400, "invalid_request", nil},
		{"null", `null`, 400, "invalid_request", nil},
		{"not UTF-8", "{\"username\":\"x\xff\"}", 400, "invalid_request", nil},
		{"half a surrogate pair", `{"username":"x\ud800"}`, 400, "invalid_field", []string{"username"}},
		{"an unknown field", `{"username":"x","user":"y"}`, 400, "invalid_field", []string{"user"}},
		{"a field in other case", `{"Username":"x"}`, 400, "invalid_field", []string{"Username"}},
		{"a field twice", `{"username":"x","username":"x"}`, 400, "invalid_field", []string{"username"}},
		{"a field twice, escaped", `{"username":"x","\u0075sername":"y"}`, 400, "invalid_field", []string{"username"}},
		{"a number for a string", `{"username":1}`, 400, "invalid_field", []string{"username"}},
		{"null for a string", `{"username":null}`, 400, "invalid_field", []string{"username"}},
		{"a string for a claim", `{"username":"x","admin":"true"}`, 400, "invalid_field", []string{"admin"}},
		{"several faults", `{"admin":1,"disabled":[],"x":{}}`, 400, "invalid_field", []string{"admin", "disabled", "x"}},
		{"a field with a name that isn't visible", "{\"a\\n\\u001b\":1}", 400, "invalid_field", []string{"a??"}},
		{"a field with a long name", `{"` + strings.Repeat("é", 100) + `":1}`, 400, "invalid_field", []string{strings.Repeat("é", 32) + "…"}},
		{"too much", `{"username":"` + strings.Repeat("x", 33<<10) + `"}`, 413, "too_large", nil},
		{"too deep", strings.Repeat("[", 16<<10), 400, "invalid_request", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f.send(t, "POST", "/users", test.body).problem(t, test.status, test.code, test.fields...)
		})
	}
	if events := f.events.all(); len(events) > 0 {
		t.Errorf("something was done: %+v", events)
	}
}

// The answer names the right type of a wrong field in the words of JSON.
func TestWrongTypesAreToldInTheWordsOfJSON(t *testing.T) {
	p := newFixture(t).send(t, "POST", "/clients", `{"client_id":1,"public":1,"scopes":1,"access_lifetime":"1"}`).
		problem(t, 400, "invalid_field", "client_id", "public", "scopes", "access_lifetime")
	var got []string
	for _, e := range p.Errors {
		got = append(got, e.Detail)
	}
	if d := cmp.Diff([]string{"has to be a string", "has to be true or false", "has to be a list of strings", "has to be a whole number"}, got); d != "" {
		t.Errorf("details (-want +got):\n%s", d)
	}
}

// The answer to an unknown member names the members that the body may have.
func TestUnknownMembersAreToldTheKnownOnes(t *testing.T) {
	f := newFixture(t)
	for path, want := range map[string]string{
		"/tokens/inspect": "isn't known: the body may have token",
		"/keys":           "isn't known: the body may have no members",
	} {
		p := f.send(t, "POST", path, `{"made_up":1}`).problem(t, 400, "invalid_field", "made_up")
		if p.Errors[0].Detail != want {
			t.Errorf("%s: %q, want %q", path, p.Errors[0].Detail, want)
		}
	}
}

// A body that is too large is refused before it is sent.
func TestExpectContinue(t *testing.T) {
	f := newFixture(t)
	sent := false
	body := readerFunc(func(p []byte) (int, error) {
		sent = true
		return len(p), nil
	})
	r, err := http.NewRequestWithContext(t.Context(), "DELETE", f.url+"/users/alice", body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 1 << 30
	r.Header.Set("Expect", "100-continue")
	res, err := (&http.Transport{ExpectContinueTimeout: time.Minute}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusRequestEntityTooLarge || sent {
		t.Errorf("status %d; sent: %t", res.StatusCode, sent)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestMediaType(t *testing.T) {
	f := newFixture(t)
	for name, headers := range map[string][]string{
		"none":          {"Content-Type: "},
		"a form":        {"Content-Type: application/x-www-form-urlencoded"},
		"plain text":    {"Content-Type: text/plain"},
		"like JSON":     {"Content-Type: application/jsonp"},
		"other charset": {"Content-Type: application/json; charset=latin1"},
		"compressed":    {"Content-Encoding: gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			a := f.send(t, "POST", "/users", `{"username":"x"}`, headers...)
			a.problem(t, 415, "unsupported_media_type")
			if named := a.header.Get("Accept-Patch"); named != "" {
				t.Errorf("a POST is told Accept-Patch %s", named)
			}
		})
	}
	f.send(t, "POST", "/users", `{"username":"x"}`, "Content-Type: Application/JSON; charset=UTF-8").want(t, http.StatusCreated)
}

// RFC 5789 section 2.2.
func TestMediaTypeOfPatch(t *testing.T) {
	f := newFixture(t)
	f.send(t, "POST", "/users", `{"username":"alice"}`).want(t, http.StatusCreated)
	f.send(t, "POST", "/clients", `{"client_id":"web","introspect":true}`).want(t, http.StatusCreated)
	for _, path := range []string{"/users/alice", "/clients/web"} {
		a := f.send(t, "PATCH", path, `{}`, "Content-Type: application/merge-patch+json")
		a.problem(t, 415, "unsupported_media_type")
		if named := a.header.Get("Accept-Patch"); named != "application/json" {
			t.Errorf("%s: Accept-Patch is %q", path, named)
		}
	}
}

func TestMalformedQuery(t *testing.T) {
	f := newFixture(t)
	tests := []struct{ name, query, code, field string }{
		{"an unknown parameter", "user=x", "invalid_field", "user"},
		{"a repeated parameter", "limit=1&limit=1", "invalid_field", "limit"},
		{"an empty parameter", "prefix=", "invalid_field", "prefix"},
		{"an empty id", "id=", "invalid_field", "id"},
		{"a limit of nothing", "limit=0", "invalid_field", "limit"},
		{"a negative limit", "limit=-1", "invalid_field", "limit"},
		{"a limit over 1000", "limit=1001", "invalid_field", "limit"},
		{"an absurd limit", "limit=99999999999999999999", "invalid_field", "limit"},
		{"no number", "limit=ten", "invalid_field", "limit"},
		{"no claim", "admin=1", "invalid_field", "admin"},
		{"no claim either", "disabled=TRUE", "invalid_field", "disabled"},
		{"a cursor of another list", "cursor=" + "Y2xpZW50cwB3ZWI", "invalid_field", "cursor"},
		{"an invented cursor", "cursor=alice", "invalid_field", "cursor"},
		{"a cursor with a line break", "cursor=dXNlcnMAYQ%0A", "invalid_field", "cursor"},
		{"no name's beginning", "prefix=a%20b", "invalid_field", "prefix"},
		{"not UTF-8", "prefix=%ff", "invalid_field", "prefix"},
		{"a broken escape", "prefix=%4", "invalid_request", ""},
		{"a semicolon", "limit=1;admin=true", "invalid_request", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var fields []string
			if test.field != "" {
				fields = []string{test.field}
			}
			f.send(t, "GET", "/users?"+test.query, "").problem(t, 400, test.code, fields...)
		})
	}
	t.Run("a parameter where there are none", func(t *testing.T) {
		f.send(t, "DELETE", "/users/alice?force=true", "").problem(t, 400, "invalid_field", "force")
	})
}

func TestRouting(t *testing.T) {
	f := newFixture(t)
	f.addUser(t, `{"username":"alice"}`)

	f.send(t, "GET", "/nothing", "").problem(t, 404, "not_found")
	f.send(t, "GET", "", "").problem(t, 404, "not_found")
	f.send(t, "GET", "/", "").problem(t, 404, "not_found")
	f.send(t, "GET", "/users/alice/", "").problem(t, 404, "not_found")
	for path, allow := range map[string]string{
		"/users":                "GET, HEAD, POST",
		"/users/alice":          "GET, HEAD, PATCH, DELETE",
		"/users/alice/password": "PUT",
	} {
		a := f.send(t, "OPTIONS", path, "")
		a.problem(t, 405, "method_not_allowed")
		if got := a.header.Get("Allow"); got != allow {
			t.Errorf("%s: Allow is %q, want %q", path, got, allow)
		}
	}
	if a := f.send(t, "HEAD", "/users/alice", "").want(t, 200); a.body != "" || a.header.Get("ETag") == "" {
		t.Errorf("HEAD: %+v", a)
	}

	// The API is also below the issuer's path, and then Location has that path.
	f.url = strings.Replace(f.url, admin.Root, "/tenant"+admin.Root, 1)
	a := f.send(t, "POST", "/users", `{"username":"bob@example.com"}`).want(t, 201)
	if got, want := a.header.Get("Location"), "/tenant/admin/v1/users/"+url.PathEscape("bob@example.com"); got != want {
		t.Errorf("Location is %q, want %q", got, want)
	}
}

// The API answers every route of Routes, and Paths has their patterns.
func TestRoutesAreThePaths(t *testing.T) {
	f := newFixture(t)
	paths := map[string]bool{}
	for _, p := range f.api.Paths() {
		paths[p] = true
	}
	for _, r := range f.api.Routes() {
		for _, base := range []string{"", "/tenant"} {
			if !paths[base+r.Pattern] {
				t.Errorf("Paths lacks %s%s", base, r.Pattern)
			}
		}
		path := strings.NewReplacer(admin.Root, "", "{", "", "}", "").Replace(r.Pattern)
		if a := f.send(t, r.Method, path, ""); a.status == 405 {
			t.Errorf("%s %s is answered 405", r.Method, r.Pattern)
		}
	}
}

// A secret that was sent in place of a name comes back in the answer, but isn't
// logged.
func TestMadeUpNamesAreNotLogged(t *testing.T) {
	const secret = "gat_AkcHQCPZ9Yl7hunter2"
	var notes []string
	var mu sync.Mutex
	f := newFixture(t, func(c *admin.Config) {
		c.Note = func(_ context.Context, err error) {
			mu.Lock()
			defer mu.Unlock()
			notes = append(notes, err.Error())
		}
	})
	f.send(t, "POST", "/users", `{"`+secret+`":1,"admin":"yes"}`).problem(t, 400, "invalid_field", secret, "admin")
	f.send(t, "GET", "/grants?limit=&"+secret, "").problem(t, 400, "invalid_field", secret, "limit")
	mu.Lock()
	defer mu.Unlock()
	want := []string{"invalid_field admin (an unknown name)", "invalid_field limit (an unknown name)"}
	if d := cmp.Diff(want, notes); d != "" {
		t.Errorf("the log is told (-want +got):\n%s", d)
	}
}
