package storage

import (
	"context"
	"errors"
	"io"
	"time"
)

// The errors that callers of a store branch on. Stores wrap them; compare with
// errors.Is.
var (
	// ErrNotFound: there is no such record. For a grant it doesn't tell
	// whether it never existed, has expired or was revoked.
	ErrNotFound = errors.New("storage: not found")

	// ErrExists: the id or name is taken.
	ErrExists = errors.New("storage: already exists")

	// ErrConflict: somebody else changed the record first.
	ErrConflict = errors.New("storage: changed by somebody else")

	// ErrRevoked: a revocation came between the beginning of the sign-in and
	// the creation of its grant. Begin again, from the user's record on.
	ErrRevoked = errors.New("storage: a revocation came in between")

	// ErrUnavailable: the store can't answer now. It says nothing about the
	// record. A write may or may not have taken place; every write of this
	// package is safe to repeat.
	ErrUnavailable = errors.New("storage: unavailable")
)

// Store is everything that grantd keeps. All its methods are safe for
// concurrent use by any number of goroutines and processes, honour the
// context, and return an error that wraps ErrUnavailable when the store can't
// answer. Records returned are copies.
type Store interface {
	Grants
	Revocations
	Receipts
	Users
	Clients
	Keys
	Guesses
	Audit

	// Ping returns nil when the store can answer.
	Ping(ctx context.Context) error

	// Health returns the state of the store. It asks the store, which takes
	// about as long as two other calls.
	Health(ctx context.Context) Health

	// Close releases the store's resources. No method may be called after it.
	io.Closer
}

// Grants keeps one record for each grant.
type Grants interface {
	// CreateGrant keeps g and indexes it by user and by client, in one step.
	// It returns ErrExists when the id is taken by another grant, and
	// ErrRevoked, keeping nothing, when g.Epoch isn't the current epoch of
	// g's partition. Repeating a call that succeeded succeeds.
	CreateGrant(ctx context.Context, g Grant) error

	// LoadGrant returns the live grant, or ErrNotFound when it never existed,
	// has expired or was revoked.
	LoadGrant(ctx context.Context, id GrantID) (Grant, error)

	// SwapGrant replaces old by next in one step, and keeps r beside it until
	// r.Until (a zero r.Until keeps nothing and ends an earlier window). If
	// old.CheckSuccessor(next) fails, SwapGrant does nothing and returns its
	// error. Of any number of concurrent calls with the same old exactly one
	// succeeds; the others get ErrConflict, and ErrNotFound once the grant is
	// gone (RFC 9700 section 4.14.2). Repeating a call that succeeded succeeds,
	// as long as nobody swapped after it. old may have been loaded long ago:
	// the call is a conflict unless old's access token is still that of the
	// grant.
	SwapGrant(ctx context.Context, old, next Grant, r Retry) error

	// LoadRetry returns the Retry that the last swap kept, or ErrNotFound once
	// the retry window is closed. In a store whose writes wait for replicas
	// this call waits too, so that a failover doesn't undo its answer.
	LoadRetry(ctx context.Context, id GrantID) (Retry, error)

	// DeleteGrant ends the grant and with it every token that addresses it
	// (RFC 7009 section 2.1). An unknown id is no error.
	DeleteGrant(ctx context.Context, id GrantID) error
}

// User is a resource owner. Its ID comes from NewUserID, so no client has it. Its Name
// is in the form that passhash.Username returns. Stores check neither.
type User struct {
	ID       string    `json:"id"`                 // never changes and is never reused; the "sub" of the user's tokens
	Name     string    `json:"name"`               // as compared: RFC 8265 UsernameCaseMapped
	Password string    `json:"password,omitempty"` // its hash, a PHC or crypt string; empty: can't sign in
	Disabled bool      `json:"disabled,omitempty"`
	Admin    bool      `json:"admin,omitempty"` // may be granted the scope "admin"
	Created  time.Time `json:"created"`
	Revision uint64    `json:"revision"` // counts changes, from 1; the store sets it
}

// Users keeps the resource owners, by name.
type Users interface {
	// CreateUser keeps u with revision 1, or returns ErrExists when the name
	// is taken.
	CreateUser(ctx context.Context, u User) error

	// LoadUser returns the user of that name, or ErrNotFound.
	LoadUser(ctx context.Context, name string) (User, error)

	// UpdateUser replaces the user of u.Name when its revision is u.Revision,
	// and counts the revision up. It returns ErrConflict when the revision is
	// another, or the user of that name was made anew (the id or the time of
	// creation differ), ErrNotFound when there is none of that name.
	UpdateUser(ctx context.Context, u User) error

	// DeleteUser deletes the user. An unknown name is no error. It doesn't end
	// the user's grants: see Revocations.
	DeleteUser(ctx context.Context, name string) error

	// ListUsers returns up to limit users whose name is greater than after, by
	// name in byte order.
	ListUsers(ctx context.Context, after string, limit int) ([]User, error)
}

// Client is an OAuth 2.0 client, RFC 6749 section 2.
//
// Its ID is visible ASCII without spaces, doesn't begin with UserIDPrefix, and has no
// colon, which ends the user-id in Basic credentials (RFC 7617 section 2). Stores check
// none of that.
//
// Its Audiences are the resource identifiers that it may ask for (RFC 8707).
// Without any it may ask for those that the server knows. A client that may
// introspect sees only tokens for its Audiences or for every resource server;
// without Audiences it sees all tokens.
type Client struct {
	ID             string         `json:"id"`
	Public         bool           `json:"public,omitempty"` // RFC 6749 section 2.1; a public client has no secret
	Secret         SecretVerifier `json:"secret,omitzero"`
	PreviousSecret SecretVerifier `json:"previous_secret,omitzero"` // the one before, also good before PreviousUntil
	PreviousUntil  time.Time      `json:"previous_until,omitzero"`
	Grants         []string       `json:"grants"` // values of grant_type that the client may use
	Scopes         []string       `json:"scopes"` // that the client may be granted
	RedirectURIs   []string       `json:"redirect_uris,omitempty"`
	Audiences      []string       `json:"audiences,omitempty"`
	Origins        []string       `json:"origins,omitempty"`         // of the pages in browsers that it runs on, in the form of the header Origin
	Introspect     bool           `json:"introspect,omitempty"`      // may introspect tokens (RFC 7662), like a resource server
	AccessLifetime time.Duration  `json:"access_lifetime,omitempty"` // of its access tokens; zero: the server's default
	Narrowed       bool           `json:"narrowed,omitempty"`        // lost rights, and its earlier grants may not be ended yet
	Created        time.Time      `json:"created"`
	Revision       uint64         `json:"revision"` // counts changes, from 1; the store sets it
}

// VerifySecret reports whether secret is valid for the client at that time: the
// current secret, or the previous one before its end. A public client has no
// secret. The time that it takes doesn't tell which secret matched.
func (c Client) VerifySecret(secret string, now time.Time) bool {
	current, previous := c.Secret.Verify(secret), c.PreviousSecret.Verify(secret)
	return current || previous && now.Before(c.PreviousUntil)
}

// SecretVerifier recognises a client secret. Secrets are random and long, so a
// salted SHA-256 is enough and keeps client authentication cheap. The zero
// SecretVerifier recognises nothing.
type SecretVerifier struct {
	Salt []byte `json:"salt"`
	Hash []byte `json:"hash"`
}

// Clients keeps the clients, by id.
type Clients interface {
	// CreateClient keeps c with revision 1, or returns ErrExists.
	CreateClient(ctx context.Context, c Client) error

	// LoadClient returns the client of that id, or ErrNotFound.
	LoadClient(ctx context.Context, id string) (Client, error)

	// UpdateClient does for a client what UpdateUser does for a user.
	UpdateClient(ctx context.Context, c Client) error

	// DeleteClient deletes the client. An unknown id is no error. It doesn't
	// end the client's grants: see Revocations.
	DeleteClient(ctx context.Context, id string) error

	// ListClients returns up to limit clients whose id is greater than after,
	// by id in byte order.
	ListClients(ctx context.Context, after string, limit int) ([]Client, error)
}

// Key is a deployment key, sealed under the deployment secret. The store never
// holds the secret, so whoever reads the store can't use its keys.
type Key struct {
	ID      byte      `json:"id"` // of the tokens minted under it
	Sealed  []byte    `json:"sealed"`
	Created time.Time `json:"created"`
}

// Keys keeps the deployment keys. See opaque.Loader for which of them mints.
type Keys interface {
	// CreateKey keeps k, or returns ErrExists when the id is taken.
	CreateKey(ctx context.Context, k Key) error

	// ListKeys returns all keys, by id.
	ListKeys(ctx context.Context) ([]Key, error)

	// DeleteKey deletes the key: tokens minted under it are no longer
	// recognised. An unknown id is no error.
	DeleteKey(ctx context.Context, id byte) error
}
