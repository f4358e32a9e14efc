package resource

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// GrantLoader loads the grant that a token addresses. Every storage.Grants
// implements it.
type GrantLoader interface {
	// LoadGrant returns the live grant, or storage.ErrNotFound.
	LoadGrant(ctx context.Context, id storage.GrantID) (storage.Grant, error)
}

// LegacyTokens looks up access tokens of a server whose clients move over to
// this one.
type LegacyTokens interface {
	// AccessGrant returns the grant that a live access token stands for, or an
	// error that wraps storage.ErrNotFound.
	AccessGrant(ctx context.Context, token string) (storage.Grant, error)
}

// The reasons why a token is refused. Only the operator sees them.
var (
	errForged   = fmt.Errorf("%w: not made under this server's keys", ErrInvalidToken)
	errGone     = fmt.Errorf("%w: its grant has ended", ErrInvalidToken)
	errReplaced = fmt.Errorf("%w: replaced by a refresh", ErrInvalidToken)
	errExpired  = fmt.Errorf("%w: expired", ErrInvalidToken)
)

// StoreValidator is a Validator that asks the store of the authorization server.
// It keeps nothing between calls, so it refuses a revoked token from the next
// request on. It is safe for concurrent use.
type StoreValidator struct {
	keys   opaque.Source
	grants GrantLoader
	legacy LegacyTokens // nil: none are honoured
	now    func() time.Time
}

// ValidatorOption is an option of NewStoreValidator.
type ValidatorOption func(*StoreValidator)

// WithClock replaces time.Now as the clock by which tokens expire.
func WithClock(now func() time.Time) ValidatorOption {
	return func(v *StoreValidator) { v.now = now }
}

// WithLegacy makes the validator accept legacy tokens too: it looks up in t
// every text that was not made under its keys. Default: none are accepted.
func WithLegacy(t LegacyTokens) ValidatorOption {
	return func(v *StoreValidator) { v.legacy = t }
}

// NewStoreValidator returns a validator that accepts access tokens made under
// keys (an *opaque.Keyring or an *opaque.Loader) whose grants are kept in
// grants.
func NewStoreValidator(keys opaque.Source, grants GrantLoader, opts ...ValidatorOption) *StoreValidator {
	v := &StoreValidator{keys: keys, grants: grants, now: time.Now}
	for _, set := range opts {
		set(v)
	}
	return v
}

// Validate judges the token with one look-up. A text that was not made under one of the keys costs no
// look-up, unless WithLegacy was used. Validate returns errors of the store unchanged: a grant that can't
// be loaded says nothing about its token.
func (v *StoreValidator) Validate(ctx context.Context, token string) (Identity, error) {
	keys, err := v.keys.Keyring(ctx)
	if err != nil {
		return Identity{}, err
	}
	t, err := keys.Parse(opaque.Access, token)
	if errors.Is(err, opaque.ErrInvalid) {
		return v.validateLegacy(ctx, token)
	}
	if err != nil {
		return Identity{}, err // the token can't be judged now
	}
	g, err := v.grants.LoadGrant(ctx, t.Grant)
	if errors.Is(err, storage.ErrNotFound) {
		return Identity{}, errGone
	}
	if err != nil {
		return Identity{}, err
	}
	if g.Generation != t.Generation || !g.Access.Equal(t.Digest()) {
		return Identity{}, errReplaced
	}
	id := identityOf(g)
	if !v.now().Before(id.ExpiresAt) {
		return Identity{}, errExpired
	}
	return id, nil
}

// validateLegacy judges a text that was not made under the keys.
func (v *StoreValidator) validateLegacy(ctx context.Context, token string) (Identity, error) {
	if v.legacy == nil {
		return Identity{}, errForged
	}
	g, err := v.legacy.AccessGrant(ctx, token)
	if errors.Is(err, storage.ErrNotFound) {
		return Identity{}, fmt.Errorf("%w: %w", errForged, err)
	}
	if err != nil {
		return Identity{}, err
	}
	return identityOf(g), nil
}

func identityOf(g storage.Grant) Identity {
	id := Identity{
		Subject:   g.UserID,
		Username:  g.Username,
		ClientID:  g.ClientID,
		Scope:     g.AccessScope,
		IssuedAt:  g.Issued,
		ExpiresAt: g.AccessExpiry,
	}
	if g.AccessAudience != "" { // most tokens have none, and then nothing is allocated
		id.Audience = strings.Fields(g.AccessAudience)
	}
	if id.Subject == "" {
		id.Subject = g.ClientID
	}
	if g.End.Before(id.ExpiresAt) {
		id.ExpiresAt = g.End // no token outlives its grant
	}
	return id
}
