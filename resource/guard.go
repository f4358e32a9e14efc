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

// The reasons why a request is refused, as [Config.Note] gets them. Compare
// with errors.Is. The text that wraps them is for the operator; it is never
// sent.
var (
	// ErrNoCredentials: no token, or credentials of another scheme. 401.
	ErrNoCredentials = errors.New("resource: no bearer token")

	// ErrInvalidRequest: more than one token, or a broken form. 400.
	ErrInvalidRequest = errors.New("resource: invalid request")

	// ErrInvalidToken: garbled, unknown, expired, revoked or for another
	// resource server. 401. A [Validator] returns it too.
	ErrInvalidToken = errors.New("resource: invalid token")

	// ErrInsufficientScope: a good token that may not do this. 403.
	ErrInsufficientScope = errors.New("resource: insufficient scope")

	// ErrUnavailable: the validator can't judge the token now. 503.
	ErrUnavailable = errors.New("resource: the token can't be validated now")
)

var (
	errAudience = fmt.Errorf("%w: for another resource server", ErrInvalidToken)
	errNobody   = fmt.Errorf("%w: it has no subject", ErrInvalidToken)
)

// Validator judges access tokens. The guard calls it only with texts that fit
// the b64token grammar of RFC 6750 section 2.1, from many goroutines at once.
type Validator interface {
	// Validate returns the identity that the token stands for; its Subject must not be empty. For a bad token
	// it returns an error that wraps ErrInvalidToken. That includes expired tokens, because the guard has no
	// clock. It needn't check the audience: the guard does. Any other error means that the token can't be
	// judged now. The guard answers it with 503, so that no client throws a good token away.
	Validate(ctx context.Context, token string) (Identity, error)
}

// Config configures a Guard.
type Config struct {
	// Validator judges the tokens. Required.
	Validator Validator

	// Realm names the protection space in challenges (RFC 9110 section 11.5):
	// ASCII without control characters. Default: "api".
	Realm string

	// Resource is the identifier of the API, RFC 9728 section 1.2: the https URL
	// that its clients call (http for trying things out), or the common beginning
	// of its URLs. It has no user, query or fragment, doesn't end with a slash,
	// and its path has only characters that need no escaping. With it, challenges
	// tell clients where the API's metadata is: see [Guard.Metadata]. Default:
	// none, and no metadata.
	//
	// The guard refuses a token whose audience names neither Resource nor one of
	// Audiences (RFC 8707, RFC 9700 section 2.3). Without both fields it refuses
	// every token that has an audience. A token without an audience is for all
	// APIs.
	//
	// A client that finds the metadata through a challenge accepts it only if
	// Resource is exactly the URL that it called (section 3.3). For such
	// clients, make one guard for each URL.
	Resource string

	// Audiences are more identifiers that tokens may be for, beside Resource:
	// absolute URIs without a fragment. Identifiers are compared code point by
	// code point (RFC 9728 section 6). Default: none.
	Audiences []string

	// AuthorizationServers are the issuers whose tokens the API accepts, for the
	// metadata only. Write each exactly as the metadata of that server does.
	// Default: none.
	AuthorizationServers []string

	// Name is the API's name for people, for the metadata. Default: the realm.
	Name string

	// Documentation is the URL of a page for developers, for the metadata.
	// Default: none.
	Documentation string

	// FormBody makes the guard also accept the token as the parameter
	// access_token of a form body (RFC 6750 section 2.2) of POST, PUT and
	// PATCH. The guard then reads forms before the guarded handler runs; the
	// handler can still parse them. A form of more than 32 KiB is refused.
	// Default: false, only the Authorization header counts.
	FormBody bool

	// Note is called once for each refused request, with the reason: one of the
	// errors of this package, wrapped with its cause. The error never holds a
	// token. Note must be safe for concurrent use. Default: not called.
	Note func(context.Context, error)
}

// Guard lets requests with a valid access token through to handlers. It is safe
// for concurrent use.
type Guard struct {
	validator  Validator
	protection string   // begins every challenge: the realm, and the URL of the metadata
	audiences  []string // a token with an audience has to name one of these
	formBody   bool
	note       func(context.Context, error)

	place    string   // path of the metadata; empty when there is none
	about    metadata // the metadata without the scopes
	document atomic.Pointer[wellknown.Document]

	mu     sync.Mutex
	scopes map[string]bool // every scope that Require was called with
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
		return nil, fmt.Errorf("resource: Config.Realm %w", err)
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

// audiences returns all identifiers that tokens may be for. It doesn't check
// Resource; describe does.
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

// Require returns a middleware that guards a handler. A request whose token is
// valid and has all the scopes reaches the handler, which finds the token's
// [Identity] in the request's context (see [IdentityFrom]). The guard answers
// every other request itself (RFC 6750 section 3). The metadata names the
// scopes from now on.
//
// It panics when a scope isn't a scope-token of RFC 6749 section 3.3, as
// http.ServeMux does for a broken pattern: both are programming errors.
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

// identify returns the identity behind the request. Its errors are those of the
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

// isFor reports whether a token with that audience may be used here.
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
