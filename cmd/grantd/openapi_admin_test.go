package main

import (
	"cmp"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// adminTalk is a dialogue in which an admin asks.
type adminTalk struct {
	*deployment
	token, user string // the access tokens of an admin, and of a user
	dead        string // a token whose grant has ended
}

func (s *deployment) talkOfAdmin() {
	a := adminTalk{deployment: s}
	a.token, _ = s.tokens("root", adminPassword, "admin")
	a.user, _ = s.tokens("alice", userPassword, "read")
	a.dead, _ = s.tokens("alice", userPassword, "read")
	s.ask(question{operation: "revoke", header: []string{asWeb}, form: url.Values{"token": {a.dead}}, want: 200})
	for _, o := range s.operations() {
		if strings.HasPrefix(o.Tags[0], "Admin: ") {
			a.bounds(o)
		}
	}
	a.users()
	a.clients()
	a.keys()
	a.audit()
	a.grants()
	a.inspection()
	a.revocations()
	a.guesses()
}

// whatThereIs replaces the parameters in the path of an operation by things
// that exist, where it doesn't matter which.
var whatThereIs = strings.NewReplacer("{username}", "alice", "{client_id}", "other", "keys/{id}", "keys/1",
	"grants/{id}", "grants/AAAAAAAAAAAAAAAAAAAAAA", "revocations/{id}", "revocations/rev_00000000000000000000000000")

// ask asks as the admin. The body may be empty.
func (a adminTalk) ask(operation, target, body string, want int, header ...string) *httptest.ResponseRecorder {
	a.t.Helper()
	return a.deployment.ask(question{operation: operation, target: target, json: body, header: append(header, bearer(a.token)), want: want})
}

// subtle asks a question that is refused for a reason that the document gives
// in words only.
func (a adminTalk) subtle(operation, target, body string) {
	a.t.Helper()
	a.deployment.ask(question{operation: operation, target: target, json: body, header: []string{bearer(a.token)}, subtle: true, want: 400})
}

// bounds checks what every operation of the admin API answers to callers
// without the right, to malformed requests, and when the store is down.
func (a adminTalk) bounds(o operation) {
	a.t.Helper()
	id, target := o.OperationID, whatThereIs.Replace(o.path)
	header := []string{bearer(a.token)}
	body := cmp.Or(map[string]string{"inspectToken": `{"token":"` + a.dead + `"}`}[id], exampleBody(a.t, o))
	good := question{operation: id, target: target, header: header, json: body}
	by := func(d *dialogue, want int, change func(*question)) {
		a.t.Helper()
		q := good
		q.want = want
		change(&q)
		d.ask(q)
	}
	same := func(*question) {}
	by(a.dialogue, 401, func(q *question) { q.header = nil })
	by(a.dialogue, 401, func(q *question) { q.header = []string{bearer("x")} })
	by(a.dialogue, 403, func(q *question) { q.header = []string{bearer(a.user)} })
	by(a.dialogue, 400, func(q *question) { q.header, q.subtle = []string{bearer(a.token), bearer(a.user)}, true })
	by(a.dialogue, 400, func(q *question) { q.target, q.subtle = q.target+"?nonsense=1", true })
	by(a.shut, 503, same)
	by(a.down, 503, same)
	by(a.torn, 500, same)
	by(a.dialogue, 413, func(q *question) { q.json = strings.Repeat(" ", maxBody+1) })
	if o.RequestBody == nil {
		return
	}
	by(a.odd, 500, same)
	by(a.dialogue, 413, func(q *question) { q.json, q.chunked = strings.Repeat(" ", maxBody+1), true })
	by(a.dialogue, 415, func(q *question) { q.header = []string{bearer(a.token), "Content-Type: text/plain"} })
	by(a.dialogue, 400, func(q *question) { q.json = `{` })
	by(a.dialogue, 400, func(q *question) { q.json = `{"nonsense":1}` })
}

// exampleBody is the body that the document has as an example; "" without one.
func exampleBody(t *testing.T, o operation) string {
	t.Helper()
	if o.RequestBody == nil {
		return ""
	}
	m := o.RequestBody.Value.Content["application/json"]
	example := m.Example
	if example == nil {
		example = m.Examples["user"].Value.Value
	}
	text, err := json.Marshal(example)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (a adminTalk) users() {
	a.t.Helper()
	const users = "/admin/v1/users"
	bob := users + "/bob%40example.com"
	tag := a.ask("createUser", "", `{"username":"Bob@example.com","password":"correct horse battery","admin":false,"disabled":false}`, 201).Header().Get("ETag")
	a.ask("createUser", "", `{"username":"BOB@EXAMPLE.COM"}`, 409)
	a.subtle("createUser", "", `{"username":"b","password":"password"}`)
	a.ask("listUsers", "", "", 200)
	next := a.list("listUsers", users+"?limit=1&prefix=a&admin=false&disabled=false", "users")
	if next != "" {
		a.t.Errorf("alice is the only one, and next is %s", next)
	}
	next = a.list("listUsers", users+"?limit=2", "users")
	a.list("listUsers", users+"?limit=2&cursor="+next, "users")
	a.ask("listUsers", users+"?limit=0", "", 400)
	a.ask("getUser", bob, "", 200)
	a.same("getUser", bob)
	a.ask("getUser", bob, "", 304, "If-None-Match: "+tag)
	a.ask("getUser", bob, "", 412, `If-Match: "x"`)
	a.ask("getUser", users+"/nobody", "", 404)
	a.ask("updateUser", bob, `{"admin":true}`, 200, "If-Match: "+tag)
	a.ask("updateUser", bob, `{"admin":false}`, 412, "If-Match: "+tag)
	a.ask("updateUser", bob, `{}`, 200)
	a.ask("updateUser", users+"/nobody", `{"disabled":true}`, 404)
	a.ask("updateUser", bob, `{"admin":false}`, 200)
	a.ask("updateUser", users+"/root", `{"disabled":true}`, 409)
	a.ask("setPassword", bob+"/password", `{"password":"staple of the horse"}`, 204)
	a.ask("setPassword", bob+"/password", `{"password":"short"}`, 400)
	a.ask("setPassword", bob+"/password", `{"password":"staple of the horse"}`, 412, `If-Match: "x"`)
	a.ask("setPassword", users+"/nobody/password", `{"password":"staple of the horse"}`, 404)
	a.ask("deleteUser", bob, "", 412, `If-Match: "x"`)
	a.ask("deleteUser", users+"/root", "", 409)
	a.late("updateUser", bob, `{"disabled":true}`)
	a.late("setPassword", bob+"/password", `{"password":"correct horse battery"}`)
	a.late("deleteUser", bob, "")
	a.ask("deleteUser", bob, "", 204)
	a.ask("deleteUser", bob, "", 204)
}

// late asks a process where another writer is always faster.
func (a adminTalk) late(operation, target, body string) {
	a.t.Helper()
	a.contended.ask(question{operation: operation, target: target, json: body, header: []string{bearer(a.token)}, want: 409})
}

// list asks for a page and returns the cursor of the next one. There has to be
// a cursor when the page is full and there is more.
func (a adminTalk) list(operation, target, name string) string {
	a.t.Helper()
	w := a.ask(operation, target, "", 200)
	var page map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
		a.t.Fatal(err)
	}
	if _, isList := page[name].([]any); !isList {
		a.t.Errorf("%s: %s", target, w.Body)
	}
	next, _ := page["next"].(string)
	return next
}

func (a adminTalk) same(operation, target string) {
	a.t.Helper()
	get := a.ask(operation, target, "", 200)
	head := a.send("HEAD", a.operation(operation).path, question{target: target, header: []string{bearer(a.token)}, want: 200})
	for _, name := range []string{"Content-Type", "Content-Length", "ETag", "Cache-Control"} {
		if g, h := get.Header().Get(name), head.Header().Get(name); g != h {
			a.t.Errorf("HEAD %s: %s is %q, by GET %q", target, name, h, g)
		}
	}
}

func (a adminTalk) clients() {
	a.t.Helper()
	const clients = "/admin/v1/clients"
	shop := clients + "/shop"
	full := `{"client_id":"shop","public":false,"grant_types":["password","refresh_token","client_credentials"],"scopes":["read","write"],
		"redirect_uris":["https://shop.example/callback"],"audiences":["https://api.example"],"origins":["https://shop.example"],
		"introspect":true,"access_lifetime":600,"client_secret":"` + secret32 + `"}`
	tag := a.ask("createClient", "", full, 201).Header().Get("ETag")
	a.ask("createClient", "", full, 409)
	a.ask("createClient", "", `{"client_id":"alice","grant_types":["client_credentials"]}`, 409)
	a.ask("createClient", "", `{"client_id":"made","grant_types":["client_credentials"]}`, 201)
	a.ask("createClient", "", `{"client_id":"device","public":true,"grant_types":["refresh_token"]}`, 201)
	a.ask("createClient", "", `{"client_id":"usr_x","origins":["https://shop.example/"],"access_lifetime":-1}`, 400)
	a.list("listClients", clients+"?cursor="+a.list("listClients", clients+"?limit=2", "clients"), "clients")
	a.subtle("listClients", clients+"?cursor=x", "")
	a.ask("getClient", shop, "", 200)
	a.same("getClient", shop)
	a.ask("getClient", shop, "", 304, "If-None-Match: "+tag)
	a.ask("getClient", shop, "", 412, `If-Match: "x"`)
	a.ask("deleteClient", shop, "", 412, "If-None-Match: *")
	a.ask("getClient", clients+"/nobody", "", 404)
	a.ask("updateClient", shop, `{"scopes":["read"],"access_lifetime":0}`, 200, "If-Match: "+tag)
	a.ask("updateClient", shop, `{}`, 412, "If-Match: "+tag)
	a.subtle("updateClient", shop, `{"scopes":["nonsense"]}`)
	a.ask("updateClient", clients+"/nobody", `{}`, 404)
	a.ask("rotateSecret", shop+"/secret", `{"overlap":3600}`, 200)
	a.ask("getClient", shop, "", 200) // has the time until which the old secret is good
	a.ask("rotateSecret", shop+"/secret", `{"overlap":3600}`, 409)
	a.ask("rotateSecret", shop+"/secret", "", 200)
	a.ask("rotateSecret", shop+"/secret", `{"client_secret":"`+secret32+`"}`, 200)
	a.ask("rotateSecret", shop+"/secret", `{"overlap":604801}`, 400)
	a.ask("rotateSecret", shop+"/secret", `{}`, 412, `If-Match: "x"`)
	a.ask("rotateSecret", clients+"/device/secret", "", 409)
	a.ask("rotateSecret", clients+"/nobody/secret", "", 404)
	a.late("updateClient", shop, `{"introspect":false}`)
	a.late("rotateSecret", shop+"/secret", `{}`)
	a.late("deleteClient", shop, "")
	a.ask("deleteClient", shop, "", 412, `If-Match: "x"`)
	for _, id := range []string{"shop", "made", "device", "device"} {
		a.ask("deleteClient", clients+"/"+id, "", 204)
	}
}

func (a adminTalk) keys() {
	a.t.Helper()
	const keys = "/admin/v1/keys"
	a.ask("listKeys", "", "", 200)
	a.same("listKeys", keys)
	a.ask("rotateKey", "", `{}`, 201)
	a.ask("rotateKey", "", "", 409) // another new key waits already
	a.ask("deleteKey", keys+"/1", "", 409)
	a.ask("deleteKey", keys+"/200", "", 412, "If-Match: *")
	a.ask("deleteKey", keys+"/200", "", 204)
}

func (a adminTalk) audit() {
	a.t.Helper()
	const audit = "/admin/v1/audit"
	w := a.ask("listAudit", audit+"?limit=2&action=client&client=shop&user=root", "", 200)
	var page struct{ Next, Previous string }
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || page.Previous == "" {
		a.t.Fatalf("%s, %v: there was more", w.Body, err)
	}
	a.ask("listAudit", audit+"?before="+page.Previous, "", 200)
	a.ask("listAudit", audit+"?wait=1&limit=1&after="+page.Next, "", 200)
	a.ask("listAudit", audit+"?wait=26&after="+page.Next, "", 400)
	a.subtle("listAudit", audit+"?after=x", "")
	a.same("listAudit", audit)
}

func (a adminTalk) grants() {
	a.t.Helper()
	const grants = "/admin/v1/grants"
	w := a.ask("listGrants", grants+"?user=alice&client=web&address=192.0.2.0%2F24&issued_before=2100-01-01T00:00:00Z&issued_after=2026-01-01T00:00:00%2B01:00&limit=1000", "", 200)
	var page struct{ Grants []struct{ ID string } }
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page.Grants) < 2 {
		a.t.Fatalf("alice's grants: %s, %v", w.Body, err)
	}
	a.list("listGrants", grants+"?cursor="+a.list("listGrants", grants+"?limit=1", "grants"), "grants")
	a.ask("listGrants", grants+"?user=nobody", "", 404)
	a.subtle("listGrants", grants+"?address=somewhere", "")
	a.ask("listGrants", grants+"?issued_before=yesterday", "", 400)
	one := grants + "/" + page.Grants[0].ID
	a.ask("getGrant", one, "", 200)
	a.same("getGrant", one)
	a.ask("endGrant", one, "", 412, `If-Match: "x"`)
	a.ask("endGrant", one, "", 204, "If-Match: *")
	a.ask("endGrant", one, "", 204)
	a.ask("getGrant", one, "", 404)
	a.ask("getGrant", grants+"/x", "", 404)
}

func (a adminTalk) inspection() {
	a.t.Helper()
	access, refresh := a.tokens("alice", userPassword, "read")
	for text, want := range map[string]string{access: `"kind":"access","active":true`, refresh: `"kind":"refresh"`, a.dead: `"active":false`, "x": `"kind":"unknown"`} {
		if w := a.ask("inspectToken", "", `{"token":"`+text+`"}`, 200); !strings.Contains(w.Body.String(), want) {
			a.t.Errorf("%s, want %s", w.Body, want)
		}
	}
}

func (a adminTalk) revocations() {
	a.t.Helper()
	const revocations = "/admin/v1/revocations"
	access, _ := a.tokens("alice", userPassword, "read")
	a.ask("revokeGrants", "", `{"token":"`+access+`"}`, 200)
	a.subtle("revokeGrants", "", `{"token":"x"}`)
	a.ask("revokeGrants", "", `{"grant":"AAAAAAAAAAAAAAAAAAAAAA"}`, 200)
	for _, body := range []string{`{"user":"alice","all":true}`, `{"all":false}`, `{"grant":"AAAAAAAAAAAAAAAAAAAAAA","issued_before":"2026-01-01T00:00:00Z"}`} {
		a.ask("revokeGrants", "", body, 400)
	}
	a.ask("revokeGrants", "", `{"user":"nobody"}`, 404)
	for _, body := range []string{`{"client":"other"}`, `{"user":"alice"}`, `{"all":true,"issued_before":"2026-01-01T00:00:00+01:00"}`} {
		w := a.ask("revokeGrants", "", body, 0)
		a.ask("getRevocation", w.Header().Get("Location")+"?verify=true", "", 200)
	}
	a.slow.ask(question{operation: "revokeGrants", json: `{"client":"web","issued_before":"2026-01-01T00:00:00Z"}`, header: []string{bearer(a.token)}, want: 202})
	a.list("listRevocations", revocations+"?cursor="+a.list("listRevocations", revocations+"?limit=1", "revocations"), "revocations")
	a.ask("getRevocation", revocations+"/rev_00000000000000000000000000", "", 404)
}

// guesses is about the throttle.
func (a adminTalk) guesses() {
	a.t.Helper()
	alice := "/admin/v1/users/alice/throttle"
	a.guess(429, question{operation: "token", header: []string{asWeb}, from: "192.0.2.77"}, func(q *question, password string) {
		q.form = passwordForm("alice", password, "")
	})
	a.ask("getThrottle", alice, "", 200)
	a.same("getThrottle", alice)
	a.ask("liftThrottle", alice, "", 412, `If-Match: "x"`)
	a.ask("liftThrottle", alice, "", 204)
	a.ask("getThrottle", "/admin/v1/users/nobody/throttle", "", 404)
	a.ask("liftThrottle", "/admin/v1/users/nobody/throttle", "", 404)
}

// TestOpenAPIRoutes compares the document with the table of the admin API: methods,
// patterns and parameters, both ways.
func TestOpenAPIRoutes(t *testing.T) {
	p := openSite(t, siteConfig(func(*config) {}))
	document := openAPIOf(t, everything(t, p), openAPIPath)
	routed := map[string]bool{}
	for _, route := range p.admin.Routes() {
		routed[route.Method+" "+route.Pattern] = true
		item := document.Paths.Value(route.Pattern)
		if item == nil || item.GetOperation(route.Method) == nil {
			t.Errorf("the document hasn't %s %s", route.Method, route.Pattern)
			continue
		}
		var query []string
		for _, parameter := range slices.Concat(item.GetOperation(route.Method).Parameters, item.Parameters) {
			if parameter.Value.In == "query" {
				query = append(query, parameter.Value.Name)
			}
		}
		if !slices.Equal(slices.Sorted(slices.Values(query)), slices.Sorted(slices.Values(route.Query))) {
			t.Errorf("%s %s takes %v, in the document %v", route.Method, route.Pattern, route.Query, query)
		}
	}
	for path, item := range document.Paths.Map() {
		for method, o := range item.Operations() {
			if strings.HasPrefix(o.Tags[0], "Admin: ") && !routed[method+" "+path] {
				t.Errorf("%s %s is no route", method, path)
			}
		}
	}
}
