package resource

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/grantd/grantd/internal/wellknown"
)

const (
	maxQuestion    = 32 << 10 // bytes of the form that asks about a token, of which grantd takes as many
	maxAnswer      = 64 << 10 // bytes of an answer
	maxConnections = 128      // to the authorization server; all of them are kept for the next question
	usualTimeout   = 2 * time.Second
)

// Why a token is refused that the authorization server was asked about; told to the operator only.
var (
	errInactive  = fmt.Errorf("%w: inactive, says the authorization server", ErrInvalidToken)
	errTokenType = fmt.Errorf("%w: its token_type is not Bearer", ErrInvalidToken)
	errLong      = fmt.Errorf("%w: too long to ask about", ErrInvalidToken)
	errBound     = fmt.Errorf("%w: bound to a key, which nobody checks here", ErrInvalidToken)
	errIssuer    = fmt.Errorf("%w: of another issuer, or of one that isn't told", ErrInvalidToken)
)

// What is wrong with an answer. The texts quote nothing of it.
var (
	errTooLong   = errors.New("the answer is longer than 64 KiB")
	errMediaType = errors.New("the answer is not application/json: is Endpoint the introspection endpoint?")
	errNoAnswer  = errors.New("the connection broke, or what answers is no HTTP server")
)

// IntrospectionConfig configures an IntrospectionValidator.
type IntrospectionConfig struct {
	// Endpoint is the URL of the introspection endpoint, the introspection_endpoint
	// of the server's metadata (RFC 8414 section 2): https, or http on a loopback
	// host, without user, query and fragment. Needed.
	Endpoint string

	// ClientID and ClientSecret are what the API is known by to the authorization
	// server, as a client that may introspect. They are sent with HTTP Basic,
	// form-encoded (RFC 6749 section 2.3.1). Needed.
	ClientID, ClientSecret string

	// Issuer is whose tokens are taken, spelled as the server's metadata does: an
	// answer has to name it as iss. Default: iss isn't looked at.
	Issuer string

	// Timeout of one question, from the connection to the end of the answer. The
	// request's own context may end it sooner. Default: 2 s.
	Timeout time.Duration

	// Client asks, but follows no redirect, whatever its CheckRedirect says. Set it
	// for certificates of your own (TLS), a proxy or traces. Default: one that keeps
	// up to 128 connections of HTTP/1.1, and opens no more. One that speaks HTTP/2, as a
	// clone of http.DefaultTransport does, needs a SendPingTimeout, or goes on asking
	// through a dead connection for minutes.
	Client *http.Client

	// Now is the clock that tokens expire by. Default: time.Now.
	Now func() time.Time
}

// IntrospectionValidator is a Validator that asks the authorization server by token
// introspection, RFC 7662: it needs neither the store nor the keys. It keeps nothing
// between calls, so a revoked token is refused by the next request. It is safe for
// concurrent use.
type IntrospectionValidator struct {
	endpoint     string
	authenticate func(*http.Request)
	issuer       string
	timeout      time.Duration
	client       http.Client
	now          func() time.Time
}

// NewIntrospectionValidator returns a validator, or an error that names the faulty
// field. It asks nobody yet.
func NewIntrospectionValidator(c IntrospectionConfig) (*IntrospectionValidator, error) {
	endpoint, err := wellknown.Parse(c.Endpoint)
	switch {
	case err != nil:
		return nil, fmt.Errorf("resource: IntrospectionConfig.Endpoint %w", err)
	case endpoint.Scheme == "http" && !wellknown.Loopback(endpoint.Host):
		return nil, errors.New("resource: IntrospectionConfig.Endpoint must be https: plain http, which shows the token to the network, is for loopback hosts")
	case c.ClientID == "" || c.ClientSecret == "":
		return nil, errors.New("resource: IntrospectionConfig.ClientID or ClientSecret is missing")
	case c.Timeout < 0:
		return nil, errors.New("resource: IntrospectionConfig.Timeout is negative")
	}
	if _, err := wellknown.Parse(c.Issuer); c.Issuer != "" && err != nil {
		return nil, fmt.Errorf("resource: IntrospectionConfig.Issuer %w", err)
	}
	timeout := cmp.Or(c.Timeout, usualTimeout)
	if c.Client == nil {
		// No HTTP/2: a question that nobody answers leaves its connection open there, and
		// the next ones go the same dead way until TCP gives up. Here it ends with it.
		c.Client = &http.Client{Transport: &http.Transport{
			Proxy:               wellknown.Proxy,
			DialContext:         (&net.Dialer{Timeout: timeout}).DialContext, // else one that nobody waits for any more takes a place
			TLSHandshakeTimeout: timeout,
			MaxConnsPerHost:     maxConnections,
			MaxIdleConnsPerHost: maxConnections,
			IdleConnTimeout:     time.Minute,
		}}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	id, secret := url.QueryEscape(c.ClientID), url.QueryEscape(c.ClientSecret)
	v := &IntrospectionValidator{
		endpoint: c.Endpoint, issuer: c.Issuer, timeout: timeout, client: *c.Client, now: c.Now,
		authenticate: func(r *http.Request) { r.SetBasicAuth(id, secret) }, // a function, so that printing v doesn't tell them
	}
	// The next place would be given the token (RFC 7662 section 4).
	v.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return v, nil
}

// Validate asks about the token. It refuses an active one too that has expired by the
// validator's clock, has no sub, or is no Bearer token (RFC 7662 section 2.2), as one
// that is bound to a key isn't (cnf: RFC 8705 section 3.2, RFC 9449 section 6.2); nbf is
// left to the server, so that a fresh token isn't refused where clocks differ. An error
// that wraps ErrUnavailable says why there was no answer, or none that can be trusted,
// and holds neither the token nor the secret.
func (v *IntrospectionValidator) Validate(ctx context.Context, token string) (Identity, error) {
	if !isB64Token(token) {
		return Identity{}, errGarbled
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}.Encode() // RFC 7662 section 2.1
	if len(form) > maxQuestion {
		return Identity{}, errLong
	}
	ctx, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	a, err := v.ask(ctx, form)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: introspection at %s: %w", ErrUnavailable, v.endpoint, err)
	}
	return v.judge(a)
}

// ask returns the server's answer. Every body is read to its end, so that the connection
// serves the next question, unless it is too long.
func (v *IntrospectionValidator) ask(ctx context.Context, form string) (introspection, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, v.endpoint, strings.NewReader(form)) //nolint:gosec // whoever configures the API names the endpoint
	if err != nil {
		return introspection{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	// Not sent, being empty: asking changes nothing, so net/http may ask again when the
	// server has just closed an idle connection.
	r.Header["Idempotency-Key"] = nil
	v.authenticate(r)

	response, err := v.client.Do(r) //nolint:gosec // as above
	if err != nil {
		return introspection{}, tellable(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	switch {
	case response.StatusCode != http.StatusOK:
		return introspection{}, statusFault(response.StatusCode)
	case err != nil:
		return introspection{}, tellable(err)
	case len(body) > maxAnswer:
		return introspection{}, errTooLong
	case media != "application/json":
		return introspection{}, errMediaType
	}
	return parseIntrospection(body)
}

// tellable is what may be told of a call that failed. Faults of the protocol quote what
// the server wrote, in which the token or the secret could stand.
func tellable(err error) error {
	for u := (*url.Error)(nil); errors.As(err, &u); { // more than one where Client's transport is a client too
		err = u.Err
	}
	var network net.Error
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &network) || errors.As(err, &certificate) || errors.Is(err, context.Canceled) {
		return err
	}
	return errNoAnswer
}

// statusFault tells the operator what to do about an answer that isn't 200. None of
// them says anything of the token (RFC 7662 section 2.3).
func statusFault(status int) error {
	advice := "is Endpoint the introspection endpoint?"
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		advice = "check ClientID and ClientSecret, and that the client may introspect"
	case status == http.StatusTooManyRequests, status >= http.StatusInternalServerError:
		advice = "the authorization server is overloaded or faulty"
	case status >= 300 && status < 400:
		advice = "a redirect isn't followed, set Endpoint to where it leads if you trust it"
	}
	return fmt.Errorf("status %d: %s", status, advice)
}

// judge decides on an answer.
func (v *IntrospectionValidator) judge(a introspection) (Identity, error) {
	switch {
	case !a.active:
		return Identity{}, errInactive
	case a.tokenType != "" && !strings.EqualFold(a.tokenType, "Bearer"):
		return Identity{}, errTokenType
	case a.bound:
		return Identity{}, errBound
	case v.issuer != "" && a.issuer != v.issuer:
		return Identity{}, errIssuer
	case a.Subject == "":
		return Identity{}, errNobody
	case a.expires && !v.now().Before(a.ExpiresAt):
		return Identity{}, errExpired
	}
	return a.Identity, nil
}
