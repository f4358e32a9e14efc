package authserver_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
)

var (
	asRS2     = basic("rs2", "rs2-secret")
	asGateway = basic("gateway", "gw-secret") // sees all tokens
	asBound   = basic("bound", "s3cret5")     // may ask for urn:example:a and for apiTest
)

func strict(c *authserver.Config) { c.Strict = true }

// grantForms makes a good request of every grant type; each call signs in anew
// for the refresh token.
func grantForms(t *testing.T, f *fixture, as change) map[string]url.Values {
	t.Helper()
	pair := wantToken(t, f.post(t, passwordForm("alice", "secret123"), as))
	return map[string]url.Values{
		"password":           passwordForm("alice", "secret123"),
		"client_credentials": form("grant_type", "client_credentials"),
		"refresh_token":      refreshForm(pair.text("refresh_token")),
	}
}

// naming adds the resources to a form.
func naming(body url.Values, resources ...string) url.Values {
	body["resource"] = resources
	return body
}

// wantAudience introspects the token of the answer as the gateway, and compares
// its audience. Without want, the member aud must be absent.
func wantAudience(t *testing.T, f *fixture, a answer, want ...any) {
	t.Helper()
	told := active(t, f.introspect(t, form("token", wantToken(t, a).text("access_token")), asGateway))
	got, there := told.json["aud"]
	switch {
	case len(want) == 0 && there:
		t.Errorf("aud is %v, want none", got)
	case len(want) == 1 && got != want[0]:
		t.Errorf("aud is %v, want the string %v", got, want[0])
	case len(want) > 1:
		if d := cmp.Diff(any(want), got); d != "" {
			t.Errorf("aud (-want +got)\n%s", d)
		}
	}
}

func TestResource(t *testing.T) {
	f := newFixture(t)
	asRoot := basic("root", "s3cret4")
	for grant, body := range grantForms(t, f, asRoot) {
		t.Run("8707-2.2-01 8707-2-05 9728-7.4-01 9700-2.3-02 "+grant, func(t *testing.T) {
			wantAudience(t, f, f.post(t, naming(body, apiTest), asRoot), apiTest)
		})
	}
	for grant, body := range grantForms(t, f, asRoot) {
		t.Run("8707-2-03 several resources, "+grant, func(t *testing.T) {
			wantAudience(t, f, f.post(t, naming(body, otherTest, apiTest, "", otherTest), asRoot), apiTest, otherTest)
		})
	}
	for grant, body := range grantForms(t, f, asRoot) {
		t.Run("8707-2-01 an empty one counts as absent, "+grant, func(t *testing.T) {
			wantAudience(t, f, f.post(t, naming(body, ""), asRoot))
		})
	}
	t.Run("the same one 32 times is one", func(t *testing.T) {
		many := strings.Split(strings.Repeat(apiTest+" ", 31)+apiTest, " ")
		wantAudience(t, f, f.post(t, naming(passwordForm("alice", "secret123"), many...), asWeb), apiTest)
	})
	t.Run("a resource in the query is not read", func(t *testing.T) {
		a := f.send(t, http.MethodPost, "/token?resource="+apiTest, passwordForm("alice", "secret123").Encode(), asWeb)
		wantAudience(t, f, a)
	})
}

func TestBadResource(t *testing.T) {
	f := newFixture(t)
	asRoot := basic("root", "s3cret4")
	forms := grantForms(t, f, asRoot)
	for name, resources := range map[string][]string{
		"8707-2-01 8707-2-04 a word":               {"foo"},
		"8707-2-01 a path":                         {"/x"},
		"8707-2-01 a colon":                        {":"},
		"8707-2-01 no scheme":                      {"//api.test"},
		"8707-2-01 no host":                        {"https:"},
		"8707-2-02 a fragment":                     {apiTest + "/#x"},
		"8707-2-02 an empty fragment":              {apiTest + "#"},
		"8707-2-04 an unknown one":                 {"https://nosuch.test"},
		"8707-2-04 a slash more":                   {apiTest + "/"},
		"8707-2-04 in other case":                  {"HTTPS://API.test"},
		"8707-2-04 with the default port":          {apiTest + ":443"},
		"8707-2-04 a good one and an unknown":      {apiTest, "https://nosuch.test"},
		"8707-2-04 an unknown one and a good":      {"foo", apiTest},
		"8707-2-04 two in one":                     {apiTest + " " + otherTest},
		"8707-2-04 a space behind it":              {apiTest + " "},
		"8707-2-04 a control character":            {apiTest + "\t"},
		"8707-2-04 beyond ASCII":                   {apiTest + "/é"},
		"8707-2-04 too long":                       {apiTest + "/" + strings.Repeat("a", 1000)},
		"8707-2-04 a good one more often than may": strings.Split(strings.Repeat(apiTest+" ", 32)+apiTest, " "),
	} {
		for grant, body := range forms {
			t.Run(name+", "+grant, func(t *testing.T) {
				wantError(t, f.post(t, naming(body, resources...), asRoot), http.StatusBadRequest, "invalid_target")
			})
		}
	}
	t.Run("none of that spent the refresh token", func(t *testing.T) {
		wantAudience(t, f, f.post(t, naming(forms["refresh_token"], apiTest), asRoot), apiTest)
	})
	t.Run("a NUL is malformed in any parameter", func(t *testing.T) {
		body := naming(passwordForm("alice", "secret123"), apiTest+"\x00"+otherTest)
		wantError(t, f.post(t, body, asWeb), http.StatusBadRequest, "invalid_request")
	})
}

func TestWhoAsksComesBeforeWhatFor(t *testing.T) {
	f := newFixture(t)
	bad := naming(passwordForm("alice", "secret123"), "foo")
	for _, tt := range []struct {
		name, code string
		status     int
		body       url.Values
		as         change
	}{
		{"wrong client secret", "invalid_client", http.StatusUnauthorized, bad, basic("web", "no")},
		{"grant not allowed for the client", "unauthorized_client", http.StatusBadRequest, bad, basic("web2", "s3cret2")},
		{"grant type not offered", "unsupported_grant_type", http.StatusBadRequest, naming(form("grant_type", "nosuch"), "foo"), asWeb},
		{"refresh token of nobody", "invalid_grant", http.StatusBadRequest, naming(refreshForm(mint(t, f.keys)), "foo"), asWeb},
		{"refresh token of another client", "invalid_grant", http.StatusBadRequest,
			naming(refreshForm(signIn(t, f).text("refresh_token")), "foo"), basic("web2", "s3cret2")},
	} {
		t.Run(tt.name, func(t *testing.T) { wantError(t, f.post(t, tt.body, tt.as), tt.status, tt.code) })
	}
}

func TestAudiencesOfAClient(t *testing.T) {
	const urn = "urn:example:a"
	f := newFixture(t)
	for grant, body := range grantForms(t, f, asBound) {
		t.Run("9700-2.3-02 6750-5.3-03 without a resource they are all the audience, "+grant, func(t *testing.T) {
			wantAudience(t, f, f.post(t, body, asBound), urn, apiTest)
		})
	}
	for grant, body := range grantForms(t, f, asBound) {
		t.Run("8707-2-05 or one of them, "+grant, func(t *testing.T) {
			wantAudience(t, f, f.post(t, naming(body, urn), asBound), urn)
		})
	}
	for grant, body := range grantForms(t, f, asBound) {
		t.Run("8707-2-04 but not another that the server knows, "+grant, func(t *testing.T) {
			wantError(t, f.post(t, naming(body, otherTest), asBound), http.StatusBadRequest, "invalid_target")
		})
	}
	t.Run("a client without any gets a token for all when it names none", func(t *testing.T) {
		wantAudience(t, f, f.post(t, passwordForm("alice", "secret123"), asWeb))
	})
}

func TestStrictAudience(t *testing.T) {
	f := newFixture(t, strict)
	credentials := form("grant_type", "client_credentials")
	t.Run("9700-2.3-02 6750-5.3-03 tokens have an audience though nobody asked", func(t *testing.T) {
		wantAudience(t, f, f.post(t, credentials, basic("svc", "s3cret3")), apiTest, otherTest)
	})
	t.Run("the client's own comes first", func(t *testing.T) {
		wantAudience(t, f, f.post(t, credentials, asBound), "urn:example:a", apiTest)
	})
	t.Run("8707-2-05 a resource is the audience as ever", func(t *testing.T) {
		wantAudience(t, f, f.post(t, naming(form("grant_type", "client_credentials"), otherTest), basic("svc", "s3cret3")), otherTest)
	})
}

func TestRefreshAudience(t *testing.T) {
	f := newFixture(t)
	grantFor := func(t *testing.T, resources ...string) string {
		t.Helper()
		return wantToken(t, f.post(t, naming(passwordForm("alice", "secret123"), resources...), asWeb)).text("refresh_token")
	}
	t.Run("8707-2.2-02 9700-4.14.2-02 beyond the grant is refused and spends nothing", func(t *testing.T) {
		token := grantFor(t, apiTest)
		wantError(t, f.post(t, naming(refreshForm(token), otherTest), asWeb), http.StatusBadRequest, "invalid_target")
		wantError(t, f.post(t, naming(refreshForm(token), apiTest, otherTest), asWeb), http.StatusBadRequest, "invalid_target")
		wantAudience(t, f, f.post(t, refreshForm(token), asWeb), apiTest)
	})
	t.Run("8707-2.2-03 9700-4.14.2-02 less narrows the access token, and the refresh token keeps all", func(t *testing.T) {
		a := f.post(t, naming(refreshForm(grantFor(t, apiTest, otherTest)), apiTest), asWeb)
		wantAudience(t, f, a, apiTest)
		a = f.post(t, naming(refreshForm(a.text("refresh_token")), otherTest), asWeb)
		wantAudience(t, f, a, otherTest)
		wantAudience(t, f, f.post(t, refreshForm(a.text("refresh_token")), asWeb), apiTest, otherTest)
	})
	t.Run("a grant for all is narrowed to what the client may ask for", func(t *testing.T) {
		a := f.post(t, naming(refreshForm(grantFor(t)), otherTest), asWeb)
		wantAudience(t, f, a, otherTest)
		a = f.post(t, naming(refreshForm(a.text("refresh_token")), apiTest), asWeb)
		wantAudience(t, f, a, apiTest)
		wantError(t, f.post(t, naming(refreshForm(a.text("refresh_token")), "https://nosuch.test"), asWeb), http.StatusBadRequest, "invalid_target")
		wantAudience(t, f, f.post(t, refreshForm(a.text("refresh_token")), asWeb))
	})
}

func TestRetryOfANarrowedRefresh(t *testing.T) {
	f := newFixture(t)
	token := wantToken(t, f.post(t, naming(passwordForm("alice", "secret123"), apiTest, otherTest), asWeb)).text("refresh_token")
	lost := wantToken(t, f.post(t, naming(refreshForm(token), otherTest, apiTest, otherTest), asWeb))
	t.Run("it gets the same pair, whatever the order of its resources", func(t *testing.T) {
		for _, resources := range [][]string{{apiTest, otherTest}, {otherTest, apiTest}, nil} {
			again := f.post(t, naming(refreshForm(token), resources...), asWeb)
			wantAudience(t, f, again, apiTest, otherTest)
			if again.text("access_token") != lost.text("access_token") || again.text("refresh_token") != lost.text("refresh_token") {
				t.Errorf("%q: another pair", resources)
			}
		}
	})
	t.Run("for another audience it is refused and ends nothing", func(t *testing.T) {
		wantError(t, f.post(t, naming(refreshForm(token), apiTest), asWeb), http.StatusBadRequest, "invalid_target")
		wantAudience(t, f, f.post(t, naming(refreshForm(lost.text("refresh_token")), apiTest), asWeb), apiTest)
	})
	t.Run("and after the window it is reuse", func(t *testing.T) {
		f.advance(10 * time.Second)
		wantError(t, f.post(t, refreshForm(token), asWeb), http.StatusBadRequest, "invalid_grant")
		if n := f.grants(t); n != 0 {
			t.Errorf("%d grants live on", n)
		}
	})
}

func TestIntrospectByAudience(t *testing.T) {
	f := newFixture(t)
	tokenFor := func(resources ...string) url.Values {
		return form("token", wantToken(t, f.post(t, naming(passwordForm("alice", "secret123"), resources...), asWeb)).text("access_token"))
	}
	forAPI, forBoth, forAll := tokenFor(apiTest), tokenFor(apiTest, otherTest), tokenFor()

	t.Run("8707-2-05 7662-4-04 6750-5.3-03 another resource server learns nothing", func(t *testing.T) {
		active(t, f.introspect(t, forAPI, asRS1))
		inactive(t, f.introspect(t, forAPI, asRS2))
		if ev := f.events.last(t); ev.ClientID != "rs2" || ev.Err != nil {
			t.Errorf("noted %+v", ev)
		}
	})
	t.Run("7662-2.2-02 aud is a string when there is one", func(t *testing.T) {
		if got := active(t, f.introspect(t, forAPI, asRS1)).json["aud"]; got != apiTest {
			t.Errorf("aud is %v", got)
		}
	})
	t.Run("7662-2.2-02 and an array when there are several", func(t *testing.T) {
		got := active(t, f.introspect(t, forBoth, asGateway)).json["aud"]
		if d := cmp.Diff(any([]any{apiTest, otherTest}), got); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
	t.Run("7662-2.2-02 and absent when the token is for all", func(t *testing.T) {
		for _, as := range []change{asRS1, asRS2, asGateway} {
			if got, there := active(t, f.introspect(t, forAll, as)).json["aud"]; there {
				t.Errorf("aud is %v", got)
			}
		}
	})
	t.Run("7662-2.2-06 each of several is told of itself alone", func(t *testing.T) {
		one, two := active(t, f.introspect(t, forBoth, asRS1)), active(t, f.introspect(t, forBoth, asRS2))
		if one.json["aud"] != apiTest || two.json["aud"] != otherTest {
			t.Errorf("rs1 is told %v, rs2 %v", one.json["aud"], two.json["aud"])
		}
	})
	t.Run("7662-2.2-02 iss is the issuer", func(t *testing.T) {
		if got := active(t, f.introspect(t, forAPI, asRS1)).json["iss"]; got != "https://as.test" {
			t.Errorf("iss is %v", got)
		}
	})
	t.Run("the audience is the access token's, not the grant's", func(t *testing.T) {
		pair := f.post(t, naming(passwordForm("alice", "secret123"), apiTest, otherTest), asWeb)
		narrowed := form("token", f.post(t, naming(refreshForm(pair.text("refresh_token")), apiTest), asWeb).text("access_token"))
		active(t, f.introspect(t, narrowed, asRS1))
		inactive(t, f.introspect(t, narrowed, asRS2))
	})
}

func TestIntrospectByBearerAndAudience(t *testing.T) {
	f := newBearerFixture(t)
	const issuer = "https://as.test"
	if err := f.store.CreateClient(t.Context(), storage.Client{
		ID: "rs3", Secret: storage.NewSecretVerifier("rs3-secret"),
		Grants: []string{"client_credentials"}, Scopes: []string{"introspect"}, Audiences: []string{otherTest, issuer},
	}); err != nil {
		t.Fatal(err)
	}
	bearer := func(t *testing.T, resources ...string) change {
		t.Helper()
		body := naming(form("grant_type", "client_credentials", "scope", "introspect"), resources...)
		return asBearer(wantToken(t, f.post(t, body, basic("rs3", "rs3-secret"))).text("access_token"))
	}
	token := func(t *testing.T, resource string) url.Values {
		t.Helper()
		return form("token", wantToken(t, f.post(t, naming(passwordForm("alice", "secret123"), resource), asWeb)).text("access_token"))
	}
	t.Run("7662-4-04 it sees the tokens for its client's audiences", func(t *testing.T) {
		as := bearer(t, issuer)
		active(t, f.introspect(t, token(t, otherTest), as))
		inactive(t, f.introspect(t, token(t, apiTest), as))
		active(t, f.introspect(t, token(t, ""), as))
	})
	t.Run("9700-2.3-03 a bearer token for another server is refused", func(t *testing.T) {
		a := wantError(t, f.introspect(t, token(t, otherTest), bearer(t, otherTest)), http.StatusUnauthorized, "invalid_token")
		if got := a.header.Get("WWW-Authenticate"); got != `Bearer realm="grantd", error="invalid_token"` {
			t.Errorf("WWW-Authenticate is %q", got)
		}
	})
	t.Run("a bearer whose client is gone is refused", func(t *testing.T) {
		as := bearer(t)
		active(t, f.introspect(t, token(t, otherTest), as))
		if err := f.store.DeleteClient(t.Context(), "rs3"); err != nil {
			t.Fatal(err)
		}
		wantError(t, f.introspect(t, token(t, otherTest), as), http.StatusUnauthorized, "invalid_token")
	})
}

// An audience is encoded correctly in JSON, whatever characters it has.
func TestAudienceSurvivesJSON(t *testing.T) {
	const odd = "https://api.test/a?b=%22&c='d';[e]"
	f := newFixture(t, func(c *authserver.Config) { c.Audiences = []string{odd} })
	wantAudience(t, f, f.post(t, naming(passwordForm("alice", "secret123"), odd), asWeb), odd)
}
