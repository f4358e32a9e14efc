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
	maxQuestion    = 32 << 10 // bytes of the form that asks about a token; grantd accepts no more
	maxAnswer      = 64 << 10 // bytes of an answer
	maxConnections = 128      // to the authorization server, all kept alive
	usualTimeout   = 2 * time.Second
)

// The reasons why an introspected token is refused. Only the operator sees them.
var (
	errInactive  = fmt.Errorf("%w: the authorization server says that it is inactive", ErrInvalidToken)
	errTokenType = fmt.Errorf("%w: its token_type is not Bearer", ErrInvalidToken)
	errLong      = fmt.Errorf("%w: too long for an introspection request", ErrInvalidToken)
	errBound     = fmt.Errorf("%w: bound to a key (cnf), which is not checked here", ErrInvalidToken)
	errIssuer    = fmt.Errorf("%w: its iss is missing, or is not IntrospectionConfig.Issuer", ErrInvalidToken)
)

// The faults of an answer. The texts quote nothing of it.
var (
	errTooLong   = errors.New("the answer is longer than 64 KiB")
	errMediaType = errors.New("the answer is not application/json: is Endpoint the introspection endpoint?")
	errNoAnswer  = errors.New("the connection broke, or the answer is not HTTP")
)

// IntrospectionConfig configures an IntrospectionValidator.
type IntrospectionConfig struct {
	// Endpoint is the URL of the introspection endpoint, the introspection_endpoint
	// of the server's metadata (RFC 8414 section 2): https, or http on a loopback
	// host, without user, query and fragment. Required.
	Endpoint string

	// ClientID and ClientSecret are the API's credentials at the authorization
	// server, those of a client that may introspect. They are sent with HTTP Basic,
	// form-encoded (RFC 6749 section 2.3.1). Required.
	ClientID, ClientSecret string

	// Issuer is the only issuer whose tokens are accepted, spelled as in the server's
	// metadata: every answer has to name it as iss. Default: iss is ignored.
	Issuer string

	// Timeout bounds one question, from the connection to the end of the answer. The
	// context of the request may end it sooner. Default: 2 s.
	Timeout time.Duration

	// Client sends the questions. It follows no redirect, whatever its CheckRedirect
	// says. Set it for your own certificates (TLS), a proxy or traces. A client that
	// speaks HTTP/2, such as one with a clone of http.DefaultTransport, needs a
	// SendPingTimeout: without it, it keeps asking through a dead connection for
	// minutes. Default: a client that opens and keeps up to 128 connections of HTTP/1.1.
	Client *http.Client

	// Now is the clock for the expiry of tokens. Default: time.Now.
	Now func() time.Time
}

// IntrospectionValidator is a Validator that asks the authorization server about each
// token, by token introspection (RFC 7662). It needs neither the store nor the keys. It
// keeps nothing between calls, so a revoked token is refused at the next request. It is
// safe for concurrent use.
type IntrospectionValidator struct {
	endpoint     string
	authenticate func(*http.Request)
	issuer       string
	timeout      time.Duration
	client       http.Client
	now          func() time.Time
}

// NewIntrospectionValidator returns a validator, or an error that names the faulty field.
// It doesn't connect to the server yet.
func NewIntrospectionValidator(c IntrospectionConfig) (*IntrospectionValidator, error) {
	endpoint, err := wellknown.Parse(c.Endpoint)
	switch {
	case err != nil:
		return nil, fmt.Errorf("resource: IntrospectionConfig.Endpoint %w", err)
	case endpoint.Scheme == "http" && !wellknown.Loopback(endpoint.Host):
		return nil, errors.New("resource: IntrospectionConfig.Endpoint must be https: plain http would show tokens to the network, and is only for loopback hosts")
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
		// HTTP/1.1, because it closes the connection of a question that got no answer.
		// HTTP/2 would send the next questions over the same dead connection until TCP
		// gives up.
		c.Client = &http.Client{Transport: &http.Transport{
			Proxy:               wellknown.Proxy,
			DialContext:         (&net.Dialer{Timeout: timeout}).DialContext, // so that an abandoned attempt doesn't hold its place for long
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
		authenticate: func(r *http.Request) { r.SetBasicAuth(id, secret) }, // a function, so that printing v doesn't reveal them
	}
	// A redirect would give the token to another server (RFC 7662 section 4).
	v.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return v, nil
}

// Validate asks about the token. It also refuses an active token that has expired by the
// validator's clock, that has no sub, or that isn't a bearer token (RFC 7662 section 2.2);
// a token bound to a key is none (cnf: RFC 8705 section 3.2, RFC 9449 section 6.2). It
// ignores nbf, which the server has checked, so that differing clocks don't refuse a fresh
// token. An error that wraps ErrUnavailable tells why there was no answer, or none that
// can be trusted; it holds neither the token nor the secret.
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

// ask returns the server's answer. It reads every body to its end, unless that is too
// long, so that the connection can serve the next question.
func (v *IntrospectionValidator) ask(ctx context.Context, form string) (introspection, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, v.endpoint, strings.NewReader(form)) //nolint:gosec // whoever configures the API names the endpoint
	if err != nil {
		return introspection{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	// This header isn't sent, because it is empty. It tells net/http that it may ask again
	// when the server has just closed an idle connection: a question changes nothing.
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

// tellable returns the part of a failed call's error that may be logged. Errors of the
// protocol are replaced, because they quote the server, which may echo the token or the
// secret.
func tellable(err error) error {
	for u := (*url.Error)(nil); errors.As(err, &u); { // several, if Client's transport is a client too
		err = u.Err
	}
	var network net.Error
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &network) || errors.As(err, &certificate) || errors.Is(err, context.Canceled) {
		return err
	}
	return errNoAnswer
}

// statusFault tells the operator what to do about an answer that isn't 200. Such an
// answer says nothing about the token (RFC 7662 section 2.3).
func statusFault(status int) error {
	advice := "is Endpoint the introspection endpoint?"
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		advice = "check ClientID and ClientSecret, and that the client may introspect"
	case status == http.StatusTooManyRequests, status >= http.StatusInternalServerError:
		advice = "the authorization server is overloaded or faulty"
	case status >= 300 && status < 400:
		advice = "redirects are not followed; set Endpoint to where this one leads, if you trust it"
	}
	return fmt.Errorf("status %d: %s", status, advice)
}

// judge accepts or refuses the token that an answer is about.
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
