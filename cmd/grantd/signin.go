package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/internal/wellknown"
)

// newAPIClient returns an HTTP client for a server. It notices quickly when there is no
// server, and follows no redirect, so that a token isn't sent elsewhere.
func newAPIClient() *http.Client {
	const patience = 5 * time.Second
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 wellknown.Proxy,
			DialContext:           (&net.Dialer{Timeout: patience}).DialContext,
			TLSHandshakeTimeout:   patience,
			ResponseHeaderTimeout: time.Minute,
			IdleConnTimeout:       time.Minute,
			ForceAttemptHTTP2:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// serverURL checks the URL of a server. Passwords and tokens are sent there, so it must
// use TLS or be on this machine. from is the flag or the variable with the URL.
func serverURL(from, text string) (wellknown.Identifier, error) {
	id, err := wellknown.Parse(text)
	switch {
	case err != nil:
		return id, usagef("%s %w", from, err).withHint("it looks like https://auth.example.com")
	case id.Scheme == "http" && !wellknown.Loopback(id.Host):
		return id, usagef("%s must be https: plain http would show the password and the token to the network", from).
			withHint("plain http is for loopback hosts only, such as http://127.0.0.1:8080")
	}
	return id, nil
}

// metadata is the part of a server's metadata that the commands use, RFC 8414.
type metadata struct {
	Issuer             string   `json:"issuer"`
	TokenEndpoint      string   `json:"token_endpoint"`
	RevocationEndpoint string   `json:"revocation_endpoint"`
	GrantTypes         []string `json:"grant_types_supported"`
}

// readMetadata reads the metadata of the server.
func readMetadata(ctx context.Context, c *http.Client, server wellknown.Identifier) (metadata, error) {
	var told metadata
	if err := getJSON(ctx, c, server.URL("oauth-authorization-server"), &told); err != nil {
		return told, err
	}
	// RFC 8414 section 3.3: with metadata of another issuer, passwords could go there.
	if strings.TrimSuffix(told.Issuer, "/") != server.Base {
		return told, failedf("the server at %s calls itself %s", server.Base, printable(told.Issuer, longestCell)).
			withHint("if that is the server you mean, give its URL: grantd login --server URL")
	}
	if !protected(told.TokenEndpoint) || told.RevocationEndpoint != "" && !protected(told.RevocationEndpoint) {
		return told, failedf("an endpoint in the metadata of %s is missing or doesn't use https", server.Base)
	}
	return told, nil
}

// protected reports whether the network can't read what is sent to the URL.
func protected(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" && u.Host != "" || u.Scheme == "http" && wellknown.Loopback(u.Hostname()))
}

const mostMetadata = 1 << 20 // bytes

func getJSON(ctx context.Context, c *http.Client, address string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return failedf("%s answers with status %d%s", address, resp.StatusCode, reasonOf(resp)).withHint(hintURL(address))
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, mostMetadata)).Decode(v); err != nil {
		return failedf("the answer of %s is not JSON", address).withHint(hintURL(address))
	}
	return nil
}

// reasonOf returns what an answer that isn't 200 says of the reason, behind a colon, or ""
// if it says nothing that is meant for people.
func reasonOf(resp *http.Response) string {
	const most = 1 << 10 // bytes
	body, _ := io.ReadAll(io.LimitReader(resp.Body, most))
	reason := ""
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media == "text/plain" || media == "" {
		reason, _, _ = strings.Cut(strings.TrimSpace(string(body)), "\n")
	}
	var e struct {
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &e) == nil {
		reason = e.Description
	}
	if reason == "" {
		return ""
	}
	return ": " + printable(reason, longestCell)
}

func hintURL(address string) string {
	if strings.HasPrefix(address, "http:") {
		return "check that the URL is that of a grantd server; if the server uses TLS, the URL begins with https"
	}
	return "check that the URL is that of a grantd server"
}

// credentials are what a session is begun with.
type credentials struct {
	username, password string // both empty: the client signs in for itself
	secret             string // of the client; empty for a public one
}

// begin asks for the first tokens of the session.
func (s *session) begin(ctx context.Context, c *http.Client, cred credentials) error {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, c)
	var t *oauth2.Token
	var err error
	if cred.username == "" {
		t, err = s.clientCredentials(ctx, cred.secret)
	} else {
		t, err = s.oauth(cred.secret).PasswordCredentialsToken(ctx, cred.username, cred.password)
	}
	if err != nil {
		return err
	}
	s.take(t)
	return nil
}

// renew spends the refresh token, or without one lets the client sign in again.
func (s *session) renew(ctx context.Context, c *http.Client) error {
	secret, err := s.secret()
	if err != nil {
		return err
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, c)
	var t *oauth2.Token
	switch {
	case s.RefreshToken != "":
		t, err = s.oauth(secret).TokenSource(ctx, &oauth2.Token{RefreshToken: s.RefreshToken}).Token()
	case s.Username == "" && secret != "":
		t, err = s.clientCredentials(ctx, secret)
	default:
		err = errNoRefresh
	}
	if err != nil {
		return err
	}
	s.take(t)
	return nil
}

var errNoRefresh = errors.New("the session can't be renewed")

func (s *session) take(t *oauth2.Token) {
	s.AccessToken, s.RefreshToken, s.Expires = t.AccessToken, t.RefreshToken, t.Expiry.UTC()
}

// secret returns the secret of the client, or "" for a public one.
func (s *session) secret() (string, error) {
	if s.ClientSecretFile == "" {
		return "", nil
	}
	secret, err := readSecretFile(s.ClientSecretFile)
	if err != nil {
		return "", failedf("reading the client's secret: %w", err)
	}
	return secret, nil
}

func (s *session) oauth(secret string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: s.ClientID, ClientSecret: secret, Scopes: []string{authserver.AdminScope},
		Endpoint: oauth2.Endpoint{TokenURL: s.TokenEndpoint, AuthStyle: authStyle(secret)},
	}
}

func (s *session) clientCredentials(ctx context.Context, secret string) (*oauth2.Token, error) {
	return (&clientcredentials.Config{
		ClientID: s.ClientID, ClientSecret: secret, Scopes: []string{authserver.AdminScope},
		TokenURL: s.TokenEndpoint, AuthStyle: authStyle(secret),
	}).Token(ctx)
}

// authStyle keeps the library from trying both styles, and from sending a header
// without a secret.
func authStyle(secret string) oauth2.AuthStyle {
	if secret == "" {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

// end revokes the sign-in at the server (RFC 7009).
func (s *session) end(ctx context.Context, c *http.Client) error {
	if s.RevocationEndpoint == "" {
		return errors.New("the server names no revocation endpoint")
	}
	secret, err := s.secret()
	if err != nil {
		return err
	}
	form := url.Values{"token": {s.AccessToken}}
	if s.RefreshToken != "" {
		form.Set("token", s.RefreshToken)
	}
	if secret == "" {
		form.Set("client_id", s.ClientID)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.RevocationEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if secret != "" {
		req.SetBasicAuth(url.QueryEscape(s.ClientID), url.QueryEscape(secret))
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers with status %d", resp.StatusCode)
	}
	return nil
}

// explainSignIn turns an error of the token endpoint into a failure with a hint.
func (s *session) explainSignIn(err error) error {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		return unreachable(s.Server, err)
	}
	f := failedf("signing in at %s: %s", s.Server, s.refusal(refused))
	switch refused.ErrorCode {
	case "invalid_client":
		return f.withHint(fmt.Sprintf("check that the client %s exists and that its secret is right; see grantd login --help", s.ClientID))
	case "invalid_grant":
		return f.withHint("check the name and the password, and that the user isn't disabled")
	case "invalid_scope":
		return f.withHint("only admins get the scope admin, and only from clients that have it; grantd user update NAME --admin makes a user an admin")
	case "unauthorized_client", "unsupported_grant_type":
		return f.withHint("choose a client that may with --client-id; for client_credentials also give --client-secret-file, and no --username")
	}
	if wait, err := strconv.ParseUint(refused.Response.Header.Get("Retry-After"), 10, 31); err == nil {
		return f.withHint(fmt.Sprintf("try again in %s", time.Duration(wait)*time.Second))
	}
	return f
}

// refusal says why the server refused, as far as the error code tells. invalid_scope
// means that the user isn't an admin, or that the client lacks the scope, which
// grantd-cli has.
func (s *session) refusal(e *oauth2.RetrieveError) string {
	switch {
	case e.ErrorCode == "invalid_grant" && s.Username != "":
		return "wrong name or password"
	case e.ErrorCode == "invalid_scope" && s.Username != "" && s.ClientID == loginClient:
		return printable(s.Username, longestCell) + " is no admin"
	}
	return signInText(e)
}

// signInText returns the text of the server, made safe for a terminal.
func signInText(e *oauth2.RetrieveError) string {
	if e.ErrorDescription != "" {
		return printable(e.ErrorDescription, longestText)
	}
	if e.ErrorCode != "" {
		return printable(e.ErrorCode, longestCell)
	}
	return "the server answers " + strconv.Itoa(e.Response.StatusCode)
}

// unreachable returns the failure for a request without an answer.
func unreachable(server string, err error) error {
	var known *failure
	if errors.As(err, &known) {
		return known // without the method and the URL that net/http adds
	}
	if errors.Is(err, context.Canceled) {
		return failedf("interrupted")
	}
	hint := "is it running, and is the URL right? --server names another"
	return failedf("the server at %s can't be reached: %w", server, plainNetwork(err)).withHint(cmp.Or(hintCA(err), hint))
}

// hintCA returns the hint for a certificate of an unknown CA, or "" for other errors.
func hintCA(err error) string {
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		return "if the CA is your own, name its file in SSL_CERT_FILE"
	}
	return ""
}

// plainNetwork returns err without the method and the URL.
func plainNetwork(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return errors.New(printable(err.Error(), longestText))
}
