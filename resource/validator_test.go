package resource_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

func TestAccessTokensExpire(t *testing.T) {
	a := newAPI(t)
	token := a.accessToken(t)
	for _, tt := range []struct {
		name   string
		after  time.Duration
		status int
	}{
		{"when issued", 0, 200},
		{"1 ms before expiry", accessLifetime - time.Millisecond, 200},
		{"at expiry", accessLifetime, 401},
		{"1 ms after expiry", accessLifetime + time.Millisecond, 401},
	} {
		t.Run("6749-7-01 7662-4-10 "+tt.name, func(t *testing.T) {
			a.at(signIn.Add(tt.after))
			a.get(t, "/users/me", "Bearer "+token).want(t, tt.status)
		})
	}
}

// The store keeps the record of an expired access token while the refresh token
// is good, so the validator checks the expiry itself.
func TestExpiryIsTheGuardsOwnAffair(t *testing.T) {
	g := storage.Grant{Generation: 1, AccessExpiry: signIn.Add(time.Hour), End: signIn.Add(30 * time.Minute)}
	v, token := one(t, &g, nil)
	for after, want := range map[time.Duration]error{
		30*time.Minute - time.Millisecond: nil,
		30 * time.Minute:                  resource.ErrInvalidToken,
		2 * time.Hour:                     resource.ErrInvalidToken,
	} {
		_, err := v(signIn.Add(after)).Validate(t.Context(), token)
		if !errors.Is(err, want) {
			t.Errorf("6749-7-01 %v after sign-in to a grant that ends after 30 min: %v, want %v", after, err, want)
		}
	}
}

// loaderFunc answers every look-up with one grant and one error.
type loaderFunc func() (storage.Grant, error)

func (f loaderFunc) LoadGrant(context.Context, storage.GrantID) (storage.Grant, error) { return f() }

// one returns an access token of g, and a function that makes a validator for a
// given time. The validator's store answers with the current g and the fault.
func one(t *testing.T, g *storage.Grant, fault error) (func(now time.Time) *resource.StoreValidator, string) {
	t.Helper()
	keys, err := opaque.NewKeyring(opaque.NewKey(1))
	if err != nil {
		t.Fatal(err)
	}
	token, digest := keys.Mint(opaque.Access, g.ID, g.Generation)
	g.Access = digest
	return func(now time.Time) *resource.StoreValidator {
		loader := loaderFunc(func() (storage.Grant, error) { return *g, fault })
		return resource.NewStoreValidator(keys, loader, resource.WithClock(func() time.Time { return now }))
	}, token
}

func TestOnlyTheCurrentTokenOfAGrantIsValid(t *testing.T) {
	for name, change := range map[string]func(*storage.Grant){
		"as it was issued":                                    func(*storage.Grant) {},
		"6749-7-01 the grant has another generation":          func(g *storage.Grant) { g.Generation++ },
		"6749-7-01 the grant keeps another digest":            func(g *storage.Grant) { g.Access[19] ^= 1 },
		"6749-7-01 the grant keeps no digest":                 func(g *storage.Grant) { g.Access = storage.Digest{} },
		"6749-7-01 the digest is that of the refresh token":   func(g *storage.Grant) { g.Refresh, g.Access = g.Access, storage.Digest{} },
		"6749-7-01 digest of the token, generation of before": func(g *storage.Grant) { g.Generation-- },
	} {
		t.Run(name, func(t *testing.T) {
			g := storage.Grant{ID: storage.NewGrantID("u"), Generation: 3, AccessExpiry: signIn.Add(1), End: signIn.Add(2)}
			v, token := one(t, &g, nil)
			change(&g)
			id, err := v(signIn).Validate(t.Context(), token)
			if good := strings.HasPrefix(name, "as"); good && err != nil {
				t.Error(err)
			} else if !good && (!errors.Is(err, resource.ErrInvalidToken) || !cmp.Equal(id, resource.Identity{})) {
				t.Errorf("%v, %v; want ErrInvalidToken and no identity", id, err)
			}
		})
	}
}

func TestIdentityOfAGrant(t *testing.T) {
	full := storage.Grant{
		Generation: 2, UserID: "u-1", Username: "alice", ClientID: "demo", Scope: "read write", AccessScope: "read",
		Created: signIn, Issued: signIn.Add(1 * time.Minute), AccessExpiry: signIn.Add(5 * time.Minute), End: signIn.Add(time.Hour),
	}
	userless := full
	userless.UserID, userless.Username = "", ""
	restricted := full
	restricted.Audience, restricted.AccessAudience = "https://api.test https://other.test urn:c", "https://other.test urn:c"
	for _, tt := range []struct {
		name  string
		grant storage.Grant
		want  resource.Identity
	}{
		{"of a user", full, resource.Identity{
			Subject: "u-1", Username: "alice", ClientID: "demo", Scope: "read", IssuedAt: full.Issued, ExpiresAt: full.AccessExpiry,
		}},
		{"RFC 9068 2.2: the client is the subject when there is no user", userless, resource.Identity{
			Subject: "demo", ClientID: "demo", Scope: "read", IssuedAt: full.Issued, ExpiresAt: full.AccessExpiry,
		}},
		{"with the audience of the access token, not of its grant", restricted, resource.Identity{
			Subject: "u-1", Username: "alice", ClientID: "demo", Scope: "read", IssuedAt: full.Issued, ExpiresAt: full.AccessExpiry,
			Audience: []string{"https://other.test", "urn:c"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, token := one(t, &tt.grant, nil)
			got, err := v(signIn).Validate(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFaultsOfTheStore(t *testing.T) {
	g := storage.Grant{Generation: 1, AccessExpiry: signIn.Add(1), End: signIn.Add(1)}
	for _, tt := range []struct{ fault, want error }{
		{storage.ErrNotFound, resource.ErrInvalidToken},
		{storage.ErrUnavailable, storage.ErrUnavailable},
		{storage.ErrEncoding, storage.ErrEncoding},
		{context.DeadlineExceeded, context.DeadlineExceeded},
	} {
		v, token := one(t, &g, tt.fault)
		id, err := v(signIn).Validate(t.Context(), token)
		if !errors.Is(err, tt.want) || !cmp.Equal(id, resource.Identity{}) {
			t.Errorf("the store says %v: %v, %v; want %v", tt.fault, id, err, tt.want)
		}
		if invalid := errors.Is(err, resource.ErrInvalidToken); invalid != errors.Is(tt.fault, storage.ErrNotFound) {
			t.Errorf("the store says %v: invalid token is %v", tt.fault, invalid)
		}
	}
}

type noKeys struct{}

func (noKeys) Keyring(context.Context) (*opaque.Keyring, error) { return nil, storage.ErrUnavailable }

func TestWithoutKeysNoTokenIsJudged(t *testing.T) {
	v := resource.NewStoreValidator(noKeys{}, loaderFunc(nil))
	if _, err := v.Validate(t.Context(), "x"); !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, resource.ErrInvalidToken) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
}

func TestOneLookupAToken(t *testing.T) {
	a := newAPI(t)
	token := a.accessToken(t)
	a.get(t, "/users/me", "Bearer "+token).want(t, http.StatusOK)
	if n := a.lookups.Load(); n != 1 {
		t.Errorf("%d look-ups for a good token, want 1", n)
	}
	for i := range token {
		c := byte('A')
		if token[i] == c {
			c = 'B'
		}
		a.get(t, "/users/me", "Bearer "+token[:i]+string([]byte{c})+token[i+1:]).refused(t, 401, "invalid_token")
	}
	if n := a.lookups.Load(); n != 1 {
		t.Errorf("%d look-ups after mistyped tokens, want 1", n)
	}
}

func TestARevokedTokenIsRefusedByTheNextRequest(t *testing.T) {
	a := newAPI(t)
	g, token, _ := a.grant(t)
	other := a.accessToken(t)
	a.get(t, "/users/me", "Bearer "+token).want(t, http.StatusOK)
	if err := a.store.DeleteGrant(t.Context(), g.ID); err != nil {
		t.Fatal(err)
	}
	t.Run("7662-4-11 nothing was kept of it", func(t *testing.T) {
		a.get(t, "/users/me", "Bearer "+token).refused(t, http.StatusUnauthorized, "invalid_token")
	})
	a.get(t, "/users/me", "Bearer "+other).want(t, http.StatusOK)
}

// A token under a key that the node couldn't load yet may be good.
func TestATokenOfAKeyThatMayBeNewIsNotJudged(t *testing.T) {
	secret := make([]byte, opaque.MinSecretLen)
	sealer, err := opaque.NewSealer(secret)
	if err != nil {
		t.Fatal(err)
	}
	others, err := opaque.NewKeyring(opaque.NewKey(2))
	if err != nil {
		t.Fatal(err)
	}
	token, _ := others.Mint(opaque.Access, storage.NewGrantID("u"), 1)
	synctest.Test(t, func(t *testing.T) {
		keys := &keysThenNone{}
		v := resource.NewStoreValidator(opaque.NewLoader(keys, sealer), loaderFunc(nil))
		if _, err := v.Validate(t.Context(), token); !errors.Is(err, resource.ErrInvalidToken) {
			t.Errorf("while the keys are known: %v, want ErrInvalidToken", err)
		}
		keys.fault = storage.ErrUnavailable
		time.Sleep(time.Minute)
		if _, err := v.Validate(t.Context(), token); !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, resource.ErrInvalidToken) {
			t.Errorf("when nobody knows: %v, want ErrUnavailable", err)
		}
	})
}

// keysThenNone is a store of keys that makes one key and then fails.
type keysThenNone struct {
	stored []storage.Key
	fault  error
}

func (k *keysThenNone) CreateKey(_ context.Context, key storage.Key) error {
	k.stored = append(k.stored, key)
	return nil
}

func (k *keysThenNone) ListKeys(context.Context) ([]storage.Key, error) { return k.stored, k.fault }

func (k *keysThenNone) DeleteKey(context.Context, byte) error { return nil }
