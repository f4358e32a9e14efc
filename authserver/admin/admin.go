package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/authserver/throttle"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// Config says what the API works on. Store, Passwords, Keys, Scopes, Actor and Audit
// are required; every other field has a useful zero value.
type Config struct {
	Store     storage.Store
	Passwords *passhash.Hasher
	Keys      *opaque.Keys

	// Policy is what a password has to meet.
	Policy passhash.Policy

	// Tokens has the keys by which a token tells its grant. Without it nobody can
	// end a grant by its token.
	Tokens opaque.Source

	// Legacy has the tokens that another server issued. Default none.
	Legacy Legacy

	// Scopes that the server knows: those that a client may have. DefaultScopes
	// are those of a client that is made without any.
	Scopes, DefaultScopes []string

	// Strict is that of authserver.Config: no client may be given the password grant.
	Strict bool

	// Path is the issuer's, such as /tenant, without a slash at its end: the API is
	// found below it, and at the root as well. Default none.
	Path string

	// Throttle is what limits the guessing of passwords. Default nothing does.
	Throttle *throttle.Limiter

	// Actor tells who is acting, from the context of the request. It is called
	// by many goroutines at once.
	Actor func(context.Context) Actor

	// Guard lets through the requests of those who may use the API, and answers the
	// others. It is asked once more after what a request had to wait for. Needed:
	// [Anybody] where whoever reaches the handler may do everything.
	Guard func(http.Handler) http.Handler

	// Audit keeps the event, and returns once it is kept. It is called before each
	// act that changes something, with the outcome storage.Accepted; on an error
	// the act isn't done and the answer is 503. When the act fails it is called
	// again, with storage.Failure. It must be safe for concurrent use.
	Audit func(context.Context, storage.AuditEvent) error

	// Tell is told what users did themselves, which is done whether or not the event
	// can be kept, and returns at once. It must be safe for concurrent use. Default:
	// Audit, of whose errors Note is told.
	Tell func(context.Context, storage.AuditEvent)

	// ClientChanged is told the id of a client whose record was changed, or may have
	// been, for who remembers clients in the same process; before its grants are
	// ended and the act is answered. It must be safe for concurrent use. Default:
	// nobody is told.
	ClientChanged func(id string)

	// Revoked is told of each revocation, once its grants are dead, the act that
	// caused it. It must be safe for concurrent use. Default: nobody is told.
	Revoked func(cause storage.AuditAction)

	// Note is told, once for each request that wasn't answered as asked, why, with
	// the context of the request; and why work in the background failed, with a
	// context of no request. The error holds no secret. It must be safe for
	// concurrent use. Default: nobody is told.
	Note func(context.Context, error)

	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Legacy has the tokens that another server issued, see authserver.Legacy. Every
// storage.ErrNotFound may be wrapped.
type Legacy interface {
	// AccessGrant returns the grant that a live access token stands for, or
	// storage.ErrNotFound.
	AccessGrant(ctx context.Context, text string) (storage.Grant, error)

	// RefreshGrant returns the grant that a live refresh token stands for; of a token
	// that moved only its id; or storage.ErrNotFound.
	RefreshGrant(ctx context.Context, text string) (g storage.Grant, moved bool, err error)

	// Forget makes the token, and what was issued with it, unknown.
	Forget(ctx context.Context, text string) error

	// EndGrant makes sure that no token becomes the grant any more.
	EndGrant(ctx context.Context, id storage.GrantID) error
}

// Actor is who does something. Without a user a client acts for itself; Local is
// the machine's own operator, on the store itself.
type Actor struct {
	Username, UserID string
	ClientID         string // that the user acts through, or that acts itself
	Address          netip.Addr
	RequestID        string
	Local            bool
}

// API is the admin API. It is safe for concurrent use.
type API struct {
	cfg     Config
	handler http.Handler

	sweeper *Sweeper

	stopWaiting context.CancelFunc
	waiting     context.Context // ends when requests may no longer wait
}

// Anybody is a Guard that lets everybody through, as of an API that only its own process
// calls.
func Anybody(next http.Handler) http.Handler { return next }

// New returns an API, or an error that names every fault of c. [API.Close] ends
// the work that it does in the background.
func New(c Config) (*API, error) {
	if c.Note == nil {
		c.Note = func(context.Context, error) {}
	}
	if c.Tell == nil {
		c.Tell = func(ctx context.Context, ev storage.AuditEvent) {
			if lost := c.Audit(ctx, ev); lost != nil {
				c.Note(ctx, fmt.Errorf("keeping the audit event: %w", lost))
			}
		}
	}
	if c.ClientChanged == nil {
		c.ClientChanged = func(string) {}
	}
	if c.Revoked == nil {
		c.Revoked = func(storage.AuditAction) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if err := validate(c); err != nil {
		return nil, err
	}
	a := &API{cfg: c}
	a.sweeper = NewSweeper(c.Store, c.Note, c.Now)
	a.waiting, a.stopWaiting = context.WithCancel(context.Background())
	a.handler = a.mux()
	return a, nil
}

func validate(c Config) error {
	faults := []struct {
		bad  bool
		text string
	}{
		{c.Store == nil, "Store is missing"},
		{c.Passwords == nil, "Passwords is missing"},
		{c.Keys == nil, "Keys is missing"},
		{len(c.Scopes) == 0, "Scopes is empty"},
		{slices.ContainsFunc(c.DefaultScopes, func(s string) bool { return !slices.Contains(c.Scopes, s) }), "DefaultScopes holds a scope that is not in Scopes"},
		{c.Path != "" && !strings.HasPrefix(c.Path, "/") || strings.HasSuffix(c.Path, "/"), "Path doesn't begin with a slash, or ends with one"},
		{c.Actor == nil, "Actor is missing"},
		{c.Guard == nil, "Guard is missing"},
		{c.Audit == nil, "Audit is missing"},
	}
	var errs []error
	for _, f := range faults {
		if f.bad {
			errs = append(errs, errors.New("admin: "+f.text))
		}
	}
	return errors.Join(errs...)
}

// Wait returns when the work in the background is done. Nobody may begin an act
// meanwhile.
func (a *API) Wait() { a.sweeper.Wait() }

// Close ends the work in the background and waits for it. What it leaves undone
// of a sweep, its receipt tells of; the grants are dead all the same.
func (a *API) Close() {
	a.stopWaiting()
	a.sweeper.Close()
}

func (a *API) now() time.Time { return a.cfg.Now().UTC() }
