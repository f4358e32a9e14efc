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

// GrantLoader loads the grant that a token addresses. Every storage.Grants is
// one.
type GrantLoader interface {
	// LoadGrant returns the live grant, or storage.ErrNotFound.
	LoadGrant(ctx context.Context, id storage.GrantID) (storage.Grant, error)
}

// LegacyTokens are the access tokens of a server whose clients move over to this
// one.
type LegacyTokens interface {
	// AccessGrant returns the grant that a live access token stands for, or an
	// error that wraps storage.ErrNotFound.
	AccessGrant(ctx context.Context, token string) (storage.Grant, error)
}

// Why a token is refused; told to the operator only.
var (
	errForged   = fmt.Errorf("%w: not made here", ErrInvalidToken)
	errGone     = fmt.Errorf("%w: its grant is gone", ErrInvalidToken)
	errReplaced = fmt.Errorf("%w: replaced by a refresh", ErrInvalidToken)
	errExpired  = fmt.Errorf("%w: expired", ErrInvalidToken)
)

// StoreValidator is a Validator that asks the store of the authorization server.
// It keeps nothing between calls, so a revoked token is refused by the next
// request. It is safe for concurrent use.
type StoreValidator struct {
	keys   opaque.Source
	grants GrantLoader
	legacy LegacyTokens // nil: none are honoured
	now    func() time.Time
}

// ValidatorOption is an option of NewStoreValidator.
type ValidatorOption func(*StoreValidator)

// WithClock replaces time.Now as the clock that tokens expire by.
func WithClock(now func() time.Time) ValidatorOption {
	return func(v *StoreValidator) { v.now = now }
}

// WithLegacy honours those tokens besides: texts that are no tokens made under the
// keys are looked up there. Default: none are.
func WithLegacy(t LegacyTokens) ValidatorOption {
	return func(v *StoreValidator) { v.legacy = t }
}

// NewStoreValidator returns a validator of the access tokens that were made
// under keys (an *opaque.Keyring, or an *opaque.Loader) and whose grants are
// kept in grants.
func NewStoreValidator(keys opaque.Source, grants GrantLoader, opts ...ValidatorOption) *StoreValidator {
	v := &StoreValidator{keys: keys, grants: grants, now: time.Now}
	for _, set := range opts {
		set(v)
	}
	return v
}

// Validate judges the token with one look-up, and with none when the token was
// not made under one of the keys, unless there are legacy tokens. Errors of the store are passed on as they
// are: that a grant can't be loaded says nothing of the token.
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
		return Identity{}, err // nobody can tell now
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
	if g.AccessAudience != "" { // most have none, and then nothing is allocated
		id.Audience = strings.Fields(g.AccessAudience)
	}
	if id.Subject == "" {
		id.Subject = g.ClientID
	}
	if g.End.Before(id.ExpiresAt) {
		id.ExpiresAt = g.End // nothing of a grant outlives it
	}
	return id
}
