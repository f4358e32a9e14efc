package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/storage"
)

// TestOpenAPIAnswers provokes every answer in the document, and compares the
// questions and the answers with it.
func TestOpenAPIAnswers(t *testing.T) {
	p := openSite(t, siteConfig(func(*config) {}))
	seedSite(t, p)
	d := newDialogue(t, everything(t, p), "http://127.0.0.1")
	on := func(store storage.Store) *dialogue { return d.with(everything(t, p.on(store))) }
	s := deployment{
		dialogue: d, process: p, shut: d.with(everything(t, p.unstarted())),
		down: on(outOfOrder(t, p.store)), torn: on(onlyGrants{nil, p.store}), odd: on(oddStore{p.store}), contended: on(contendedStore{p.store}), slow: on(slowStore{p.store}),
	}

	s.talkOfTokens()
	s.talkOfRevocation()
	s.talkOfIntrospection()
	s.talkOfPages()
	s.talkOfDocuments()
	s.talkOfUsersMe()
	s.talkOfHealth()
	s.talkOfPasswords()
	s.talkOfAdmin()
	s.talkByPlainHTTP()
	s.talkNonsense()

	for _, a := range append(d.unsaid(), d.unsaidCodes()...) {
		t.Errorf("nobody answered %s", a)
	}
}

// tokens signs in.
func (d *dialogue) tokens(user, password, scope string) (access, refresh string) {
	d.t.Helper()
	w := d.ask(question{operation: "token", header: []string{asWeb}, form: passwordForm(user, password, scope), want: 200})
	_, pair := members(d.t, w.Body.String())
	return pair["access_token"].(string), pair["refresh_token"].(string)
}

func (s *deployment) talkOfTokens() {
	ask := func(want int, form url.Values, header ...string) {
		s.t.Helper()
		s.ask(question{operation: "token", header: header, form: form, want: want})
	}
	_, refresh := s.tokens("alice", userPassword, "")
	ask(200, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}, asWeb, "Origin: https://app.example")
	ask(200, url.Values{"grant_type": {"client_credentials"}, "scope": {"read write"}}, asWeb)
	ask(200, url.Values{"grant_type": {"client_credentials"}, "client_id": {"web"}, "client_secret": {secret32}, "unknown": {"ignored"}})
	public := passwordForm("ALICE", userPassword, "read")
	public["client_id"], public["resource"] = []string{"app"}, []string{"http://127.0.0.1", "http://127.0.0.1/users/me"}
	ask(200, public)

	for code, form := range map[string]url.Values{
		"invalid_request":        {"grant_type": {"password"}, "username": {"alice"}},
		"invalid_grant":          passwordForm("alice", "wrong", ""),
		"unsupported_grant_type": {"grant_type": {"implicit"}},
		"invalid_scope":          passwordForm("alice", userPassword, "everything"),
		"invalid_target":         {"grant_type": {"client_credentials"}, "resource": {"https://elsewhere.example"}},
	} {
		if w := s.ask(question{operation: "token", header: []string{asWeb}, form: form, want: 400}); !strings.Contains(w.Body.String(), code) {
			s.t.Errorf("want %s, got %s", code, w.Body)
		}
	}
	ask(400, passwordForm("alice", userPassword, ""), authorization("other", secret32))
	ask(401, passwordForm("alice", userPassword, ""), authorization("web", "wrong"))
	s.strangers("token", "web", passwordForm("alice", userPassword, ""))
}

// strangers checks what any endpoint for clients answers to a request that
// isn't a form, that is too large or too frequent, or that comes when the store
// is down.
func (s *deployment) strangers(operation, id string, form url.Values) {
	s.t.Helper()
	from := "192.0.2." + strconv.Itoa(100+len(operation)) // a network for each operation
	header := []string{authorization(id, secret32)}
	s.ask(question{operation: operation, header: header, json: `{}`, want: 415})
	big := url.Values{"token": {strings.Repeat("x", maxBody)}}
	s.ask(question{operation: operation, header: header, form: big, want: 413})
	s.ask(question{operation: operation, header: header, form: big, chunked: true, want: 413})
	s.guess(429, question{operation: operation, form: form, from: from}, func(q *question, password string) {
		q.header = []string{authorization(id, password)}
	})
	s.ask(question{operation: operation, header: header, form: form, from: from, want: 429})
	s.down.ask(question{operation: operation, header: header, form: form, want: 503})
	s.shut.ask(question{operation: operation, header: header, form: form, want: 503})
	s.torn.ask(question{operation: operation, header: header, form: form, want: 500})
}

func (s *deployment) talkOfRevocation() {
	access, refresh := s.tokens("alice", userPassword, "")
	ask := func(want int, form url.Values, header ...string) {
		s.t.Helper()
		s.ask(question{operation: "revoke", header: header, form: form, want: want})
	}
	ask(400, url.Values{"token": {access}}, authorization("other", secret32))
	ask(400, url.Values{}, asWeb, "Content-Type: application/x-www-form-urlencoded")
	ask(401, url.Values{"token": {access}}, authorization("nobody", "x"))
	ask(200, url.Values{"token": {refresh}, "token_type_hint": {"refresh_token"}}, asWeb, "Origin: https://app.example")
	ask(200, url.Values{"token": {access}, "client_id": {"web"}, "client_secret": {secret32}})
	s.strangers("revoke", "web", url.Values{"token": {access}})
}

func (s *deployment) talkOfIntrospection() {
	asAPI := authorization("api", secret32)
	access, refresh := s.tokens("alice", userPassword, "")
	introspector, _ := s.tokens("alice", userPassword, "introspect")
	ask := func(want int, form url.Values, header ...string) string {
		s.t.Helper()
		return s.ask(question{operation: "introspect", header: header, form: form, want: want}).Body.String()
	}
	about := url.Values{"token": {access}}
	for _, header := range []string{asAPI, bearer(introspector)} {
		if got := ask(200, about, header); !strings.Contains(got, `"active":true`) {
			s.t.Errorf("of a good token: %s", got)
		}
	}
	if got := ask(200, url.Values{"token": {refresh}}, asAPI); got != `{"active":false}` {
		s.t.Errorf("of a refresh token: %s", got)
	}
	own := s.ask(question{operation: "token", header: []string{asWeb}, form: url.Values{
		"grant_type": {"client_credentials"}, "resource": {"http://127.0.0.1", "http://127.0.0.1/users/me"},
	}, want: 200})
	_, pair := members(s.t, own.Body.String())
	if got := ask(200, url.Values{"token": {pair["access_token"].(string)}}, asAPI); !strings.Contains(got, `"aud":[`) {
		s.t.Errorf("of a token for two resource servers: %s", got)
	}
	ask(400, url.Values{"token": {""}}, asAPI)
	ask(401, about, authorization("api", "wrong"))
	ask(401, about, bearer("x"))
	ask(401, about, bearer(access))
	ask(403, about, asWeb)
	s.strangers("introspect", "api", about)
}

// talkOfPages asks as pages in browsers do.
func (s *deployment) talkOfPages() {
	for _, operation := range []string{"tokenPreflight", "revokePreflight"} {
		for origin, want := range map[string]int{"https://app.example": 204, "https://evil.example": 405} {
			preflight := question{operation: operation, header: []string{"Origin: " + origin, "Access-Control-Request-Method: POST"}, want: want}
			s.ask(preflight)
			preflight.want = 503
			s.down.ask(preflight)
			preflight.want = 500
			s.torn.ask(preflight)
		}
	}
}

func (s *deployment) talkOfDocuments() {
	for _, operation := range []string{"serverMetadata", "resourceMetadata", "usersMeMetadata", "openAPI"} {
		w := s.ask(question{operation: operation, want: 200})
		s.ask(question{operation: operation, header: []string{"If-None-Match: " + w.Header().Get("ETag")}, want: 304})
		s.ask(question{operation: operation, header: []string{`If-Match: "x"`}, want: 412})
		s.same(operation, w)
		s.ask(question{operation: operation, json: strings.Repeat("x", maxBody+1), want: 413})
	}
}

// same: HEAD is answered as GET, without the body.
func (s *deployment) same(operation string, get *httptest.ResponseRecorder, header ...string) {
	s.t.Helper()
	path := s.operation(operation).path
	head := s.send(http.MethodHead, path, question{header: header, want: get.Code})
	for _, h := range []http.Header{get.Header(), head.Header()} {
		h.Del("X-Request-Id")
	}
	if d := cmp.Diff(get.Header(), head.Header()); d != "" {
		s.t.Errorf("HEAD %s isn't as GET:\n%s", path, d)
	}
}

func (s *deployment) talkOfUsersMe() {
	access, _ := s.tokens("alice", userPassword, "")
	w := s.ask(question{operation: "usersMe", header: []string{bearer(access)}, want: 200})
	s.same("usersMe", w, bearer(access))
	own := s.ask(question{operation: "token", header: []string{asWeb}, form: url.Values{"grant_type": {"client_credentials"}, "resource": {"http://127.0.0.1"}}, want: 200})
	_, pair := members(s.t, own.Body.String())
	s.ask(question{operation: "usersMe", header: []string{bearer(pair["access_token"].(string))}, want: 200})
	s.bearers("usersMe", access)
}

// talkOfPasswords asks as users who change their own password.
func (s *deployment) talkOfPasswords() {
	const operation, newPassword = "changePassword", "staple of the horse"
	signUp(s.t, s.process, "carol", userPassword)
	token, _ := s.tokens("carol", userPassword, "")
	change := func(d *dialogue, want int, older, newer string) {
		s.t.Helper()
		body := `{"old_password":"` + older + `","new_password":"` + newer + `"}`
		d.ask(question{operation: operation, json: body, header: []string{bearer(token)}, want: want})
	}
	s.bearers(operation, token)
	change(s.down, 503, userPassword, newPassword)
	change(s.torn, 500, userPassword, newPassword)
	change(s.odd, 500, userPassword, newPassword)
	change(s.contended, 409, userPassword, newPassword)
	change(s.dialogue, 400, userPassword, "short")
	s.ask(question{operation: operation, json: `{"old_password":"` + userPassword + `","new_password":"` + userPassword + `"}`, header: []string{bearer(token)}, subtle: true, want: 400})
	change(s.dialogue, 403, "wrong", newPassword)
	s.ask(question{operation: operation, json: `{}`, header: []string{bearer(token)}, want: 400})
	s.ask(question{operation: operation, json: `{}`, header: []string{bearer(token), "Content-Type: text/json"}, want: 415})
	s.ask(question{operation: operation, json: strings.Repeat(" ", maxBody+1), chunked: true, header: []string{bearer(token)}, want: 413})
	own := s.ask(question{operation: "token", header: []string{asWeb}, form: url.Values{"grant_type": {"client_credentials"}}, want: 200})
	_, pair := members(s.t, own.Body.String())
	s.ask(question{operation: operation, json: `{"old_password":"x","new_password":"` + newPassword + `"}`, header: []string{bearer(pair["access_token"].(string))}, want: 403})
	s.guess(429, question{operation: operation, header: []string{bearer(token)}, from: "192.0.2.78"}, func(q *question, password string) {
		q.json = `{"old_password":"` + password + `","new_password":"` + newPassword + `"}`
	})
	change(s.dialogue, 204, userPassword, newPassword)
	s.ask(question{operation: "usersMe", header: []string{bearer(token)}, want: 401})
}

// guess tries a new password each time until it gets that status.
func (s *deployment) guess(until int, q question, with func(q *question, password string)) {
	s.t.Helper()
	const enough = 30
	for i := range enough {
		with(&q, "wrong"+strconv.Itoa(i)) // the same password again would count only once
		if s.ask(q).Code == until {
			return
		}
	}
	s.t.Errorf("%s: %d guesses, and no %d", q.operation, enough, until)
}

// bearers checks what any resource answers without a good token, to another
// method, and when it can't judge tokens.
func (s *deployment) bearers(operation, access string) {
	s.t.Helper()
	s.ask(question{operation: operation, want: 401})
	s.ask(question{operation: operation, header: []string{bearer("x")}, want: 401})
	s.ask(question{operation: operation, header: []string{bearer(access), bearer(access)}, subtle: true, want: 400})
	s.ask(question{operation: operation, header: []string{bearer(access)}, json: strings.Repeat("x", maxBody+1), want: 413})
	s.shut.ask(question{operation: operation, header: []string{bearer(access)}, want: 503})
}

func (s *deployment) talkOfHealth() {
	for _, operation := range []string{"live", "ready"} {
		s.same(operation, s.ask(question{operation: operation, want: 200}))
		s.ask(question{operation: operation, json: strings.Repeat("x", maxBody+1), want: 413})
	}
	s.shut.ask(question{operation: "ready", want: 503})
	s.ask(question{operation: "metrics", want: 200})
	s.ask(question{operation: "metrics", json: strings.Repeat("x", maxBody+1), want: 413})
}

// talkByPlainHTTP asks by plain http a process whose issuer is https.
func (s *deployment) talkByPlainHTTP() {
	p := openSite(s.t, siteConfig(func(c *config) { c.Issuer = "https://127.0.0.1" }))
	plain := s.with(everything(s.t, p))
	for _, o := range s.operations() {
		if o.Tags[0] != "Process" {
			plain.send(o.method, o.path, question{want: 403})
		}
	}
}

// talkNonsense asks, with all rights, by every method that a path doesn't have.
func (s *deployment) talkNonsense() {
	access, _ := s.tokens("root", adminPassword, "admin")
	for path, item := range s.document.Paths.Map() {
		var allowed []string
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
			if item.GetOperation(method) != nil || method == "HEAD" && item.Get != nil {
				allowed = append(allowed, method)
			}
		}
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} {
			if slices.Contains(allowed, method) {
				continue
			}
			w := s.send(method, path, question{header: []string{bearer(access)}, want: 405})
			if got := strings.Split(w.Header().Get("Allow"), ", "); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(allowed))) {
				s.t.Errorf("%s %s: Allow is %q, the document has %q", method, path, got, allowed)
			}
		}
	}
	for _, path := range []string{"/", "/nope", "/token/", "/.well-known/"} {
		r := httptest.NewRequest("GET", path, nil)
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		if fmt.Sprint(w.Code, w.Body) != `404 {"error":"not_found","error_description":"There is nothing at this path."}` {
			s.t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
