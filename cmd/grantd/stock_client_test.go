package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-oauth2/oauth2/v4"
	stockerrors "github.com/go-oauth2/oauth2/v4/errors"
	"github.com/go-oauth2/oauth2/v4/server"
	"golang.org/x/oauth2/clientcredentials"

	xoauth2 "golang.org/x/oauth2"
)

// clientDefects are about the authentication of the client.
var clientDefects = []defect{
	{
		ids:  "V01 6749-6-01 6749-6-02",
		text: "a refresh doesn't look at the client's secret",
		check: func(_ *testing.T, s target) error {
			return s.ask(web.wrong(), refreshForm(s.signIn(web, "read").refresh, "")).refused(401, "invalid_client")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V01 6749-5.2-06",
		text: "a refresh takes a client that doesn't exist",
		check: func(_ *testing.T, s target) error {
			return s.ask(account{"nosuch", "guess"}, refreshForm(s.signIn(web, "read").refresh, "")).refused(401, "invalid_client")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V02 6749-6-03 6749-5.2-10 6749-10.4-02",
		text: "a refresh token works for every other client",
		check: func(_ *testing.T, s target) error {
			return s.ask(mobile, refreshForm(s.signIn(web, "read").refresh, "")).refused(400, "invalid_grant")
		},
		shows: "200 with a token",
	},
	{
		ids:  "stock-06 6749-6-01 6749-6-06",
		text: "another client, with a wrong secret, turns a refresh token for read into one for everything",
		check: func(_ *testing.T, s target) error {
			return s.ask(mobile.wrong(), refreshForm(s.signIn(web, "read").refresh, "read write admin")).refused(401, "invalid_client")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V05 stock-04 6749-4.3.2-01 6749-4.3.2-02",
		text: "a client that fails to authenticate can try passwords",
		check: func(_ *testing.T, s target) error {
			right, wrong, lookups := s.bothPasswords(web.wrong())
			return differing(right, wrong, lookups, right.refused(401, "invalid_client"))
		},
		shows: "right password answers 401 invalid_client, a wrong one 500 server_error; passwords looked up: 2",
	},
	{
		ids:  "V06 stock-05 6749-5.2-11 6749-4.3-01",
		text: "a password is checked although the password grant is off",
		check: func(_ *testing.T, s target) error {
			right, wrong, lookups := s.bothPasswords(machine)
			return differing(right, wrong, lookups, right.refused(400, "unauthorized_client"))
		},
		toolkit: func(k *toolkit) { k.server.SetAllowedGrantType(oauth2.ClientCredentials, oauth2.Refreshing) },
		shows:   "right password answers 401 unauthorized_client, a wrong one 500 server_error; passwords looked up: 2",
	},
	{
		ids:  "stock-18 6749-4.3.2-02",
		text: "the way golang.org/x/oauth2 probes for the place of the secret has a password checked for an unauthenticated client",
		// It also probes when the secret is right and the password wrong. Both
		// requests are valid then, so no server can avoid these two checks.
		check: func(t *testing.T, s target) error {
			var err error
			config := xoauth2.Config{ClientID: web.id, ClientSecret: "wrong", Endpoint: xoauth2.Endpoint{TokenURL: s.token}}
			lookups := s.lookedUp(func() { _, err = config.PasswordCredentialsToken(t.Context(), stockUser, stockPassword) })
			if err == nil || lookups != 0 {
				return fmt.Errorf("passwords looked up: %d, want none (%w)", lookups, err)
			}
			return nil
		},
		shows: "passwords looked up: 1",
	},
	{
		ids:  "V08 stock-03 6749-5.2-06 6749-5.2-07",
		text: "an unknown client is a fault of the server",
		check: func(_ *testing.T, s target) error {
			return s.ask(account{"nosuch", "guess"}, signInForm("")).refused(401, "invalid_client")
		},
		shows: "500 server_error",
	},
	{
		ids:  "V09 stock-02 6749-5.2-08 7235-3.1-01 7617-2-01",
		text: "a 401 has no challenge",
		check: func(_ *testing.T, s target) error {
			a := s.ask(web.wrong(), machineForm)
			if a.status != http.StatusUnauthorized || !strings.HasPrefix(a.challenge(), `Basic realm="`) {
				return fmt.Errorf("answers %s with the challenge %q, want 401 and Basic", a, a.challenge())
			}
			return nil
		},
		shows: `401 invalid_client with the challenge ""`,
	},
	{
		ids:  "V10 stock-19 6749-2.3.1-02 6749-2.3.1-01",
		text: "golang.org/x/oauth2 encodes an id and a secret, and nobody decodes them",
		check: func(t *testing.T, s target) error {
			config := xoauth2.Config{ClientID: odd.id, ClientSecret: odd.secret, Endpoint: xoauth2.Endpoint{
				TokenURL: s.token, AuthStyle: xoauth2.AuthStyleInHeader,
			}}
			_, err := config.PasswordCredentialsToken(t.Context(), stockUser, stockPassword)
			return err
		},
		shows: "server_error", // since the id isn't found: V08
	},
	{
		ids:  "V10 6749-2.3.1-02",
		text: "the same with an id that needs no encoding",
		check: func(t *testing.T, s target) error {
			config := clientcredentials.Config{
				ClientID: encoded.id, ClientSecret: encoded.secret, TokenURL: s.token, AuthStyle: xoauth2.AuthStyleInHeader,
			}
			_, err := config.Token(t.Context())
			return err
		},
		shows: "invalid_client",
	},
	{
		ids:  "V11 6749-2.3.1-05",
		text: "a client can authenticate in the URI",
		check: func(_ *testing.T, s target) error {
			query := url.Values{"client_id": {web.id}, "client_secret": {web.secret}}
			return s.send(http.MethodPost, s.token+"?"+query.Encode(), machineForm.Encode(), "Content-Type", formType).refused(401, "invalid_client")
		},
		toolkit: func(k *toolkit) { k.server.SetClientInfoHandler(server.ClientFormHandler) },
		shows:   "200 with a token",
	},
	{
		ids:  "V12 6749-2.3-02 6749-5.2-05",
		text: "of two authentication methods at once one is ignored",
		check: func(_ *testing.T, s target) error {
			form := url.Values{"grant_type": {"client_credentials"}, "client_id": {mobile.id}, "client_secret": {mobile.secret}}
			return s.ask(web, form).refused(400, "invalid_request")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V13 6749-4.4.2-01",
		text: "a client that was stored without a secret accepts every secret",
		check: func(_ *testing.T, s target) error {
			return s.ask(account{blank.id, "guess"}, machineForm).refused(401, "invalid_client")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V14 6749-2.3.1-01",
		text: "no handler serves public clients, and confidential ones by Basic, at once",
		check: func(_ *testing.T, s target) error {
			if err := s.ask(web, machineForm).ok(); err != nil {
				return fmt.Errorf("by Basic: %w", err)
			}
			form := signInForm("")
			form.Set("client_id", spa.id)
			if err := s.send(http.MethodPost, s.token, form.Encode(), "Content-Type", formType).ok(); err != nil {
				return fmt.Errorf("by client_id: %w", err)
			}
			return nil
		},
		shows: "by client_id: answers 401 invalid_client",
	},
	{
		ids:  "V14 6749-2.3.1-01 6749-2.3.1-04",
		text: "the other handler refuses Basic",
		check: func(_ *testing.T, s target) error {
			form := url.Values{"grant_type": {"client_credentials"}, "client_id": {web.id}, "client_secret": {web.secret}}
			if err := s.send(http.MethodPost, s.token, form.Encode(), "Content-Type", formType).ok(); err != nil {
				return fmt.Errorf("in the body: %w", err)
			}
			if err := s.ask(web, machineForm).ok(); err != nil {
				return fmt.Errorf("by Basic: %w", err)
			}
			return nil
		},
		toolkit: func(k *toolkit) { k.server.SetClientInfoHandler(server.ClientFormHandler) },
		shows:   "by Basic: answers 401 invalid_client",
	},
}

var machineForm = url.Values{"grant_type": {"client_credentials"}}

// bothPasswords signs in with the right and with a wrong password.
func (s target) bothPasswords(c account) (right, wrong answer, lookups int) {
	lookups = s.lookedUp(func() {
		right = s.ask(c, signInForm(""))
		wrong = s.ask(c, passwordForm(stockUser, "wrong", ""))
	})
	return right, wrong, lookups
}

// differing returns an error when the answers to a right and a wrong password
// differ, or when a password was looked up at all; else err.
func differing(right, wrong answer, lookups int, err error) error {
	if right.String() != wrong.String() || right.body != wrong.body || lookups != 0 {
		return fmt.Errorf("the right password answers %s, a wrong one %s; passwords looked up: %d", right, wrong, lookups)
	}
	return err
}

// answerDefects are about the form of a refusal.
var answerDefects = []defect{
	{
		ids:  "stock-01 6749-5.2-02 6749-4.3.3-01",
		text: "a wrong password is a fault of the server when the handler of the example refuses it",
		check: func(_ *testing.T, s target) error {
			return s.ask(web, passwordForm(stockUser, "wrong", "")).refused(400, "invalid_grant")
		},
		shows: "500 server_error",
	},
	{
		ids:  "V20 stock-02 6749-5.2-02",
		text: "invalid_grant is a 401",
		check: func(_ *testing.T, s target) error {
			return s.ask(web, passwordForm(stockUser, "wrong", "")).refused(400, "invalid_grant")
		},
		toolkit: func(k *toolkit) { k.server.SetPasswordAuthorizationHandler(k.verify(stockerrors.ErrInvalidGrant)) },
		shows:   "401 invalid_grant",
	},
	{
		ids:  "V20 6749-5.2-02",
		text: "so it is for a refresh token",
		check: func(_ *testing.T, s target) error {
			return s.ask(web, refreshForm("made-up", "")).refused(400, "invalid_grant")
		},
		shows: "401 invalid_grant",
	},
	{
		ids:  "V21 6749-5.2-01 6749-5.2-11",
		text: "unauthorized_client is a 401",
		check: func(_ *testing.T, s target) error {
			return s.ask(machine, signInForm("")).refused(400, "unauthorized_client")
		},
		toolkit: func(k *toolkit) {
			k.server.SetClientAuthorizedHandler(func(id string, grant oauth2.GrantType) (bool, error) {
				return id != machine.id || grant == oauth2.ClientCredentials, nil
			})
		},
		shows: "401 unauthorized_client",
	},
	{
		ids:  "V21 V22 6749-5.2-03",
		text: "a missing grant_type is an unsupported one, with 401",
		check: func(_ *testing.T, s target) error {
			return s.ask(web, url.Values{"username": {stockUser}, "password": {stockPassword}}).refused(400, "invalid_request")
		},
		shows: "401 unsupported_grant_type",
	},
	{
		ids:  "V21 6749-5.2-01 6749-4.5-01",
		text: "unsupported_grant_type is a 401",
		check: func(_ *testing.T, s target) error {
			return s.ask(web, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:saml2-bearer"}}).refused(400, "unsupported_grant_type")
		},
		shows: "401 unsupported_grant_type",
	},
	{
		ids:  "V23 6749-5.2-12",
		text: "a grant that the toolkit has, but the server doesn't offer, is unauthorized_client",
		check: func(_ *testing.T, s target) error {
			form := url.Values{"grant_type": {"authorization_code"}, "code": {"made-up"}, "redirect_uri": {"http://127.0.0.1/callback"}}
			return s.ask(web, form).refused(400, "unsupported_grant_type")
		},
		toolkit: func(k *toolkit) { k.server.SetAllowedGrantType(oauth2.PasswordCredentials) },
		shows:   "401 unauthorized_client",
	},
	{
		ids:  "V24 6749-5.2-14 6749-5.2-01",
		text: "without a handler passwords are refused with a code of another endpoint",
		check: func(_ *testing.T, s target) error {
			a := s.ask(web, passwordForm(stockUser, "wrong", ""))
			codes := []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
			if a.status != http.StatusBadRequest || !slices.Contains(codes, a.member("error")) {
				return fmt.Errorf("answers %s, want 400 and a code of RFC 6749 section 5.2", a)
			}
			return nil
		},
		toolkit: func(k *toolkit) {
			k.server.SetPasswordAuthorizationHandler(server.NewDefaultServer(k.manager).PasswordAuthorizationHandler)
		},
		shows: "403 access_denied",
	},
	{
		ids:  "V30 6749-5.1-04 6750-5.2-02",
		text: "a lifetime of 0 lets access tokens live for ever, and announces that they have expired",
		check: func(_ *testing.T, s target) error {
			a := s.ask(web, signInForm(""))
			if n, _ := a.members["expires_in"].(float64); a.ok() != nil || n < 1 {
				return fmt.Errorf("answers %s with expires_in %v, want a lifetime", a, a.members["expires_in"])
			}
			return nil
		},
		toolkit: func(k *toolkit) { k.lifetimes(0, week) },
		grantd:  func(c *config) { c.AccessLifetime = 0 },
		shows:   "expires_in 0",
	},
}
