package authserver_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

var asRS1 = basic("rs1", "rs1-secret")

func (f *fixture) introspect(t *testing.T, body url.Values, changes ...change) answer {
	t.Helper()
	return f.send(t, http.MethodPost, "/introspect", body.Encode(), changes...)
}

// wantActive introspects the token as the resource server rs1, and fails the
// test unless it is active.
func wantActive(t *testing.T, f *fixture, token string) answer {
	t.Helper()
	return active(t, f.introspect(t, form("token", token), asRS1))
}

func active(t *testing.T, a answer) answer {
	t.Helper()
	if a.status != http.StatusOK || a.json["active"] != true {
		t.Fatalf("got %d %s, want 200 and active", a.status, a.body)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q, want no-store", got)
	}
	return a
}

// wantInactive introspects the token as rs1, and fails the test unless the
// answer is active: false alone, without a reason (RFC 7662 section 2.2).
func wantInactive(t *testing.T, f *fixture, token string) {
	t.Helper()
	inactive(t, f.introspect(t, form("token", token), asRS1))
}

func inactive(t *testing.T, a answer) {
	t.Helper()
	if a.status != http.StatusOK || string(a.body) != `{"active":false}` {
		t.Fatalf(`got %d %s, want 200 {"active":false}`, a.status, a.body)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q, want no-store", got)
	}
}

// withIntrospectScope adds the scope introspect to the server's scopes. The
// client insp may have it.
func withIntrospectScope(c *authserver.Config) {
	c.Scopes = append(c.Scopes, authserver.IntrospectScope)
}

func newBearerFixture(t *testing.T, options ...option) *fixture {
	t.Helper()
	f := newFixture(t, append(options, withIntrospectScope)...)
	if err := f.store.CreateClient(t.Context(), storage.Client{
		ID: "insp", Secret: storage.NewSecretVerifier("insp-secret"),
		Grants: []string{"client_credentials"}, Scopes: []string{"read", "introspect"},
	}); err != nil {
		t.Fatal(err)
	}
	return f
}

// bearer gets a token of that scope for the client insp.
func (f *fixture) bearer(t *testing.T, scope string) string {
	t.Helper()
	a := f.post(t, form("grant_type", "client_credentials", "scope", scope), basic("insp", "insp-secret"))
	return wantToken(t, a).text("access_token")
}

func asBearer(token string) change { return header("Authorization", "Bearer "+token) }

func TestIntrospect(t *testing.T) {
	f := newFixture(t)
	issued := f.now()
	pair := signIn(t, f)
	f.advance(time.Minute) // the answer must have the times of the token, not of the request
	number := func(at time.Time) json.Number {
		b, err := json.Marshal(at.Unix())
		if err != nil {
			t.Fatal(err)
		}
		return json.Number(b)
	}

	t.Run("7662-2.1-01 7662-2.2-01 7662-2.2-02 7662-2.2-08 an access token of a user", func(t *testing.T) {
		want := map[string]any{
			"active": true, "scope": "read write", "client_id": "web", "username": "alice", "token_type": "Bearer",
			"exp": number(issued.Add(time.Hour)), "iat": number(issued), "nbf": number(issued), "sub": "id-of-alice",
			"iss": "https://as.test",
		}
		if d := cmp.Diff(want, wantActive(t, f, pair.text("access_token")).json); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
	t.Run("7662-2.2-03 exp and iat are as far apart as expires_in says", func(t *testing.T) {
		a := wantActive(t, f, pair.text("access_token"))
		exp, _ := a.json["exp"].(json.Number).Int64()
		iat, _ := a.json["iat"].(json.Number).Int64()
		expiresIn, _ := pair.json["expires_in"].(json.Number).Int64()
		if exp-iat != expiresIn {
			t.Errorf("exp - iat is %d, expires_in %d", exp-iat, expiresIn)
		}
	})
	t.Run("7662-4-02 no token is issued ahead of its use", func(t *testing.T) {
		a := wantActive(t, f, pair.text("access_token"))
		if a.json["nbf"] != number(issued) {
			t.Errorf("nbf is %v, and the token was issued at %v", a.json["nbf"], number(issued))
		}
	})
	t.Run("7662-2.2-02 an access token without a user has no username", func(t *testing.T) {
		token := wantToken(t, f.post(t, form("grant_type", "client_credentials", "scope", "write"), basic("svc", "s3cret3")))
		now := f.now()
		want := map[string]any{
			"active": true, "scope": "write", "client_id": "svc", "token_type": "Bearer",
			"exp": number(now.Add(time.Hour)), "iat": number(now), "nbf": number(now), "sub": "svc", "iss": "https://as.test",
		}
		if d := cmp.Diff(want, wantActive(t, f, token.text("access_token")).json); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
	t.Run("the scope is the access token's, not the grant's", func(t *testing.T) {
		narrowed := wantToken(t, f.post(t, refreshForm(signIn(t, f).text("refresh_token"), "scope", "read"), asWeb))
		if got := wantActive(t, f, narrowed.text("access_token")).text("scope"); got != "read" {
			t.Errorf("scope is %q", got)
		}
	})
	for _, hint := range []string{"access_token", "refresh_token", "banana", ""} {
		t.Run("7662-2.1-04 7662-2.1-05 the hint "+hint+" and unknown parameters change nothing", func(t *testing.T) {
			body := form("token", pair.text("access_token"), "token_type_hint", hint, "foo", "bar")
			a := active(t, f.introspect(t, body, asRS1))
			if d := cmp.Diff(wantActive(t, f, pair.text("access_token")).json, a.json); d != "" {
				t.Errorf("(-without +with)\n%s", d)
			}
		})
	}
	t.Run("credentials in the body", func(t *testing.T) {
		active(t, f.introspect(t, form("token", pair.text("access_token"), "client_id", "rs1", "client_secret", "rs1-secret")))
	})
	t.Run("asking changes nothing", func(t *testing.T) { wantAlive(t, f, pair) })
}

func TestIntrospectOfAnInactiveToken(t *testing.T) {
	f := newFixture(t)
	pair := signIn(t, f)
	access := pair.text("access_token")
	parsed, err := f.keys.Parse(opaque.Access, access)
	if err != nil {
		t.Fatal(err)
	}
	neverIssued, _ := f.keys.Mint(opaque.Access, parsed.Grant, parsed.Generation)
	nowhere, _ := f.keys.Mint(opaque.Access, storage.NewGrantID("nobody"), 1)
	for name, token := range map[string]string{
		"7662-2.3-03 garbage":                        "garbage",
		"7662-2.2-07 an authorization code":          "gac_" + access[4:],
		"an access token passed for a refresh token": "grt_" + access[4:],
		"one character changed":                      changed(access),
		"a space behind it":                          access + " ",
		"genuine, but never issued":                  neverIssued,
		"genuine, of a grant that never was":         nowhere,
		"7662-2.1-03 a refresh token is no bearer":   pair.text("refresh_token"),
		"a refresh token passed for an access token": "gat_" + pair.text("refresh_token")[4:],
		"4 kB of text":                               string(make4k()),
	} {
		t.Run("7662-2.2-04 7662-2.2-05 "+name, func(t *testing.T) {
			wantInactive(t, f, token)
			inactive(t, f.introspect(t, form("token", token, "token_type_hint", "refresh_token"), asRS1))
		})
	}
	t.Run("7662-4-01 7662-2.2-04 7662-2.2-05 expired, though its grant lives", func(t *testing.T) {
		f.advance(time.Hour - time.Millisecond)
		wantActive(t, f, access)
		f.advance(time.Millisecond)
		wantInactive(t, f, access)
	})
	t.Run("replaced by a refresh", func(t *testing.T) {
		old := signIn(t, f)
		next := wantToken(t, f.post(t, refreshForm(old.text("refresh_token")), asWeb))
		wantInactive(t, f, old.text("access_token"))
		wantActive(t, f, next.text("access_token"))
	})
	t.Run("7662-4-03 7662-2.2-04 7662-2.2-05 revoked", func(t *testing.T) {
		gone := signIn(t, f)
		wantActive(t, f, gone.text("access_token"))
		wantDone(t, f.revoke(t, form("token", gone.text("refresh_token")), asWeb))
		wantInactive(t, f, gone.text("access_token"))
	})
	t.Run("7662-4-03 all of the user's revoked", func(t *testing.T) {
		gone := signIn(t, f)
		if _, err := f.store.Revoke(t.Context(), storage.Target{UserID: "id-of-alice"}); err != nil {
			t.Fatal(err)
		}
		wantInactive(t, f, gone.text("access_token"))
	})
}

func TestIntrospectAuthenticatesItsCaller(t *testing.T) {
	f := newFixture(t)
	token := signIn(t, f).text("access_token")
	body := form("token", token)

	for name, changes := range map[string][]change{
		"7662-2.1-07 7662-4-06 nobody":           nil,
		"7662-2.3-01 7662-4-06 a wrong secret":   {basic("rs1", "bad")},
		"6749-10.2-01 7662-4-06 an empty secret": {basic("rs1", "")},
		"7662-2.3-01 an unknown client":          {basic("ghost", "x")},
		"7662-4-06 a public client":              {basic("spa", "")},
		"7662-2.3-01 another scheme":             {header("Authorization", "Digest x")},
	} {
		t.Run(name, func(t *testing.T) {
			a := wantError(t, f.introspect(t, body, changes...), http.StatusUnauthorized, "invalid_client")
			if got := a.header.Get("WWW-Authenticate"); got != `Basic realm="grantd", charset="UTF-8"` {
				t.Errorf("WWW-Authenticate is %q", got)
			}
			if _, told := a.json["active"]; told {
				t.Errorf("the answer tells of the token: %s", a.body)
			}
		})
	}
	t.Run("7662-2.1-07 nor is the default client of a request without one", func(t *testing.T) {
		f := newFixture(t, func(c *authserver.Config) { c.DefaultClient = "spa" })
		wantError(t, f.introspect(t, form("token", signIn(t, f).text("access_token"))), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("7662-4-07 7662-5-01 a client without the right, not even of its own tokens", func(t *testing.T) {
		for _, c := range []change{asWeb, basic("web2", "s3cret2")} {
			a := wantError(t, f.introspect(t, body, c), http.StatusForbidden, "unauthorized_client")
			if strings.Contains(string(a.body), "alice") {
				t.Errorf("the answer tells of the user: %s", a.body)
			}
		}
	})
	t.Run("a public client that was given the right all the same", func(t *testing.T) {
		if err := f.store.CreateClient(t.Context(), storage.Client{ID: "loud", Public: true, Introspect: true}); err != nil {
			t.Fatal(err)
		}
		wantError(t, f.introspect(t, form("token", token, "client_id", "loud")), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("the log is told who asked, and not about whom", func(t *testing.T) {
		wantActive(t, f, token)
		if ev := f.events.last(t); ev.ClientID != "rs1" || ev.UserID != "" || ev.GrantID != "" || ev.Err != nil {
			t.Errorf("noted %+v", ev)
		}
	})
}

func TestIntrospectByBearer(t *testing.T) {
	f := newBearerFixture(t)
	token := signIn(t, f).text("access_token")
	body := form("token", token)
	good := f.bearer(t, "read introspect")

	t.Run("7662-2.1-01 a token of scope introspect", func(t *testing.T) {
		active(t, f.introspect(t, body, asBearer(good)))
		inactive(t, f.introspect(t, form("token", "garbage"), asBearer(good)))
		if ev := f.events.last(t); ev.ClientID != "insp" {
			t.Errorf("noted %+v", ev)
		}
	})
	t.Run("7662-2.1-01 the scheme in another case, and more spaces", func(t *testing.T) {
		active(t, f.introspect(t, body, header("Authorization", "bEARER   "+good)))
	})

	const invalid = `Bearer realm="grantd", error="invalid_token"`
	refused := func(name, bearer, code, challenge string) {
		t.Run("7662-2.3-02 "+name, func(t *testing.T) {
			a := wantError(t, f.introspect(t, body, header("Authorization", bearer)), http.StatusUnauthorized, code)
			if got := a.header.Get("WWW-Authenticate"); got != challenge {
				t.Errorf("WWW-Authenticate is %q, want %q", got, challenge)
			}
		})
	}
	refused("garbage", "Bearer garbage", "invalid_token", invalid)
	refused("no token", "Bearer", "invalid_token", invalid)
	refused("two tokens", "Bearer "+good+" "+good, "invalid_token", invalid)
	refused("changed", "Bearer "+changed(good), "invalid_token", invalid)
	refused("a refresh token", "Bearer "+signIn(t, f).text("refresh_token"), "invalid_token", invalid)
	const weak = `Bearer realm="grantd", error="insufficient_scope", scope="introspect"`
	refused("without the scope", "Bearer "+f.bearer(t, "read"), "insufficient_scope", weak)
	refused("7662-2.1-08 the token that is asked about", "Bearer "+token, "insufficient_scope", weak)

	t.Run("two Authorization headers", func(t *testing.T) {
		wantError(t, f.introspect(t, body, asBearer(good), asRS1, asBearer(good)), http.StatusBadRequest, "invalid_request")
	})
	t.Run("a bearer token and client credentials", func(t *testing.T) {
		both := form("token", token, "client_id", "rs1", "client_secret", "rs1-secret")
		wantError(t, f.introspect(t, both, asBearer(good)), http.StatusBadRequest, "invalid_request")
	})
	t.Run("7662-2.3-02 an expired one", func(t *testing.T) {
		f.advance(time.Hour)
		a := wantError(t, f.introspect(t, body, asBearer(good)), http.StatusUnauthorized, "invalid_token")
		if got := a.header.Get("WWW-Authenticate"); got != invalid {
			t.Errorf("WWW-Authenticate is %q", got)
		}
	})
	t.Run("7662-2.3-02 a revoked one", func(t *testing.T) {
		gone := f.bearer(t, "introspect")
		wantDone(t, f.revoke(t, form("token", gone), basic("insp", "insp-secret")))
		wantError(t, f.introspect(t, body, asBearer(gone)), http.StatusUnauthorized, "invalid_token")
	})
}

func TestIntrospectRequest(t *testing.T) {
	f := newFixture(t)
	token := signIn(t, f).text("access_token")
	body := form("token", token).Encode()

	for name, body := range map[string]string{
		"no token":        "token_type_hint=access_token",
		"an empty token":  "token=",
		"two tokens":      body + "&token=x",
		"two equal ones":  body + "&" + body,
		"does not decode": body + "&x=%zz",
	} {
		t.Run("7662-2.1-02 "+name, func(t *testing.T) {
			wantError(t, f.send(t, http.MethodPost, "/introspect", body, asRS1), http.StatusBadRequest, "invalid_request")
		})
	}
	t.Run("the query is not read", func(t *testing.T) {
		wantError(t, f.send(t, http.MethodPost, "/introspect?"+body, "", asRS1), http.StatusBadRequest, "invalid_request")
	})
	t.Run("JSON is refused", func(t *testing.T) {
		json := func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }
		a := f.send(t, http.MethodPost, "/introspect", `{"token":"`+token+`"}`, asRS1, json)
		wantError(t, a, http.StatusUnsupportedMediaType, "invalid_request")
	})
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		t.Run("7662-4-09 "+method+" is refused", func(t *testing.T) {
			a := wantError(t, f.send(t, method, "/introspect?"+body, "", asRS1), http.StatusMethodNotAllowed, "invalid_request")
			if a.header.Get("Allow") != http.MethodPost {
				t.Errorf("Allow is %q", a.header.Get("Allow"))
			}
		})
	}
}

func TestIntrospectLooksUpLittle(t *testing.T) {
	store := &watchedStore{}
	f := newBearerFixture(t, watched(store))
	pair := signIn(t, f)
	bearer := f.bearer(t, "introspect")
	for name, c := range map[string]struct {
		token string
		as    change
		want  int32
	}{
		"an access token, once":                      {pair.text("access_token"), asRS1, 1},
		"by a bearer, who is looked up too":          {pair.text("access_token"), asBearer(bearer), 2},
		"a wrong tag, never":                         {changed(pair.text("access_token")), asRS1, 0},
		"a refresh token, never":                     {pair.text("refresh_token"), asRS1, 0},
		"for a caller of wrong secret, never":        {pair.text("access_token"), basic("rs1", "bad"), 0},
		"for a caller without the right, never":      {pair.text("access_token"), asWeb, 0},
		"for a bearer of a wrong tag, not even that": {pair.text("access_token"), asBearer(changed(bearer)), 0},
	} {
		t.Run(name, func(t *testing.T) {
			before := store.lookups.Load()
			f.introspect(t, form("token", c.token), c.as)
			if got := store.lookups.Load() - before; got != c.want {
				t.Errorf("%d look-ups of grants, want %d", got, c.want)
			}
		})
	}
}

func TestIntrospectWithoutAStore(t *testing.T) {
	f := newBearerFixture(t)
	body := form("token", signIn(t, f).text("access_token"))
	bearer := f.bearer(t, "introspect")
	f.store.set(func(s *faultyStore) { s.fault = storage.ErrUnavailable })
	for name, caller := range map[string]change{"client": asRS1, "bearer": asBearer(bearer)} {
		t.Run("by "+name+" it is a 503, never an inactive token", func(t *testing.T) {
			a := wantError(t, f.introspect(t, body, caller), http.StatusServiceUnavailable, "temporarily_unavailable")
			if a.header.Get("Retry-After") != "1" {
				t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
			}
		})
	}
	f.store.set(func(s *faultyStore) { s.fault = nil })
	t.Run("and afterwards the token is active", func(t *testing.T) { active(t, f.introspect(t, body, asRS1)) })
}
