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

// Config configures an API. Store, Passwords, Keys, Scopes, Actor, Guard and
// Audit are required; every other field has a useful zero value.
type Config struct {
	Store     storage.Store
	Passwords *passhash.Hasher
	Keys      *opaque.Keys

	// Policy is the rule for new passwords.
	Policy passhash.Policy

	// Tokens has the keys that find the grant of a token. Without it nobody can
	// inspect a token, or end a grant by its token.
	Tokens opaque.Source

	// Legacy finds the tokens that another server issued. Default none.
	Legacy Legacy

	// Scopes are the scopes that a client may have. A client that is made
	// without scopes gets DefaultScopes.
	Scopes, DefaultScopes []string

	// Strict is as in authserver.Config: no client may be given the password grant.
	Strict bool

	// Path is the path of the issuer, such as /tenant, without a slash at its end.
	// The API is served below it, and at the root as well. Default none.
	Path string

	// Throttle limits the guessing of passwords. Default: no limit.
	Throttle *throttle.Limiter

	// Actor returns who is acting, from the context of the request. It must be
	// safe for concurrent use.
	Actor func(context.Context) Actor

	// Guard returns a handler that passes on the requests of those who may use the
	// API, and answers the others itself. A request that waited for events passes
	// it once more. Use [Anybody] if everybody who reaches the handler may do
	// everything.
	Guard func(http.Handler) http.Handler

	// Audit keeps the event, and returns once it is kept. It is called before each
	// change, with the outcome storage.Accepted; if it fails, the change isn't
	// made and the answer is 503. When the change fails it is called again, with
	// storage.Failure. It must be safe for concurrent use.
	Audit func(context.Context, storage.AuditEvent) error

	// Tell is called with events of what users did themselves. These are done
	// whether or not the event can be kept, so Tell returns at once. It must be safe
	// for concurrent use. Default: Audit, with its errors passed to Note.
	Tell func(context.Context, storage.AuditEvent)

	// ClientChanged is called with the id of a client whose record was changed, or
	// may have been, so that caches in the same process can forget the client. It is
	// called before the client's grants are ended and the request is answered. It
	// must be safe for concurrent use. Default: not called.
	ClientChanged func(id string)

	// Revoked is called for each revocation, once its grants are dead, with the
	// act that caused it. It must be safe for concurrent use. Default: not
	// called.
	Revoked func(cause storage.AuditAction)

	// Note is called with the error of each request that wasn't answered as asked,
	// and the context of the request; and with each error of the work in the
	// background, and a context of no request. The error holds no secret. Note
	// must be safe for concurrent use. Default: not called.
	Note func(context.Context, error)

	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Legacy finds the tokens that another server issued: see authserver.Legacy.
// Every storage.ErrNotFound may be wrapped.
type Legacy interface {
	// AnyGrant returns the kind of a token, and the grant that it stands for while
	// it is live, or storage.ErrNotFound. If a refresh token moved, or an access
	// token that isn't live any more, only the grant's id is returned, and moved.
	AnyGrant(ctx context.Context, text string) (kind opaque.Kind, g storage.Grant, moved bool, err error)

	// Forget makes the token, and the tokens issued with it, unknown.
	Forget(ctx context.Context, text string) error

	// EndGrant makes sure that no legacy token can create the grant any more.
	EndGrant(ctx context.Context, id storage.GrantID) error
}

// Actor is who is acting: a user through a client, a client for itself if there
// is no user, or, if Local, the operator of the machine directly on the store.
type Actor struct {
	Username, UserID string
	ClientID         string // the client that the user acts through, or that acts for itself
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

// Anybody is a Guard that lets everybody through, for an API that only its own process
// calls.
func Anybody(next http.Handler) http.Handler { return next }

// New returns an API, or an error that lists every fault of c. Call [API.Close]
// to end its work in the background.
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
		{slices.ContainsFunc(c.DefaultScopes, func(s string) bool { return !slices.Contains(c.Scopes, s) }), "DefaultScopes contains a scope that is not in Scopes"},
		{c.Path != "" && !strings.HasPrefix(c.Path, "/") || strings.HasSuffix(c.Path, "/"), "Path must begin with a slash and must not end with one"},
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

// Wait returns when the work in the background is done. No request may begin
// meanwhile.
func (a *API) Wait() { a.sweeper.Wait() }

// Close ends the work in the background and waits for it. If it interrupts a
// sweep, the grants are dead all the same, and the receipt tells what is left
// to do.
func (a *API) Close() {
	a.stopWaiting()
	a.sweeper.Close()
}

func (a *API) now() time.Time { return a.cfg.Now().UTC() }
