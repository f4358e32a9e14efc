package admin_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/storage"
)

const brought = "0123456789abcdef01234567" // 24 characters, the minimum

// addClient makes a client through the API.
func (f *fixture) addClient(t *testing.T, body string) admin.NewClient {
	t.Helper()
	var c admin.NewClient
	f.send(t, "POST", "/clients", body).want(t, http.StatusCreated).into(t, &c)
	return c
}

func (f *fixture) getClient(t *testing.T, id string) admin.Client {
	t.Helper()
	var c admin.Client
	f.send(t, "GET", "/clients/"+url.PathEscape(id), "").want(t, 200).into(t, &c)
	return c
}

// authenticates reports whether the client can use the secret now.
func (f *fixture) authenticates(t *testing.T, id, secret string) bool {
	t.Helper()
	c, err := f.store.LoadClient(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c.VerifySecret(secret, f.now())
}

func TestCreateClient(t *testing.T) {
	f := newFixture(t)
	a := f.send(t, "POST", "/clients", `{"client_id":"web","grant_types":["password","refresh_token"],"scopes":["read","write"],
		"redirect_uris":["https://web.test/cb"],"audiences":["https://api.test"],"origins":["https://web.test"],"introspect":true,"access_lifetime":90}`)
	var made admin.NewClient
	a.want(t, http.StatusCreated).into(t, &made)
	want := admin.NewClient{
		Client: admin.Client{
			ClientID: "web", GrantTypes: []string{"password", "refresh_token"}, Scopes: []string{"read", "write"},
			RedirectURIs: []string{"https://web.test/cb"}, Audiences: []string{"https://api.test"}, Origins: []string{"https://web.test"},
			Introspect: true, AccessLifetime: 90, Created: f.now(),
		},
		Secret: made.Secret,
	}
	if d := cmp.Diff(want, made); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := a.header.Get("Location"); got != "/tenant/admin/v1/clients/web" {
		t.Errorf("Location is %q", got)
	}
	t.Run("6749-10.10-01 6749-A-01 a secret of 256 bits is made", func(t *testing.T) {
		other := f.addClient(t, `{"client_id":"web2","grant_types":["password"]}`)
		if len(made.Secret) != 43 || len(other.Secret) != 43 || made.Secret == other.Secret { // 43 times 6 bits
			t.Errorf("the secrets are %q and %q", made.Secret, other.Secret)
		}
		if !f.authenticates(t, "web", made.Secret) || f.authenticates(t, "web", other.Secret) {
			t.Error("the secret isn't the client's")
		}
	})
	t.Run("the secret is told once", func(t *testing.T) {
		read := f.send(t, "GET", "/clients/web", "").want(t, 200)
		if d := cmp.Diff(want.Client, f.getClient(t, "web")); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		list := f.send(t, "GET", "/clients", "").want(t, 200)
		for _, text := range []string{read.body, list.body} {
			if strings.Contains(text, made.Secret) || strings.Contains(text, "hash") || strings.Contains(text, "salt") {
				t.Errorf("told again: %s", text)
			}
		}
		if read.header.Get("ETag") != a.header.Get("ETag") || read.header.Get("ETag") == "" {
			t.Errorf("ETag is %s, was %s", read.header.Get("ETag"), a.header.Get("ETag"))
		}
	})
	t.Run("a secret that is brought isn't told at all", func(t *testing.T) {
		a := f.send(t, "POST", "/clients", `{"client_id":"batch","grant_types":["client_credentials"],"client_secret":"`+brought+`"}`).want(t, 201)
		if strings.Contains(a.body, brought) || !f.authenticates(t, "batch", brought) {
			t.Errorf("the answer is %s", a.body)
		}
	})
	t.Run("6749-10.1-01 a public client has none", func(t *testing.T) {
		c := f.addClient(t, `{"client_id":"spa","public":true,"grant_types":["refresh_token"],"redirect_uris":["http://127.0.0.1/cb","http://[::1]:9/cb","com.example.app:/cb"]}`)
		if c.Secret != "" || !c.Public {
			t.Errorf("made %+v", c)
		}
	})
	t.Run("without scopes it has the default ones, if it has a grant type", func(t *testing.T) {
		for body, want := range map[string][]string{
			`{"client_id":"d1","grant_types":["password"]}`:             {"read"},
			`{"client_id":"d2","grant_types":["password"],"scopes":[]}`: {},
			`{"client_id":"d3","introspect":true}`:                      {},
		} {
			if d := cmp.Diff(want, f.addClient(t, body).Scopes); d != "" {
				t.Errorf("%s (-want +got):\n%s", body, d)
			}
		}
	})
}

// The answer names the fields that are wrong.
func TestCreateClientRefused(t *testing.T) {
	f := newFixture(t)
	f.addUser(t, `{"username":"alice"}`)
	f.addClient(t, `{"client_id":"taken","grant_types":["password"]}`)
	events := len(f.events.all())
	with := func(more string) string { return `{"client_id":"web","grant_types":["password"]` + more + `}` }
	uris := func(s string) string { return with(`,"redirect_uris":["https://a.test/cb",` + s + `]`) }
	tests := []struct {
		name, body string
		status     int
		code       string
		fields     []string
	}{
		{"no id", `{"grant_types":["password"]}`, 400, "invalid_field", []string{"client_id"}},
		{"6749-A-01 a client_id that is not ASCII", `{"client_id":"clé","introspect":true}`, 400, "invalid_field", []string{"client_id"}},
		{"6749-A-01 a client_id with a line break", `{"client_id":"a\nb","introspect":true}`, 400, "invalid_field", []string{"client_id"}},
		{"an id of 129 characters", `{"client_id":"` + strings.Repeat("x", 129) + `","introspect":true}`, 400, "invalid_field", []string{"client_id"}},
		{"an id like that of a user", `{"client_id":"usr_1","introspect":true}`, 400, "invalid_field", []string{"client_id"}},
		{"an id that no path can name", `{"client_id":"..","introspect":true}`, 400, "invalid_field", []string{"client_id"}},
		{"a colon in the id", `{"client_id":"a:b","introspect":true}`, 400, "invalid_field", []string{"client_id"}},
		{"the name of a user", `{"client_id":"Alice","introspect":true}`, 409, "conflict", []string{"client_id"}},
		{"an id that is taken", `{"client_id":"taken","introspect":true}`, 409, "already_exists", []string{"client_id"}},
		{"of no use", `{"client_id":"web"}`, 400, "invalid_field", []string{"grant_types"}},
		{"an unknown scope", with(`,"scopes":["nosuch"]`), 400, "invalid_field", []string{"scopes[0]"}},
		{"several faults", `{"client_id":"web","grant_types":["password","implicit","authorization_code"],"scopes":["read","nosuch"],"access_lifetime":-1}`, 400, "invalid_field", []string{"grant_types[1]", "grant_types[2]", "scopes[1]", "access_lifetime"}},
		{"a scope twice", with(`,"scopes":["read","read"]`), 400, "invalid_field", []string{"scopes[1]"}},
		{"null in a list", with(`,"scopes":["read",null]`), 400, "invalid_field", []string{"scopes"}},
		{"a string for a list", with(`,"scopes":"read"`), 400, "invalid_field", []string{"scopes"}},
		{"a number in a list", with(`,"scopes":[1]`), 400, "invalid_field", []string{"scopes"}},
		{"6749-3.1.2-01 a redirection URI of a path", uris(`"/cb"`), 400, "invalid_field", []string{"redirect_uris[1]"}},
		{"6749-3.1.2-01 a relative redirection URI", uris(`"cb"`), 400, "invalid_field", []string{"redirect_uris[1]"}},
		{"6749-3.1.2-01 a redirection URI without scheme", uris(`"//client.test/cb"`), 400, "invalid_field", []string{"redirect_uris[1]"}},
		{"6749-3.1.2-02 a redirection URI with a fragment", uris(`"https://client.test/cb#x"`), 400, "invalid_field", []string{"redirect_uris[1]"}},
		{"6749-3.1.2-02 one with an empty fragment", uris(`"https://client.test/cb#"`), 400, "invalid_field", []string{"redirect_uris[1]"}},
		{"a redirection URI of plain http", uris(`"http://client.test/cb"`), 400, "invalid_field", []string{"redirect_uris[1]"}},
		{"plain http to this machine, for a client that isn't public", uris(`"http://127.0.0.1/cb"`), 400, "invalid_field", []string{"redirect_uris[1]"}},
		{"a redirection URI without host", uris(`"https:///cb"`), 400, "invalid_field", []string{"redirect_uris[1]"}},
		{"a redirection URI that is a script", uris(`"javascript:alert(1)"`), 400, "invalid_field", []string{"redirect_uris[1]"}},
		{"a redirection URI that is data", uris(`"data:text/html,x"`), 400, "invalid_field", []string{"redirect_uris[1]"}},
		{"a redirection URI with a space", uris(`"https://client.test/c b"`), 400, "invalid_field", []string{"redirect_uris[1]"}},
		{"an audience that is relative", with(`,"audiences":["orders"]`), 400, "invalid_field", []string{"audiences[0]"}},
		{"an audience with a fragment", with(`,"audiences":["https://a.test/#x"]`), 400, "invalid_field", []string{"audiences[0]"}},
		{"an origin with a path", with(`,"origins":["https://a.test","https://a.test/"]`), 400, "invalid_field", []string{"origins[1]"}},
		{"a lifetime of 25 hours", with(`,"access_lifetime":90000`), 400, "invalid_field", []string{"access_lifetime"}},
		{"a lifetime beyond all bounds", with(`,"access_lifetime":9223372036854775807`), 400, "invalid_field", []string{"access_lifetime"}},
		{"a lifetime of no number", with(`,"access_lifetime":1.5`), 400, "invalid_field", []string{"access_lifetime"}},
		{"6749-A-01 a client_secret that is not ASCII", with(`,"client_secret":"` + brought + `é"`), 400, "invalid_field", []string{"client_secret"}},
		{"6749-A-01 a client_secret with a line break", with(`,"client_secret":"` + brought + `\n"`), 400, "invalid_field", []string{"client_secret"}},
		{"6749-10.10-01 a client_secret of 23 characters", with(`,"client_secret":"` + brought[1:] + `"`), 400, "invalid_field", []string{"client_secret"}},
		{"6749-10.1-01 a public client with a secret", with(`,"public":true,"client_secret":"` + brought + `"`), 400, "invalid_field", []string{"client_secret"}},
		{"6749-4.4-01 a public client for its own sake", `{"client_id":"web","public":true,"grant_types":["client_credentials"]}`, 400, "invalid_field", []string{"grant_types"}},
		{"RFC 7662 2.1 a public client that introspects", `{"client_id":"web","public":true,"introspect":true}`, 400, "invalid_field", []string{"introspect"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f.send(t, "POST", "/clients", test.body).problem(t, test.status, test.code, test.fields...)
		})
	}
	var l clientList
	f.send(t, "GET", "/clients", "").want(t, 200).into(t, &l)
	if len(l.Clients) != 1 {
		t.Errorf("there are %+v", l.Clients)
	}
	for _, ev := range f.events.all()[events:] {
		if ev.ClientID != "taken" { // only the conflict with an existing client shows after the act was begun
			t.Errorf("something was done: %+v", ev)
		}
	}
}

// In the strict profile no client gets the password grant anew.
func TestStrictClient(t *testing.T) {
	f := newFixture(t, func(c *admin.Config) { c.Strict = true })
	f.send(t, "POST", "/clients", `{"client_id":"web","grant_types":["refresh_token","password"]}`).problem(t, 400, "invalid_field", "grant_types[1]")
	f.addClient(t, `{"client_id":"web","grant_types":["refresh_token"]}`)
}

type clientList struct {
	Clients []admin.Client `json:"clients"`
	Next    string         `json:"next"`
}

func TestListClients(t *testing.T) {
	f := newFixture(t)
	var want []string
	for i := range 7 {
		id := fmt.Sprintf("client%d/%%", i)
		want = append(want, id)
		f.addClient(t, fmt.Sprintf(`{"client_id":%q,"introspect":true}`, id))
		if got := f.getClient(t, id).ClientID; got != id {
			t.Errorf("%q is found as %q", id, got)
		}
	}
	for _, limit := range []int{1, 2, 3, 6, 7, 8} {
		var got []string
		cursor := ""
		for more := true; more; {
			var l clientList
			f.send(t, "GET", fmt.Sprintf("/clients?limit=%d%s", limit, cursor), "").want(t, 200).into(t, &l)
			if len(l.Clients) == 0 || len(l.Clients) > limit {
				t.Fatalf("a page of %d has %d", limit, len(l.Clients))
			}
			for _, c := range l.Clients {
				got = append(got, c.ClientID)
			}
			cursor, more = "&cursor="+l.Next, l.Next != ""
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%d a page (-want +got):\n%s", limit, d)
		}
	}
	for _, id := range []string{"nothing", "%00", "%C3%A9", strings.Repeat("x", 300)} {
		f.send(t, "GET", "/clients/"+id, "").problem(t, 404, "not_found")
	}
}

func TestPatchClient(t *testing.T) {
	f := newFixture(t)
	all := `{"client_id":"web","grant_types":["password","refresh_token"],"scopes":["read","write"]}`
	f.addClient(t, all)
	tests := []struct {
		name, body  string
		grantsEnded bool
		changed     func(*admin.Client)
	}{
		{"nothing", `{}`, false, func(*admin.Client) {}},
		{"a scope more", `{"scopes":["admin","write","read"]}`, false, func(c *admin.Client) { c.Scopes = []string{"admin", "write", "read"} }},
		{"the same again", `{"scopes":["admin","write","read"]}`, false, func(*admin.Client) {}},
		{"a scope less", `{"scopes":["read","admin"]}`, true, func(c *admin.Client) { c.Scopes = []string{"read", "admin"} }},
		{"a grant type more", `{"grant_types":["client_credentials","password","refresh_token"]}`, false, func(c *admin.Client) {
			c.GrantTypes = []string{"client_credentials", "password", "refresh_token"}
		}},
		{"a grant type less", `{"grant_types":["password","refresh_token"]}`, true, func(c *admin.Client) { c.GrantTypes = []string{"password", "refresh_token"} }},
		{"one audience instead of all", `{"audiences":["https://a.test"]}`, true, func(c *admin.Client) { c.Audiences = []string{"https://a.test"} }},
		{"an audience more", `{"audiences":["https://a.test","https://b.test"]}`, false, func(c *admin.Client) { c.Audiences = []string{"https://a.test", "https://b.test"} }},
		{"an audience less", `{"audiences":["https://b.test"]}`, true, func(c *admin.Client) { c.Audiences = []string{"https://b.test"} }},
		{"all audiences", `{"audiences":[]}`, false, func(c *admin.Client) { c.Audiences = []string{} }},
		{"the rest", `{"redirect_uris":["https://web.test/cb"],"origins":["https://web.test"],"introspect":true,"access_lifetime":60}`, false, func(c *admin.Client) {
			c.RedirectURIs, c.Origins, c.Introspect, c.AccessLifetime = []string{"https://web.test/cb"}, []string{"https://web.test"}, true, 60
		}},
		{"the rest back", `{"redirect_uris":[],"origins":[],"introspect":false,"access_lifetime":0}`, false, func(c *admin.Client) {
			c.RedirectURIs, c.Origins, c.Introspect, c.AccessLifetime = []string{}, []string{}, false, 0
		}},
	}
	want := f.getClient(t, "web")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			grant, own, other := f.addGrant(t, "usr_alice", "web"), f.addGrant(t, "", "web"), f.addGrant(t, "usr_alice", "web2")
			test.changed(&want)
			a := f.send(t, "PATCH", "/clients/web", test.body).want(t, 200)
			var got admin.Client
			a.into(t, &got)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if f.lives(t, grant) == test.grantsEnded || f.lives(t, own) == test.grantsEnded || !f.lives(t, other) {
				t.Errorf("the grants live: %t, %t; that of another client: %t", f.lives(t, grant), f.lives(t, own), f.lives(t, other))
			}
			read := f.send(t, "GET", "/clients/web", "")
			if read.body != a.body || read.header.Get("ETag") != a.header.Get("ETag") {
				t.Errorf("read %s, ETag %s; answered %s, ETag %s", read.body, read.header.Get("ETag"), a.body, a.header.Get("ETag"))
			}
		})
	}
	for field, value := range map[string]string{
		"client_id": `"x"`, "public": "true", "created": `"2030-01-01T00:00:00Z"`, "client_secret": `"` + brought + `"`, // fields that can't be changed
		"grant_types": "[]", "introspect": "1", "access_lifetime": `"1"`,
	} {
		f.send(t, "PATCH", "/clients/web", `{"`+field+`":`+value+`}`).problem(t, 400, "invalid_field", field)
	}
	f.send(t, "PATCH", "/clients/nothing", `{}`).problem(t, 404, "not_found")
	if d := cmp.Diff(want, f.getClient(t, "web")); d != "" {
		t.Errorf("half done (-want +got):\n%s", d)
	}
}

// An old client may keep values that a new one may not have.
func TestPatchOldClient(t *testing.T) {
	f := newFixture(t)
	old := storage.Client{
		ID: "old", Secret: storage.NewSecretVerifier(brought), Grants: []string{"password", "authorization_code"}, Scopes: []string{"gone", "read", "read"},
		RedirectURIs: []string{"app:/cb"}, Created: f.now(),
	}
	if err := f.store.CreateClient(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	f.send(t, "PATCH", "/clients/old", `{"access_lifetime":60,"scopes":["gone","read"],"grant_types":["authorization_code"]}`).want(t, 200)
	f.send(t, "PATCH", "/clients/old", `{"redirect_uris":["app:/cb","app2:/cb"]}`).problem(t, 400, "invalid_field", "redirect_uris[1]")
}

// When a client loses rights, and its grants can't be ended, the next change
// ends them, even if it takes no rights away.
func TestNarrowedClient(t *testing.T) {
	f := newFixture(t)
	f.addClient(t, `{"client_id":"web","grant_types":["password"],"scopes":["read","write"]}`)
	grant := f.addGrant(t, "usr_alice", "web")
	f.store.revoke.Store(true)
	f.send(t, "PATCH", "/clients/web", `{"scopes":["read"]}`).problem(t, 503, "unavailable")
	if got := f.getClient(t, "web").Scopes; !slices.Equal(got, []string{"read"}) || !f.lives(t, grant) {
		t.Fatalf("the scopes are %q; the grant lives: %t", got, f.lives(t, grant))
	}
	f.send(t, "PATCH", "/clients/web", `{"scopes":["read"]}`).problem(t, 503, "unavailable")
	f.store.revoke.Store(false)
	f.send(t, "PATCH", "/clients/web", `{"scopes":["read"]}`).want(t, 200)
	if f.lives(t, grant) {
		t.Error("the grant lives on with a scope that the client hasn't")
	}
	later := f.addGrant(t, "usr_alice", "web")
	f.send(t, "PATCH", "/clients/web", `{"scopes":["read"]}`).want(t, 200)
	if !f.lives(t, later) {
		t.Error("a later grant was ended for what was settled")
	}
}

func TestRotateSecret(t *testing.T) {
	f := newFixture(t)
	first := f.addClient(t, `{"client_id":"web","grant_types":["password"]}`).Secret
	rotate := func(body string, headers ...string) admin.NewSecret {
		t.Helper()
		var s admin.NewSecret
		a := f.send(t, "POST", "/clients/web/secret", body, headers...).want(t, 200)
		a.into(t, &s)
		if tag := f.send(t, "GET", "/clients/web", "").header.Get("ETag"); a.header.Get("ETag") != tag {
			t.Errorf("ETag is %s, want %s", a.header.Get("ETag"), tag)
		}
		return s
	}
	good := func(secrets ...string) (yes []bool) {
		for _, s := range secrets {
			yes = append(yes, f.authenticates(t, "web", s))
		}
		return yes
	}

	grant := f.addGrant(t, "usr_alice", "web")
	second := rotate(`{"overlap":3600}`)
	if end := f.now().Add(time.Hour); !second.PreviousExpires.Equal(end) || !f.getClient(t, "web").PreviousSecretExpires.Equal(end) {
		t.Errorf("the old one ends at %s, shown as %s, want %s", second.PreviousExpires, f.getClient(t, "web").PreviousSecretExpires, end)
	}
	if !f.lives(t, grant) || !slices.Equal(good(first, second.Secret), []bool{true, true}) {
		t.Errorf("with overlap: the grant lives: %t; good are %v", f.lives(t, grant), good(first, second.Secret))
	}
	t.Run("a repeated request ends no secret before its time", func(t *testing.T) {
		events := len(f.events.all())
		for _, header := range []string{"X: y", "If-Match: *"} {
			f.send(t, "POST", "/clients/web/secret", `{"overlap":3600}`, header).problem(t, 409, "conflict")
		}
		if got := good(first, second.Secret); !slices.Equal(got, []bool{true, true}) || len(f.events.all()) != events {
			t.Errorf("good are %v; there are %d more events", got, len(f.events.all())-events)
		}
	})
	t.Run("with the ETag of now the one before the one before is not good", func(t *testing.T) {
		tag := f.send(t, "GET", "/clients/web", "").header.Get("ETag")
		third := rotate(`{"overlap":60}`, "If-Match: "+tag).Secret
		if got := good(first, second.Secret, third); !slices.Equal(got, []bool{false, true, true}) {
			t.Errorf("good are %v", got)
		}
		overlapping := f.send(t, "GET", "/clients/web", "").header.Get("ETag")
		f.send(t, "GET", "/clients/web", "", "If-None-Match: "+overlapping).want(t, 304)
		f.setClock(f.now().Add(time.Minute))
		f.send(t, "GET", "/clients/web", "", "If-None-Match: "+overlapping).want(t, 200)
		if got := good(second.Secret, third); !slices.Equal(got, []bool{false, true}) {
			t.Errorf("after the window good are %v", got)
		}
		if shown := f.getClient(t, "web").PreviousSecretExpires; !shown.IsZero() {
			t.Errorf("a secret that is over is shown to end at %s", shown)
		}
	})
	t.Run("without overlap the grants end", func(t *testing.T) {
		before := rotate(`{"overlap":604800}`).Secret
		s := rotate(``)
		if got := good(before, s.Secret); !slices.Equal(got, []bool{false, true}) || !s.PreviousExpires.IsZero() || f.lives(t, grant) {
			t.Errorf("good are %v; the old one ends at %s; the grant lives: %t", got, s.PreviousExpires, f.lives(t, grant))
		}
	})
	t.Run("brought along", func(t *testing.T) {
		if s := rotate(`{"client_secret":"` + brought + `"}`); s.Secret != "" || !f.authenticates(t, "web", brought) {
			t.Errorf("answered %+v", s)
		}
	})
	for field, body := range map[string]string{
		"overlap": `{"overlap":604801}`, "client_secret": `{"client_secret":"short"}`, "secret": `{"secret":"` + brought + `"}`,
	} {
		f.send(t, "POST", "/clients/web/secret", body).problem(t, 400, "invalid_field", field)
	}
	f.send(t, "POST", "/clients/web/secret", `{"overlap":-1}`).problem(t, 400, "invalid_field", "overlap")
	f.send(t, "POST", "/clients/web/secret", "", `If-Match: "x"`).problem(t, 412, "stale")
	f.send(t, "POST", "/clients/nothing/secret", "").problem(t, 404, "not_found")
	f.addClient(t, `{"client_id":"spa","public":true,"grant_types":["password"]}`)
	f.send(t, "POST", "/clients/spa/secret", "").problem(t, 409, "conflict")
	if !f.authenticates(t, "web", brought) {
		t.Error("a refused rotation changed the secret")
	}
}

func TestDeleteClient(t *testing.T) {
	f := newFixture(t)
	f.addClient(t, `{"client_id":"web","grant_types":["password"]}`)
	grant := f.addGrant(t, "usr_alice", "web")
	f.send(t, "DELETE", "/clients/web", "", `If-Match: "x"`).problem(t, 412, "stale")
	for _, id := range []string{"web", "web", "nothing", "%00"} {
		f.send(t, "DELETE", "/clients/"+id, "").want(t, 204)
	}
	if f.lives(t, grant) {
		t.Error("the grant lives on")
	}
	f.send(t, "GET", "/clients/web", "").problem(t, 404, "not_found")
	f.send(t, "DELETE", "/clients/web", "", "If-Match: *").problem(t, 412, "stale")
}

var clientChanges = []change{
	{"POST", "/clients", `{"client_id":"app","public":true,"grant_types":["password"]}`, storage.ActClientCreate},
	{"PATCH", "/clients/web", `{"scopes":[],"introspect":true}`, storage.ActClientUpdate},
	{"POST", "/clients/web/secret", `{"overlap":60}`, storage.ActClientSecret},
	{"DELETE", "/clients/web", "", storage.ActClientDelete},
}

func TestAuditOfClients(t *testing.T) {
	details := map[storage.AuditAction]string{storage.ActClientUpdate: "introspect, scopes", storage.ActClientSecret: "with overlap"}
	f := newFixture(t)
	f.addClient(t, `{"client_id":"web","grant_types":["password"]}`)
	for _, c := range clientChanges {
		t.Run(string(c.action), func(t *testing.T) {
			before := len(f.events.all())
			if a := f.send(t, c.method, c.path, c.body); a.status >= 300 {
				t.Fatalf("status %d: %s", a.status, a.body)
			}
			got := f.events.all()[before:]
			id := "web"
			if c.action == storage.ActClientCreate {
				id = "app"
			}
			if len(got) != 1 || got[0].Action != c.action || got[0].Outcome != storage.Accepted || got[0].ClientID != id ||
				got[0].ActorUser != "root" || got[0].Detail != details[c.action] {
				t.Errorf("the events are %+v", got)
			}
		})
	}
}

func TestAuditFailureRefusesClients(t *testing.T) {
	f := newFixture(t)
	secret := f.addClient(t, `{"client_id":"web","grant_types":["password"]}`).Secret
	grant := f.addGrant(t, "usr_alice", "web")
	before := f.send(t, "GET", "/clients", "").want(t, 200).body
	f.events.fill(true)
	for _, c := range clientChanges {
		t.Run(string(c.action), func(t *testing.T) { f.send(t, c.method, c.path, c.body).problem(t, 503, "unavailable") })
	}
	if after := f.send(t, "GET", "/clients", "").body; after != before || !f.lives(t, grant) || !f.authenticates(t, "web", secret) {
		t.Errorf("the clients were %s, and are %s; the grant lives: %t", before, after, f.lives(t, grant))
	}
}

// Of concurrent rotations with an overlap exactly one is made, and the previous
// secret stays good.
func TestRotationTwice(t *testing.T) {
	f := newFixture(t)
	secret := f.addClient(t, `{"client_id":"web","grant_types":["password"]}`).Secret
	var won atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			a := f.send(t, "POST", "/clients/web/secret", `{"overlap":60}`)
			if a.status == http.StatusOK {
				won.Add(1)
				return
			}
			a.problem(t, 409, "conflict")
		})
	}
	all.Wait()
	if won.Load() != 1 || !f.authenticates(t, "web", secret) {
		t.Errorf("%d rotated; the secret from before is good: %t", won.Load(), f.authenticates(t, "web", secret))
	}
}

// A rotation may be repeated when the store couldn't tell whether its write worked, and
// the answer says so.
func TestRotationInDoubt(t *testing.T) {
	f := newFixture(t)
	secret := f.addClient(t, `{"client_id":"web","grant_types":["password"]}`).Secret
	f.store.doubt.Store(true)
	p := f.send(t, "POST", "/clients/web/secret", `{"overlap":60}`).problem(t, 503, "unavailable")
	f.store.doubt.Store(false)
	if !strings.Contains(p.Detail, "refused as a conflict if the secret was already replaced") {
		t.Errorf("the answer says %q", p.Detail)
	}
	f.send(t, "POST", "/clients/web/secret", `{"overlap":60}`).problem(t, 409, "conflict")
	if !f.authenticates(t, "web", secret) {
		t.Error("the secret from before isn't good any more")
	}
}

// Of concurrent rotations with the same If-Match exactly one is made, and its
// secret is good.
func TestRotationRace(t *testing.T) {
	f := newFixture(t)
	tag := f.send(t, "POST", "/clients", `{"client_id":"web","grant_types":["password"]}`).want(t, 201).header.Get("ETag")
	var won, stale atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			a := f.send(t, "POST", "/clients/web/secret", `{"overlap":60}`, "If-Match: "+tag)
			if a.status == 412 {
				stale.Add(1)
				return
			}
			var s admin.NewSecret
			a.want(t, 200).into(t, &s)
			won.Add(1)
			if !f.authenticates(t, "web", s.Secret) {
				t.Error("the secret isn't good")
			}
		})
	}
	all.Wait()
	if won.Load() != 1 || stale.Load() != 7 {
		t.Errorf("%d rotated, %d were told that it is stale", won.Load(), stale.Load())
	}
}
