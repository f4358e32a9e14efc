package resource

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/grantd/grantd/internal/wellknown"
	"github.com/grantd/grantd/storage"
)

// Why a request was refused: what [Config.Note] is told. Compare with
// errors.Is; the text after them is for the operator and never sent.
var (
	// ErrNoCredentials: no token, or credentials of another scheme. 401.
	ErrNoCredentials = errors.New("resource: no bearer token")

	// ErrInvalidRequest: more than one token, or a broken form. 400.
	ErrInvalidRequest = errors.New("resource: invalid request")

	// ErrInvalidToken: garbled, unknown, expired, revoked or for another
	// resource server. 401. It is also what a [Validator] returns.
	ErrInvalidToken = errors.New("resource: invalid token")

	// ErrInsufficientScope: a good token that may not do this. 403.
	ErrInsufficientScope = errors.New("resource: insufficient scope")

	// ErrUnavailable: the validator can't tell now. 503.
	ErrUnavailable = errors.New("resource: the token can't be validated now")
)

var (
	errAudience = fmt.Errorf("%w: for another resource server", ErrInvalidToken)
	errNobody   = fmt.Errorf("%w: it speaks for nobody", ErrInvalidToken)
)

// Validator judges access tokens. It is called with texts that fit the b64token
// grammar of RFC 6750 section 2.1, by many goroutines at once.
type Validator interface {
	// Validate returns whom the token speaks for, with a Subject, or an error that
	// wraps ErrInvalidToken, for a token that has expired too: a guard has no clock.
	// Whether it is for the guard's audience it needn't look at. Any other error says that the token can't be judged now
	// and is answered with 503, so that no client throws a good token away.
	Validate(ctx context.Context, token string) (Identity, error)
}

// Config configures a Guard.
type Config struct {
	// Validator judges the tokens. Needed.
	Validator Validator

	// Realm names the protection space in challenges (RFC 9110 section 11.5):
	// ASCII without control characters. Default: "api".
	Realm string

	// Resource is the identifier of the API, RFC 9728 section 1.2: the https URL
	// that its clients call, or http to try things; for an API of several URLs,
	// what they begin with. It has no user, query or fragment, doesn't end with a
	// slash, and has a path only of characters that need no escaping. With
	// it, challenges tell clients where the API's metadata is: see
	// [Guard.Metadata]. Default: none: there is no metadata.
	//
	// A token that is restricted to others is refused, and without Resource and
	// Audiences every one that is restricted (RFC 8707, RFC 9700 section 2.3); one
	// without an audience is for all.
	//
	// Clients that found the metadata through a challenge take it only when
	// Resource is the very URL that they called (section 3.3), so a guard of its
	// own for each URL serves them best.
	Resource string

	// Audiences are further identifiers that tokens may be for, beside Resource:
	// absolute URIs without a fragment. All are compared code point by code point
	// (RFC 9728 section 6). Default: none.
	Audiences []string

	// AuthorizationServers are the issuers whose tokens the API takes, for the
	// metadata: each exactly as its own metadata spells it. Default: none is told.
	AuthorizationServers []string

	// Name of the API for people, for the metadata. Default: the realm.
	Name string

	// Documentation is the URL of a page for developers, for the metadata.
	// Default: none.
	Documentation string

	// FormBody also accepts the token as parameter access_token of a form body
	// (RFC 6750 section 2.2) of POST, PUT and PATCH. Forms are then read before
	// the guarded handler runs, which can still parse them; a form of more than
	// 32 KiB is refused. Default: false, only the Authorization header counts.
	FormBody bool

	// Note is told, once for each refused request, why: one of the errors of
	// this package, with its cause. It never holds a token. It must be safe for
	// concurrent use. Default: nobody is told.
	Note func(context.Context, error)
}

// Guard lets requests with a valid access token through to handlers. It is safe
// for concurrent use.
type Guard struct {
	validator  Validator
	protection string   // what every challenge begins with: the realm, and where the metadata is
	audiences  []string // of which a token has to be for one, if it is restricted
	formBody   bool
	note       func(context.Context, error)

	place    string   // of the metadata; empty without any
	about    metadata // all but the scopes
	document atomic.Pointer[wellknown.Document]

	mu     sync.Mutex
	scopes map[string]bool // that Require was ever asked for
}

// New returns a guard, or an error that names the faulty field.
func New(c Config) (*Guard, error) {
	if c.Validator == nil {
		return nil, errors.New("resource: Config.Validator is missing")
	}
	if c.Realm == "" {
		c.Realm = "api"
	}
	realm, err := quoted(c.Realm)
	if err != nil {
		return nil, fmt.Errorf("resource: Config.Realm: %w", err)
	}
	if c.Note == nil {
		c.Note = func(context.Context, error) {}
	}
	if c.Name == "" {
		c.Name = c.Realm
	}
	g := &Guard{validator: c.Validator, protection: "realm=" + realm, formBody: c.FormBody, note: c.Note, scopes: map[string]bool{}}
	if g.audiences, err = c.audiences(); err != nil {
		return nil, err
	}
	if c.Resource != "" {
		if err := g.describe(c); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// audiences are all identifiers that tokens may be for. describe checks Resource.
func (c Config) audiences() ([]string, error) {
	for _, a := range c.Audiences {
		if !storage.ValidResource(a) {
			return nil, fmt.Errorf("resource: Config.Audiences: %q is not an absolute URI without a fragment", a)
		}
	}
	if c.Resource == "" {
		return c.Audiences, nil
	}
	return append([]string{c.Resource}, c.Audiences...), nil
}

// Require guards a handler: it answers requests itself (RFC 6750 section 3)
// unless their token is valid and has all the scopes. The handler finds the
// token's [Identity] in the request's context. The metadata names the scopes from
// now on.
//
// It panics when a scope isn't a scope-token of RFC 6749 section 3.3, as
// http.ServeMux does for a broken pattern: both are faults of the program.
func (g *Guard) Require(scopes ...string) func(http.Handler) http.Handler {
	scopes = slices.Clone(scopes)
	for _, s := range scopes {
		if !storage.ValidScopeToken(s) {
			panic(fmt.Sprintf("resource: %q is not a scope-token", s))
		}
	}
	if g.place != "" {
		g.tellScopes(scopes)
	}
	refusals := refusing(g.protection, scopes)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, err := g.identify(w, r)
			if err == nil {
				err = covers(id, scopes)
			}
			if err != nil {
				g.note(r.Context(), err)
				refusals.write(w, err)
				return
			}
			next.ServeHTTP(w, r.WithContext(withIdentity(r.Context(), id)))
		})
	}
}

// identify returns whom the request speaks for. Its errors are those of the
// package.
func (g *Guard) identify(w http.ResponseWriter, r *http.Request) (Identity, error) {
	token, err := g.token(w, r)
	if err != nil {
		return Identity{}, err
	}
	id, err := g.validator.Validate(r.Context(), token)
	if err != nil && !errors.Is(err, ErrInvalidToken) && !errors.Is(err, ErrUnavailable) {
		return Identity{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	switch {
	case err != nil:
		return Identity{}, err
	case id.Subject == "":
		return Identity{}, errNobody
	case !g.isFor(id.Audience):
		return Identity{}, errAudience
	}
	return id, nil
}

// isFor reports whether a token of that audience may be used here.
func (g *Guard) isFor(audience []string) bool {
	if len(audience) == 0 {
		return true
	}
	return slices.ContainsFunc(audience, func(s string) bool { return slices.Contains(g.audiences, s) })
}

func covers(id Identity, scopes []string) error {
	for _, s := range scopes {
		if !id.HasScope(s) {
			return fmt.Errorf("%w: %s is missing", ErrInsufficientScope, s)
		}
	}
	return nil
}
