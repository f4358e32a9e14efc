package authserver_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/grantd/grantd/authserver"
)

// rawBasic sends credentials without form-encoding, as curl -u does.
func rawBasic(credentials string) change {
	return header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(credentials)))
}

func bodyClient(id, secret string) url.Values {
	return passwordForm("alice", "secret123", "client_id", id, "client_secret", secret)
}

func TestClientAuthentication(t *testing.T) {
	f := newFixture(t)
	user := passwordForm("alice", "secret123")

	for name, send := range map[string]func() answer{
		"6749-2.3.1-01 Basic":                            func() answer { return f.post(t, user, asWeb) },
		"6749-2.3.1-02 form-encoded reserved characters": func() answer { return f.post(t, user, basic(oddID, oddSecret)) },
		"7617-2.1-02 non-ASCII as it stands":             func() answer { return f.post(t, user, rawBasic(oddID+":"+oddSecret)) },
		"6749-2.3.1-04 credentials in the body":          func() answer { return f.post(t, bodyClient("web", webSecret)) },
		"7617-2-02 7235-2.1-01 the scheme in another case": func() answer {
			return f.post(t, user, header("Authorization", "bAsIc "+base64.StdEncoding.EncodeToString([]byte("web:"+webSecret))))
		},
		"7617-2-03 a colon in the secret, raw":          func() answer { return f.post(t, user, rawBasic("colon:a:b")) },
		"7617-2-03 a colon in the secret, form-encoded": func() answer { return f.post(t, user, rawBasic("colon:a%3Ab")) },
		"a secret that doesn't form-decode, raw":        func() answer { return f.post(t, user, rawBasic("percent:100%+1")) },
		"6749-2.3-02 the same client_id in the body":    func() answer { return f.post(t, passwordForm("alice", "secret123", "client_id", "web"), asWeb) },
		"a public client by its id":                     func() answer { return f.post(t, passwordForm("alice", "secret123", "client_id", "spa")) },
		"a public client by Basic with an empty secret": func() answer { return f.post(t, user, basic("spa", "")) },
		"a public client with an empty client_secret":   func() answer { return f.post(t, bodyClient("spa", "")) },
		"6749-2.3-02 the same odd client_id, form-encoded too": func() answer {
			return f.post(t, passwordForm("alice", "secret123", "client_id", oddID), basic(oddID, oddSecret))
		},
	} {
		t.Run(name, func(t *testing.T) { wantToken(t, send()) })
	}

	// Everything that fails looks the same, RFC 6749 section 5.2.
	var bodies = map[string]bool{}
	for name, send := range map[string]func() answer{
		"6749-5.2-07 wrong secret by Basic":                 func() answer { return f.post(t, user, basic("web", "bad")) },
		"6749-5.2-07 unknown client by Basic":               func() answer { return f.post(t, user, basic("ghost", "x")) },
		"6749-5.2-09 wrong secret in the body":              func() answer { return f.post(t, bodyClient("web", "bad")) },
		"6749-2.2-01 6749-5.2-06 no secret":                 func() answer { return f.post(t, passwordForm("alice", "secret123", "client_id", "web")) },
		"6749-2.2-01 an empty secret by Basic":              func() answer { return f.post(t, user, basic("web", "")) },
		"6749-5.2-06 no client at all":                      func() answer { return f.post(t, user) },
		"6749-5.2-20 scheme Bearer":                         func() answer { return f.post(t, user, header("Authorization", "Bearer x")) },
		"6749-5.2-20 scheme Digest":                         func() answer { return f.post(t, user, header("Authorization", "Digest x")) },
		"an empty Authorization header":                     func() answer { return f.post(t, user, header("Authorization", "")) },
		"6749-2.3.1-03 not base64":                          func() answer { return f.post(t, user, header("Authorization", "Basic !!!!")) },
		"6749-2.3.1-03 no colon":                            func() answer { return f.post(t, user, rawBasic("nocolon")) },
		"6749-2.3.1-03 a bad percent escape":                func() answer { return f.post(t, user, rawBasic("web:%zz")) },
		"7617-2-04 a NUL in the id":                         func() answer { return f.post(t, user, rawBasic("web\x00:"+webSecret)) },
		"7617-2-04 a line break in the secret":              func() answer { return f.post(t, user, rawBasic("web:"+webSecret+"\n")) },
		"7617-2-04 a form-encoded line break":               func() answer { return f.post(t, user, rawBasic("web:"+webSecret+"%0A")) },
		"6749-2.3-01 a secret for a public client":          func() answer { return f.post(t, user, basic("spa", "anything")) },
		"6749-2.3-01 a body secret for a public client":     func() answer { return f.post(t, bodyClient("spa", "anything")) },
		"a confidential client without a secret of its own": func() answer { return f.post(t, user, basic("secretless", "")) },
		"an id of 10,000 bytes":                             func() answer { return f.post(t, user, basic(strings.Repeat("x", 10000), "x")) },
		"a client assertion, which is not offered": func() answer {
			return f.post(t, passwordForm("alice", "secret123", "client_id", "web", "client_assertion", "e30.e30.x",
				"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"))
		},
		"6749-2.3.1-05 credentials in the query": func() answer {
			return f.send(t, http.MethodPost, "/token?client_id=web&client_secret="+webSecret, user.Encode())
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := wantError(t, send(), http.StatusUnauthorized, "invalid_client")
			bodies[string(a.body)] = true
			t.Run("6749-5.2-08 7235-2.2-01 7235-3.1-01 7617-2-01 7617-2.1-01 the 401 has a Basic challenge with a realm", func(t *testing.T) {
				if got, want := a.header.Values("WWW-Authenticate"), `Basic realm="grantd", charset="UTF-8"`; len(got) != 1 || got[0] != want {
					t.Errorf("WWW-Authenticate is %q, want %q", got, want)
				}
			})
		})
	}
	t.Run("6749-5.2-06 all failures have the same body", func(t *testing.T) {
		if len(bodies) != 1 {
			t.Errorf("%d different bodies: %v", len(bodies), bodies)
		}
	})

	for name, send := range map[string]func() answer{
		"6749-2.3-02 6749-5.2-05 Basic and a body secret": func() answer { return f.post(t, bodyClient("web", webSecret), asWeb) },
		"6749-5.2-05 two Authorization headers":           func() answer { return f.post(t, user, asWeb, header("Authorization", "Basic eDp5")) },
		"6749-5.2-05 Basic and a client assertion":        func() answer { return f.post(t, passwordForm("alice", "secret123", "client_assertion", "x"), asWeb) },
		"6749-2.3.2-01 another client_id in the body":     func() answer { return f.post(t, passwordForm("alice", "secret123", "client_id", "web2"), asWeb) },
	} {
		t.Run(name, func(t *testing.T) { wantError(t, send(), http.StatusBadRequest, "invalid_request") })
	}
}

func TestEveryGrantAuthenticatesTheClient(t *testing.T) {
	f := newFixture(t)
	pair := wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
	for grant, body := range map[string]url.Values{
		"6749-4.3.2-01 password":           passwordForm("alice", "secret123"),
		"6749-6-01 refresh_token":          refreshForm(pair.text("refresh_token")),
		"6749-4.4.2-01 client_credentials": form("grant_type", "client_credentials"),
	} {
		t.Run("6749-3.2.1-01 6749-10.2-01 9700-2.5-01 "+grant+" without a secret", func(t *testing.T) {
			without := url.Values{"client_id": {"web"}}
			for k, v := range body {
				without[k] = v
			}
			wantError(t, f.post(t, without), http.StatusUnauthorized, "invalid_client")
		})
		t.Run("6749-3.2.1-01 6749-10.2-01 9700-2.5-01 "+grant+" with a wrong secret", func(t *testing.T) {
			wantError(t, f.post(t, body, basic("web", "wrong")), http.StatusUnauthorized, "invalid_client")
		})
	}
	t.Run("6749-6-01 the refresh token still works afterwards", func(t *testing.T) {
		wantToken(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb))
	})
}

func TestDefaultClient(t *testing.T) {
	f := newFixture(t, func(c *authserver.Config) { c.DefaultClient = "spa" })
	t.Run("a form with only a username and a password is the default client's", func(t *testing.T) {
		wantToken(t, f.post(t, passwordForm("alice", "secret123", "scope", "")))
		if got := f.events.last(t).ClientID; got != "spa" {
			t.Errorf("attributed to %q", got)
		}
	})
	t.Run("such a form needs no grant_type", func(t *testing.T) {
		wantToken(t, f.post(t, form("username", "alice", "password", "secret123")))
		wantError(t, f.post(t, form("username", "alice")), http.StatusBadRequest, "invalid_request")
		wantError(t, f.post(t, form("password", "secret123")), http.StatusBadRequest, "invalid_request")
	})
	t.Run("empty Basic credentials name no client either", func(t *testing.T) {
		wantToken(t, f.post(t, passwordForm("alice", "secret123"), rawBasic(":")))
		if got := f.events.last(t).ClientID; got != "spa" {
			t.Errorf("attributed to %q", got)
		}
		wantToken(t, f.post(t, form("username", "alice", "password", "secret123"), rawBasic(":")))
	})
	t.Run("6749-2.3-02 beside a client in the body they are refused", func(t *testing.T) {
		wantError(t, f.post(t, bodyClient("web", webSecret), rawBasic(":")), http.StatusBadRequest, "invalid_request")
		wantError(t, f.post(t, passwordForm("alice", "secret123", "client_id", "spa"), rawBasic(":")), http.StatusBadRequest, "invalid_request")
		wantError(t, f.post(t, passwordForm("alice", "secret123", "client_assertion", "x"), rawBasic(":")), http.StatusBadRequest, "invalid_request")
	})
	t.Run("6749-5.2-06 without a default client they are nobody's", func(t *testing.T) {
		wantError(t, newFixture(t).post(t, passwordForm("alice", "secret123"), rawBasic(":")), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("6749-5.2-03 a form that names a client does", func(t *testing.T) {
		wantError(t, f.post(t, form("username", "alice", "password", "secret123", "client_id", "spa")), http.StatusBadRequest, "invalid_request")
	})
	t.Run("bad credentials don't fall back to it", func(t *testing.T) {
		wantError(t, f.post(t, passwordForm("alice", "secret123"), basic("web", "wrong")), http.StatusUnauthorized, "invalid_client")
		wantError(t, f.post(t, bodyClient("", "x")), http.StatusUnauthorized, "invalid_client")
	})
}
