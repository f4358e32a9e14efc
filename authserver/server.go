package authserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/authserver/throttle"
	"github.com/grantd/grantd/internal/wellknown"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// Store is the part of a storage.Store that the server needs.
type Store interface {
	storage.Grants
	storage.Guesses
	Epoch(ctx context.Context, id storage.GrantID) (uint32, error)
	LoadUser(ctx context.Context, name string) (storage.User, error)
	UpdateUser(ctx context.Context, u storage.User) error
	LoadClient(ctx context.Context, id string) (storage.Client, error)
	ListClients(ctx context.Context, after string, limit int) ([]storage.Client, error)
}

// Config configures a Server. Issuer, Store, Keys, Passwords and Scopes are
// required; every other field has a useful zero value. Lifetimes are whole
// seconds.
type Config struct {
	// Issuer is the URL that identifies the server, RFC 8414 section 2: https, or
	// http for trying things out. It has no user, query or fragment, and its path
	// has only characters that need no escaping. Every URL in the server's answers
	// is built from it, never from a request's Host header. The caller has to
	// provide TLS, here or at a proxy (RFC 6749 section 3.2): the handlers answer
	// plain http too, even when it carries passwords.
	Issuer string

	// Store should be wrapped by package watched, and the contexts of requests should
	// carry a storage.Budget. Otherwise the waits of one request for a slow store add
	// up, call by call.
	//
	// Package admin follows three rules for users. If you manage users without
	// it, in the store or behind LoadUser, follow them yourself:
	//
	//   - When you disable or delete a user, take away its admin mark or change its
	//     password, first change the record and then call storage.Revocations.Revoke to
	//     end the user's grants. Nothing else ends them: the server looks up the user at
	//     a sign-in, not at a refresh. In the other order, a sign-in between the two
	//     steps would live on.
	//   - A user's ID comes from storage.NewUserID, or has its prefix, and is
	//     never reused for another user. No client's ID has the prefix or equals a
	//     user's name (RFC 9700 section 4.15).
	//   - A user's Name is in the form that passhash.Username returns, with case and
	//     width folded (RFC 8265). LoadUser is called with such names, and with the
	//     empty name.
	Store Store

	Keys      opaque.Source
	Passwords *passhash.Hasher

	// Legacy finds the tokens of a server that this one takes over from. Defaults
	// to none.
	Legacy Legacy

	// Realm of the challenges. Defaults to "grantd".
	Realm string

	// Scopes that the server knows. A request that names no scope gets
	// DefaultScopes; if there are none it is refused.
	Scopes, DefaultScopes []string

	// Audiences are the identifiers of the resource servers that a client without
	// audiences of its own may ask tokens for (RFC 8707): absolute URIs without a
	// fragment. Without any, such a client's tokens are for every resource
	// server, and so they are when the request names no resource, unless Strict.
	// The metadata lists them (RFC 9728 section 4).
	Audiences []string

	// AccessLifetime of access tokens, unless the client has its own. At least a
	// second. A day at most is wise, and grantd allows no more, but this package
	// sets no upper bound. No access token outlives RefreshAbsolute in a sign-in
	// with a refresh token. Defaults to 1 hour.
	AccessLifetime time.Duration

	// RefreshIdle is how long an unused refresh token lives. Defaults to 14
	// days.
	RefreshIdle time.Duration

	// RefreshAbsolute is how long a sign-in lasts, however often it is
	// refreshed. Defaults to 90 days.
	RefreshAbsolute time.Duration

	// RetryWindow is how long a client may repeat a refresh and get the same
	// pair again, at most 30 s. Zero turns it off: then a repetition counts as
	// reuse.
	RetryWindow time.Duration

	// Strict turns on the profile of RFC 9700 and of OAuth 2.1 as they are
	// written. It makes three rules stricter:
	//
	//   - The password grant isn't offered to any client (RFC 9700 section 2.4,
	//     OAuth 2.1 section 10). It is refused like an unknown grant type: no
	//     user is looked up and nothing is hashed. Earlier sign-ins with a
	//     password live on until they end or are revoked.
	//   - A public client has no RetryWindow. Only rotation protects its
	//     refresh tokens (RFC 9700 section 2.2.2), so a spent one counts as
	//     reuse at once and ends its grant (section 4.14.2). The price: when
	//     such a client loses an answer, its user has to sign in again. A
	//     confidential client keeps the window, because a thief would need its
	//     secret too.
	//   - Every token is restricted to resource servers (section 2.3): when the
	//     request names no resource and the client has no Audiences of its own,
	//     to the server's Audiences.
	//
	// The profile's other rules always hold: refresh tokens are rotated for
	// every client, bound to it and to what was granted, and expire when they
	// aren't used (sections 2.2.2 and 4.14.2); clients are authenticated for
	// every grant, and only confidential clients may use client_credentials
	// (section 2.5, OAuth 2.1 section 4.2); tokens and secrets in a URI are
	// never read (section 4.3.2, OAuth 2.1 section 2.4.1).
	Strict bool

	// DefaultClient is the id of a public client. A request that names no
	// client counts as a request of this client, and needs no grant_type if it
	// has a username. Empty: requests that name no client are refused.
	DefaultClient string

	// Unthrottled turns off the limits on guessing, for tests that guess freely. By
	// default the limits are on. All servers on the store share them, and a guess
	// over a limit gets 429, whether right or wrong. Package throttle describes the
	// limits on passwords. The limits on failed client authentications from one
	// network (an IPv4 address or an IPv6 /64) are 20 for one client id, with one
	// back every 3 s, and 120 in all, with one back every half second. The network
	// is that of RemoteAddr. If it returns no address, only a user's limit over all
	// networks holds: limits of a network would then be everybody's.
	Unthrottled bool

	// Throttle limits guessing, unless Unthrottled is set. Give an admin.Config
	// in the same process the same limiter, so that each knows at once what the
	// other changes. Defaults to a limiter of the server's own.
	Throttle *throttle.Limiter

	// Now is the clock. Defaults to time.Now.
	Now func() time.Time

	// RemoteAddr returns the address of the client. Defaults to the address of the
	// connection. Behind a proxy that is the proxy's address, and all clients count
	// as one network.
	RemoteAddr func(*http.Request) netip.Addr

	// Note is called once for every request, with its outcome, for the log and
	// the audit trail. It must be safe for concurrent use.
	Note func(context.Context, Event)
}

// Event is the outcome of a request. It holds no secret and no token.
type Event struct {
	GrantType string // of the request, if the server offers it
	ClientID  string // of the authenticated client
	UserID    string // of the user whose grant it is, or would have been
	GrantID   string // of the grant that the request made, refreshed or ended, or would have
	Err       error  // nil when the request was answered as asked; else an *Error

	// Act is what the request did or was refused to do, for the audit trail. It is
	// empty if the trail needn't record the request: see Event.refuse.
	Act       storage.AuditAction
	Username  string // of the user with UserID
	Claimed   string // id of the existing client that the request failed to authenticate as
	Throttled bool   // this failure was the last before guesses are refused
	Reason    string // why the request was refused: a fixed text, for people
}

// Server is the authorization server. It is safe for concurrent use.
type Server struct {
	cfg       Config
	challenge string         // of a 401, RFC 7617
	nobody    storage.Client // stands in for unknown clients; nobody has its secret
	issuer    issuer
	clients   clientCache
	grants    grantMemory
	origins   originMemory
	limiter   *throttle.Limiter // nil: nothing is limited

	background storage.Background // grants that are being ended
	alone      atomic.Int64       // requests that go on even if their client hangs up

	identifier wellknown.Identifier // of the server: its issuer
	document   wellknown.Document   // the metadata; it never changes
}

// New returns a server, or an error that lists every fault of c.
func New(c Config) (*Server, error) {
	c = withDefaults(c)
	if err := validate(c); err != nil {
		return nil, err
	}
	identifier, _ := wellknown.Parse(c.Issuer) // validate has checked it
	s := &Server{
		cfg:        c,
		challenge:  fmt.Sprintf(`Basic realm="%s", charset="UTF-8"`, c.Realm),
		nobody:     storage.Client{Secret: storage.NewSecretVerifier("nobody")},
		issuer:     newIssuer(c),
		identifier: identifier,
	}
	if !c.Unthrottled {
		s.limiter = cmp.Or(c.Throttle, throttle.New(c.Store, c.Keys, s.now))
	}
	s.document = wellknown.NewDocument(s.describe())
	return s, nil
}

func withDefaults(c Config) Config {
	const day = 24 * time.Hour
	if c.Realm == "" {
		c.Realm = "grantd"
	}
	for _, d := range []struct {
		field    *time.Duration
		fallback time.Duration
	}{{&c.AccessLifetime, time.Hour}, {&c.RefreshIdle, 14 * day}, {&c.RefreshAbsolute, 90 * day}} {
		if *d.field == 0 {
			*d.field = d.fallback
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.RemoteAddr == nil {
		c.RemoteAddr = peer
	}
	if c.Note == nil {
		c.Note = func(context.Context, Event) {}
	}
	return c
}

// peer returns the address at the other end of the connection, or the zero Addr if there is
// none.
func peer(r *http.Request) netip.Addr {
	at, _ := netip.ParseAddrPort(r.RemoteAddr)
	return at.Addr()
}

func validate(c Config) error {
	_, issuer := wellknown.Parse(c.Issuer)
	faults := []struct {
		bad  bool
		text string
	}{
		{issuer != nil, fmt.Sprint("Issuer ", issuer)},
		{c.Store == nil, "Store is missing"},
		{c.Keys == nil, "Keys is missing"},
		{c.Passwords == nil, "Passwords is missing"},
		{len(c.Scopes) == 0, "Scopes is empty"},
		{!every(c.Scopes, storage.ValidScopeToken), "Scopes contains a value that is not a scope token (RFC 6749 section 3.3)"},
		{!every(c.DefaultScopes, func(s string) bool { return slices.Contains(c.Scopes, s) }), "DefaultScopes contains a scope that is not in Scopes"},
		{!every(c.Audiences, storage.ValidResource), "Audiences contains a value that is not an absolute URI without a fragment (RFC 8707 section 2)"},
		{c.AccessLifetime < time.Second, "AccessLifetime is shorter than a second"},
		{c.RefreshIdle < time.Second, "RefreshIdle is shorter than a second"},
		{c.RefreshAbsolute < c.RefreshIdle, "RefreshAbsolute is shorter than RefreshIdle"},
		{c.RetryWindow < 0 || c.RetryWindow > maxRetryWindow, "RetryWindow is not between 0 and 30s"},
		{!realmText(c.Realm), "Realm contains a double quote, a backslash, or a character that is not printable ASCII"},
	}
	var errs []error
	for _, f := range faults {
		if f.bad {
			errs = append(errs, errors.New("authserver: "+f.text))
		}
	}
	return errors.Join(errs...)
}

// maxRetryWindow bounds how long a spent refresh token may be retried.
const maxRetryWindow = 30 * time.Second

func realmText(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) < 0
}

// Wait waits for work that requests began but don't wait for themselves: the server goes
// on ending grants and counting guesses when the client hung up or was told that the
// store took too long. Wait returns an error when ctx ends first. Call it when no more
// requests come, before you close the store.
func (s *Server) Wait(ctx context.Context) error {
	return errors.Join(s.background.Wait(ctx), s.limiter.Wait(ctx))
}

// Handler serves everything that the server offers, at the paths of Routes.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for path, handler := range s.Routes() { // all methods: the answer to a wrong one is JSON too
		mux.Handle(path, handler)
	}
	return mux
}

// Routes returns the handlers of the metadata and the endpoints, by path, for a
// mux of the caller's own. The endpoints are below the issuer's path, as the
// metadata says, and at the root as well, for a proxy that strips the path.
func (s *Server) Routes() map[string]http.Handler {
	routes := map[string]http.Handler{s.identifier.Place(metadataName): s.endpoint(s.metadata)}
	for path, handler := range map[string]http.Handler{
		"/token":      s.endpoint(s.crossOrigin(s.token)),
		"/revoke":     s.endpoint(s.crossOrigin(s.revoke)),
		"/introspect": s.endpoint(s.introspect),
	} {
		routes[path] = handler
		routes[s.identifier.Path+path] = handler
	}
	return routes
}

// handlerFunc answers a request, or returns the error to answer with. It fills
// in the event for the log.
type handlerFunc func(http.ResponseWriter, *http.Request, *Event) error

// endpoint runs a handler, writes its error if there is one, and calls Note
// with the outcome. Its answers may not be cached (RFC 6749 section 5.1),
// unless the handler says otherwise.
func (s *Server) endpoint(handle handlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Cache-Control"], h["Pragma"], h["X-Content-Type-Options"] = noStore, noCache, noSniff
		var ev Event
		if err := handle(w, r, &ev); err != nil {
			e := asError(err)
			s.writeError(w, e)
			ev.refuse(e)
		}
		s.cfg.Note(r.Context(), ev)
	})
}
