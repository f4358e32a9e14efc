package authserver_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

func TestPasswordGrant(t *testing.T) {
	f := newFixture(t)
	a := wantToken(t, f.post(t, passwordForm("alice", "secret123", "scope", "read write"), asWeb))

	t.Run("6749-5.1-01 the members are at top level", func(t *testing.T) {
		for name, v := range a.json {
			switch v.(type) {
			case string, json.Number:
			default:
				t.Errorf("%s is a %T", name, v)
			}
		}
	})
	t.Run("6749-5.1-02 the media type is application/json", func(t *testing.T) {
		if got := a.header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Content-Type is %q", got)
		}
	})
	t.Run("6749-5.1-03 6750-4-01 the token type is Bearer", func(t *testing.T) {
		if !strings.EqualFold(a.text("token_type"), "bearer") {
			t.Errorf("token_type is %q", a.text("token_type"))
		}
	})
	t.Run("6749-A-02 6750-5.3-02 expires_in is digits, an hour or less", func(t *testing.T) {
		n, ok := a.json["expires_in"].(json.Number)
		if !ok || !regexp.MustCompile(`^[0-9]+$`).MatchString(n.String()) || n.String() != "3600" {
			t.Errorf("expires_in is %v", a.json["expires_in"])
		}
	})
	t.Run("6749-5.1-05 6749-3.3-03 the scope is stated", func(t *testing.T) {
		if a.text("scope") != "read write" {
			t.Errorf("scope is %q", a.text("scope"))
		}
	})
	t.Run("6749-5.1-06 6749-5.1-07 6750-4-01 no cache keeps it", func(t *testing.T) {
		if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" {
			t.Errorf("headers are %v", a.header)
		}
	})
	t.Run("6749-5.1-08 6750-2.1-05 both tokens fit the b64token grammar", func(t *testing.T) {
		b64token := regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)
		if !b64token.MatchString(a.text("access_token")) || !b64token.MatchString(a.text("refresh_token")) {
			t.Errorf("tokens are %q and %q", a.text("access_token"), a.text("refresh_token"))
		}
	})
	t.Run("6749-5.1-04 the access token is valid until expires_in", func(t *testing.T) {
		f := newFixture(t)
		a := wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
		access := a.text("access_token")
		expiresIn, err := a.json["expires_in"].(json.Number).Int64()
		if err != nil {
			t.Fatal(err)
		}
		f.advance(time.Duration(expiresIn-1) * time.Second)
		if !f.valid(t, access) {
			t.Error("refused one second before its expiry")
		}
		f.advance(2 * time.Second)
		if f.valid(t, access) {
			t.Error("accepted one second after its expiry")
		}
	})
	t.Run("the grant records where the sign-in came from", func(t *testing.T) {
		token, err := f.keys.Parse(opaque.Access, a.text("access_token"))
		if err != nil {
			t.Fatal(err)
		}
		g, err := f.store.LoadGrant(t.Context(), token.Grant)
		if err != nil {
			t.Fatal(err)
		}
		if g.Username != "alice" || g.UserID != "id-of-alice" || g.ClientID != "web" || g.Type != storage.Password ||
			g.Address != netip.MustParseAddr("192.0.2.7") || g.UserAgent != "Go-http-client/1.1" || !g.Created.Equal(f.now()) {
			t.Errorf("grant is %+v", g)
		}
	})
	t.Run("a client's own access lifetime counts", func(t *testing.T) {
		a := wantToken(t, f.post(t, passwordForm("alice", "secret123"), basic("short", webSecret)))
		if a.json["expires_in"] != json.Number("2") {
			t.Errorf("expires_in is %v", a.json["expires_in"])
		}
	})
	t.Run("a client that may not refresh gets no refresh token", func(t *testing.T) {
		a := wantToken(t, f.post(t, passwordForm("alice", "secret123"), basic("once", webSecret)))
		if _, has := a.json["refresh_token"]; has {
			t.Errorf("got %s", a.body)
		}
	})
}

func TestPasswordIsVerified(t *testing.T) {
	f := newFixture(t)
	for name, c := range map[string]struct{ username, password string }{
		"6749-4.3.2-04 6749-4.3.3-01 the right one":         {"alice", "secret123"},
		"6749-4.3.2-06 non-ASCII name and password":         {"zoë", "pä€ß word+%"},
		"PW-NIST63B-5.1.1.2-06 the name in decomposed form": {"zoe\u0308", "pa\u0308€ß word+%"},
		"6749-4.3.2-04 ALICE is alice, RFC 8265 3.3.2":      {"ALICE", "secret123"},
	} {
		t.Run(name, func(t *testing.T) {
			a := wantToken(t, f.post(t, passwordForm(c.username, c.password), asWeb))
			if _, isNumber := a.json["expires_in"].(json.Number); !isNumber {
				t.Errorf("expires_in is %v", a.json["expires_in"])
			}
		})
	}

	t.Run("6749-B-01 the sample value of Appendix B decodes to its six characters", func(t *testing.T) {
		const sample = "grant_type=password&username=sample&password=+%25%26%2B%C2%A3%E2%82%AC"
		wantToken(t, f.send(t, http.MethodPost, "/token", sample, asWeb))
	})

	bodies := map[string]bool{}
	for name, c := range map[string]struct{ username, password string }{
		"6749-4.3.2-04 one character more":  {"alice", "secret1234"},
		"6749-4.3.2-04 another case":        {"alice", "Secret123"},
		"another user's password":           {"alice", "builder456"},
		"PW-OWASP-authn-01 an unknown user": {"mallory", "secret123"},
		"a username that can't be":          {"a\tb", "secret123"},
		"a password of 30,000 bytes":        {"alice", strings.Repeat("x", 30000)},
		"a username of 20,000 bytes":        {strings.Repeat("x", 20000), "secret123"},
	} {
		t.Run("6749-5.2-02 6749-4.3.3-01 "+name+" is a 400 invalid_grant", func(t *testing.T) {
			f.advance(time.Minute) // so that the throttle, after several failures, refuses none
			bodies[string(wantError(t, f.post(t, passwordForm(c.username, c.password), asWeb), http.StatusBadRequest, "invalid_grant").body)] = true
		})
	}
	t.Run("PW-OWASP-authn-01 all failures have the same body", func(t *testing.T) {
		if len(bodies) != 1 {
			t.Errorf("%d different bodies: %v", len(bodies), bodies)
		}
	})
	t.Run("PW-OWASP-authn-01 a disabled user looks like a wrong password", func(t *testing.T) {
		u, err := f.store.LoadUser(t.Context(), "bob")
		if err != nil {
			t.Fatal(err)
		}
		u.Disabled = true
		if err := f.store.UpdateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		a := wantError(t, f.post(t, passwordForm("bob", "builder456"), asWeb), http.StatusBadRequest, "invalid_grant")
		if !bodies[string(a.body)] {
			t.Errorf("got %s", a.body)
		}
	})
	for name, body := range map[string]string{
		"no username":       "grant_type=password&password=secret123",
		"no password":       "grant_type=password&username=alice",
		"an empty username": "grant_type=password&username=&password=secret123",
		"an empty password": "grant_type=password&username=alice&password=",
	} {
		t.Run("6749-4.3.2-03 "+name, func(t *testing.T) {
			wantError(t, f.send(t, http.MethodPost, "/token", body, asWeb), http.StatusBadRequest, "invalid_request")
		})
	}
	t.Run("6749-4.3.2-02 for an unauthenticated client right and wrong passwords look the same", func(t *testing.T) {
		right := f.post(t, passwordForm("alice", "secret123"), basic("web", "no"))
		wrong := f.post(t, passwordForm("alice", "secret124"), basic("web", "no"))
		if string(right.body) != string(wrong.body) || right.status != wrong.status {
			t.Errorf("got %d %s and %d %s", right.status, right.body, wrong.status, wrong.body)
		}
	})
	t.Run("6749-4.3-01 6749-5.2-11 a client without the password grant", func(t *testing.T) {
		wantError(t, f.post(t, passwordForm("alice", "secret123"), basic("web2", "s3cret2")), http.StatusBadRequest, "unauthorized_client")
		wantError(t, f.post(t, passwordForm("alice", "secret123"), basic("svc", "s3cret3")), http.StatusBadRequest, "unauthorized_client")
	})
}

func TestScope(t *testing.T) {
	f := newFixture(t)
	asRoot := basic("root", "s3cret4")
	for name, c := range map[string]struct {
		scope, want string
		user        string
		client      change
	}{
		"6749-3.3-04 6749-5.1-05 none gives the default":                       {"", "read", "alice secret123", asWeb},
		"6749-3.3-02 the order is free":                                        {"write read", "write read", "alice secret123", asWeb},
		"a scope named twice counts once":                                      {"read read", "read", "alice secret123", asWeb},
		"6749-3.3-03 6749-5.1-05 a user who is no admin gets the rest, stated": {"read admin", "read", "alice secret123", asRoot},
		"an admin gets admin":                                                  {"admin", "admin", "admin admin-admin", asRoot},
	} {
		t.Run(name, func(t *testing.T) {
			username, password, _ := strings.Cut(c.user, " ")
			a := wantToken(t, f.post(t, passwordForm(username, password, "scope", c.scope), c.client))
			if a.text("scope") != c.want {
				t.Errorf("scope is %q, want %q", a.text("scope"), c.want)
			}
		})
	}
	for name, scope := range map[string]string{
		"6749-3.3-01 a quote":                                `re"ad`,
		"6749-3.3-01 a backslash":                            `re\ad`,
		"6749-3.3-01 not ASCII":                              "rëad",
		"6749-3.3-01 a tab":                                  "read\twrite",
		"6749-3.3-01 a leading space":                        " read",
		"6749-3.3-01 a trailing space":                       "read ",
		"6749-3.3-01 two spaces":                             "read  write",
		"6749-3.3-02 another case":                           "READ",
		"6749-3.3-06 unknown":                                "nosuch",
		"6749-5.2-13 6749-10.3-03 more than the client may":  "admin",
		"6749-5.2-13 partly more than the client may":        "read admin",
		"2,000 scopes":                                       strings.TrimSpace(strings.Repeat("read ", 2000)) + strings.Repeat(" x", 2000),
		"6749-3.3-01 a name of this server's, quoted inside": `read write"`,
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, f.post(t, passwordForm("alice", "secret123", "scope", scope), asWeb), http.StatusBadRequest, "invalid_scope")
		})
	}
	t.Run("only admin asked for by a user who is no admin", func(t *testing.T) {
		wantError(t, f.post(t, passwordForm("alice", "secret123", "scope", "admin"), asRoot), http.StatusBadRequest, "invalid_scope")
	})
	t.Run("6749-3.3-04 no default is configured", func(t *testing.T) {
		f := newFixture(t, func(c *authserver.Config) { c.DefaultScopes = nil })
		wantError(t, f.post(t, passwordForm("alice", "secret123"), asWeb), http.StatusBadRequest, "invalid_scope")
	})
}

// RFC 6749 section 10.7: a client that sees passwords gets no more than others.
func TestPasswordGrantGivesNoMoreThanOthers(t *testing.T) {
	f := newFixture(t)
	asRoot := basic("root", "s3cret4")
	byPassword := wantToken(t, f.post(t, passwordForm("alice", "secret123"), asRoot))
	itself := wantToken(t, f.post(t, form("grant_type", "client_credentials"), asRoot))
	t.Run("6749-10.7-01 the same client's token of another grant lives as long", func(t *testing.T) {
		if byPassword.json["expires_in"] != itself.json["expires_in"] {
			t.Errorf("expires_in is %v and %v", byPassword.json["expires_in"], itself.json["expires_in"])
		}
	})
	t.Run("6749-10.7-01 the client's limits of scope and lifetime hold", func(t *testing.T) {
		asShort := basic("short", webSecret) // read, 2 seconds
		wantError(t, f.post(t, passwordForm("admin", "admin-admin", "scope", "read write"), asShort), http.StatusBadRequest, "invalid_scope")
		a := wantToken(t, f.post(t, passwordForm("admin", "admin-admin"), asShort))
		if a.text("scope") != "read" || a.json["expires_in"] != json.Number("2") {
			t.Errorf("got %s", a.body)
		}
	})
	t.Run("6749-10.7-01 unasked it is the least that there is", func(t *testing.T) {
		if byPassword.text("scope") != "read" {
			t.Errorf("scope is %q", byPassword.text("scope"))
		}
	})
}

func TestPasswordHashIsRenewed(t *testing.T) {
	f := newFixture(t)
	const weak = "$2a$04$ukAnsKXaokrNf9gAPFOQlua9iYpiw7WtOVsW2ZQ1PskMmXo171KRe" // bcrypt of old-password, cost 4
	if err := f.store.CreateUser(t.Context(), storage.User{ID: "id-of-old", Name: "old", Password: weak}); err != nil {
		t.Fatal(err)
	}
	stored := func() string {
		u, err := f.store.LoadUser(t.Context(), "old")
		if err != nil {
			t.Fatal(err)
		}
		return u.Password
	}

	t.Run("PW-OWASP-storage-03 a wrong password changes nothing", func(t *testing.T) {
		wantError(t, f.post(t, passwordForm("old", "new-password"), asWeb), http.StatusBadRequest, "invalid_grant")
		if stored() != weak {
			t.Error("the hash changed")
		}
	})
	t.Run("PW-OWASP-storage-02 PW-OWASP-storage-03 the next good sign-in makes it argon2id", func(t *testing.T) {
		wantToken(t, f.post(t, passwordForm("old", "old-password"), asWeb))
		if !strings.HasPrefix(stored(), "$argon2id$") {
			t.Errorf("the hash is %q", stored())
		}
		wantToken(t, f.post(t, passwordForm("old", "old-password"), asWeb))
	})
}
