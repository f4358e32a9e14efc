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

// Store is what the server needs of a storage.Store.
type Store interface {
	storage.Grants
	storage.Guesses
	Epoch(ctx context.Context, id storage.GrantID) (uint32, error)
	LoadUser(ctx context.Context, name string) (storage.User, error)
	UpdateUser(ctx context.Context, u storage.User) error
	LoadClient(ctx context.Context, id string) (storage.Client, error)
	ListClients(ctx context.Context, after string, limit int) ([]storage.Client, error)
}

// Config says how a server behaves. Issuer, Store, Keys, Passwords and Scopes are
// required; every other field has a useful zero value. Lifetimes are whole
// seconds.
type Config struct {
	// Issuer is the URL that the server is known by, RFC 8414 section 2: https, or
	// http to try things. It has no user, query or fragment, and a path only of
	// characters that need no escaping. Every URL that the server tells is made
	// of it, never of what a request says of its host. With https it is the caller
	// who sees to TLS, here or at a proxy (RFC 6749 section 3.2): the handlers
	// answer plain http too, passwords and all.
	Issuer string

	// Store is best one of package watched, and requests have a storage.Budget in their
	// contexts: else what one waits for a slow store adds up, call by call.
	//
	// Who keeps users otherwise than by package admin, in the store or behind
	// LoadUser, sees to what that package does:
	//
	//   - When a user is disabled, deleted, no admin any more or has a new password,
	//     first the record is changed and then storage.Revocations.Revoke ends the
	//     user's grants. Nothing else does: the user is looked up at a sign-in only,
	//     not at a refresh. The other way round, a sign-in between the two would live on.
	//   - A user's ID is one of storage.NewUserID, or has its prefix, and is never
	//     another user's; no client's ID has the prefix, or is a user's name
	//     (RFC 9700 section 4.15).
	//   - A user's Name is as passhash.Username returns it, which folds its case and
	//     width (RFC 8265). LoadUser is asked for such names, and for the empty one.
	Store Store

	Keys      opaque.Source
	Passwords *passhash.Hasher

	// Legacy are the tokens of a server that this one takes over from. Defaults to
	// none.
	Legacy Legacy

	// Realm of the challenges. Defaults to "grantd".
	Realm string

	// Scopes that the server knows. DefaultScopes are granted to a request
	// that names none; without any such a request is refused.
	Scopes, DefaultScopes []string

	// Audiences are the identifiers of the resource servers that a client may ask
	// tokens for when it has none of its own (RFC 8707): absolute URIs without a
	// fragment. Without any such a client's tokens are for every resource server.
	// The metadata lists them (RFC 9728 section 4).
	Audiences []string

	// AccessLifetime of access tokens, unless the client has its own. At least a
	// second; at most a day is wise, as grantd has it, but nothing here bounds it
	// but RefreshAbsolute, the end of a sign-in with a refresh token.
	// Defaults to 1 hour.
	AccessLifetime time.Duration

	// RefreshIdle is how long a refresh token lives when it isn't used.
	// Defaults to 14 days.
	RefreshIdle time.Duration

	// RefreshAbsolute is how long a sign-in lasts however often it is
	// refreshed. Defaults to 90 days.
	RefreshAbsolute time.Duration

	// RetryWindow is how long a refresh may be repeated and gives the same
	// pair again. Zero turns it off: then a repetition counts as reuse.
	RetryWindow time.Duration

	// Strict is the profile of RFC 9700 and of OAuth 2.1 as they are written.
	// Of what the server offers it tightens:
	//
	//   - The password grant isn't offered, to no client (RFC 9700 section 2.4,
	//     OAuth 2.1 section 10). It is refused as any unknown grant type is:
	//     no user is looked up and nothing is hashed. Sign-ins that were made
	//     with a password before live on until they end or are revoked.
	//   - A public client has no RetryWindow. Rotation is all that protects its
	//     refresh tokens (RFC 9700 section 2.2.2), so one that was spent is
	//     reuse at once and ends its grant (section 4.14.2), at the price of a
	//     sign-in whenever such a client loses an answer. A confidential
	//     client keeps the window: a thief would need its secret too.
	//   - Every token is restricted to resource servers (section 2.3): without a
	//     resource in the request and without Audiences of the client's own, to
	//     the server's Audiences.
	//
	// The rest of what they ask for holds in both profiles: refresh tokens are
	// rotated for every client, bound to it and to what was granted, and
	// expire when they aren't used (sections 2.2.2 and 4.14.2); clients are
	// authenticated for every grant, and client_credentials are for
	// confidential ones (section 2.5, OAuth 2.1 section 4.2); tokens and
	// secrets in a URI are never read (section 4.3.2, OAuth 2.1 section 2.4.1).
	Strict bool

	// DefaultClient is the public client that a request is attributed to when
	// it names no client; such a request needs no grant_type for a username and
	// a password. Empty: it is refused.
	DefaultClient string

	// Unthrottled turns off the limits on guessing, for tests that guess freely.
	// They are on by default, shared by all servers on the store, and answered
	// with 429, whether right or wrong. Those on passwords are told in package
	// throttle. Those on failed client authentications are 20 of one client id
	// and 120 in all from one network, an IPv4 address or an IPv6 /64, with one
	// back every 3 s, and every half second. The network is RemoteAddr's; where it
	// tells none only a user's limit over all networks holds, since others would be
	// everybody's.
	Unthrottled bool

	// Throttle is what limits guessing unless Unthrottled. An admin.Config of the
	// same process should have the same, so that what one changes the other
	// knows at once. Defaults to one of the server's own.
	Throttle *throttle.Limiter

	// Now is the clock. Defaults to time.Now.
	Now func() time.Time

	// RemoteAddr tells the address of the client. Defaults to that of the connection,
	// which behind a proxy is the proxy's: then everybody is one network.
	RemoteAddr func(*http.Request) netip.Addr

	// Note is called once for every request, with what became of it, for the
	// log and the audit trail. It must be safe for concurrent use.
	Note func(context.Context, Event)
}

// Event is what became of a request. It holds no secret and no token.
type Event struct {
	GrantType string // of the request, if the server offers it
	ClientID  string // of the authenticated client
	UserID    string // of the user who was granted something, or who would have been
	GrantID   string // of the grant that was made, refreshed or ended, or would have been
	Err       error  // nil when the request was answered as asked; else an *Error

	// Act is what the request did or was refused to do, for the audit trail. It is
	// empty for what is no act there: see Event.refuse.
	Act       storage.AuditAction
	Username  string // of the user with UserID
	Claimed   string // id of the client that the request failed to authenticate as, if there is such a client
	Throttled bool   // it was the last such failure before such requests are refused
	Reason    string // why it was refused: a fixed text, for people
}

// Server is the authorization server. It is safe for concurrent use.
type Server struct {
	cfg       Config
	challenge string         // of a 401, RFC 7617
	nobody    storage.Client // whose secret nobody has
	issuer    issuer
	clients   clientCache
	grants    grantMemory
	origins   originMemory
	limiter   *throttle.Limiter // nil when nothing is limited

	background storage.Background // grants that are being ended
	alone      atomic.Int64       // requests that go on without their client

	identifier wellknown.Identifier // of the server: its issuer
	document   wellknown.Document   // the metadata; nothing that it tells changes
}

// New returns a server, or an error that names every fault of c.
func New(c Config) (*Server, error) {
	c = withDefaults(c)
	if err := validate(c); err != nil {
		return nil, err
	}
	identifier, _ := wellknown.Parse(c.Issuer) // validate has seen it
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

// peer is the address at the other end of the connection; the zero Addr where there is none.
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
		{!every(c.Scopes, storage.ValidScopeToken), "Scopes holds what is not a scope token (RFC 6749 section 3.3)"},
		{!every(c.DefaultScopes, func(s string) bool { return slices.Contains(c.Scopes, s) }), "DefaultScopes holds a scope that is not in Scopes"},
		{!every(c.Audiences, storage.ValidResource), "Audiences holds what is not an absolute URI without a fragment (RFC 8707 section 2)"},
		{c.AccessLifetime < time.Second, "AccessLifetime is under a second"},
		{c.RefreshIdle < time.Second, "RefreshIdle is under a second"},
		{c.RefreshAbsolute < c.RefreshIdle, "RefreshAbsolute is less than RefreshIdle"},
		{c.RetryWindow < 0 || c.RetryWindow > maxRetryWindow, "RetryWindow is not between 0 and 30s"},
		{!realmText(c.Realm), "Realm has other than printable ASCII, or a quote or backslash"},
	}
	var errs []error
	for _, f := range faults {
		if f.bad {
			errs = append(errs, errors.New("authserver: "+f.text))
		}
	}
	return errors.Join(errs...)
}

// maxRetryWindow bounds how long a spent refresh token is still worth something.
const maxRetryWindow = 30 * time.Second

func realmText(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) < 0
}

// Wait returns when nothing is under way any more that requests began and don't wait for:
// grants are ended, and the limits are told of guesses, though the client hung up or was
// answered that the store took too long. It returns an error when ctx ends first. Whoever
// closes the store calls it before, when no requests come any more.
func (s *Server) Wait(ctx context.Context) error {
	return errors.Join(s.background.Wait(ctx), s.limiter.Wait(ctx))
}

// Handler serves everything that the server offers, at the paths of Routes.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for path, handler := range s.Routes() { // every method: the answer to a wrong one is JSON too
		mux.Handle(path, handler)
	}
	return mux
}

// Routes are what Handler answers, by path, for a mux of the caller's: the metadata
// and the endpoints. Those are below the issuer's path, where the metadata says that
// they are, and at the root as well, for a proxy that takes the path away.
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

// handlerFunc answers a request, or returns the error that it is to be answered
// with; it tells the event what the log should know.
type handlerFunc func(http.ResponseWriter, *http.Request, *Event) error

// endpoint runs a handler, notes what became of the request, and writes the
// error if there was one. Nothing that passes through it may be cached
// (RFC 6749 section 5.1).
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
