package authserver_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// failingKeys is a store of keys that stores one and then fails.
type failingKeys struct {
	stored []storage.Key
	fault  error
}

func (k *failingKeys) CreateKey(_ context.Context, key storage.Key) error {
	k.stored = append(k.stored, key)
	return nil
}

func (k *failingKeys) ListKeys(context.Context) ([]storage.Key, error) { return k.stored, k.fault }

func (k *failingKeys) DeleteKey(context.Context, byte) error { return nil }

// outdated returns a keyring that couldn't be loaded anew for so long that it
// may lack new keys.
func outdated(t *testing.T) (r *opaque.Keyring) {
	t.Helper()
	secret := make([]byte, opaque.MinSecretLen)
	rand.Read(secret)
	sealer, err := opaque.NewSealer(secret)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		keys := &failingKeys{}
		loader := opaque.NewLoader(keys, sealer)
		for range 2 {
			if r, err = loader.Keyring(t.Context()); err != nil {
				t.Fatal(err)
			}
			keys.fault = storage.ErrUnavailable
			time.Sleep(time.Minute)
		}
	})
	return r
}

// Such a token may be good, under a key that another node made. So clients must
// neither throw it away nor be told that it was revoked.
func TestATokenOfAKeyThatMayBeNew(t *testing.T) {
	known := outdated(t)
	f := newFixture(t, func(c *authserver.Config) { c.Keys = known })
	others, err := opaque.NewKeyring(opaque.NewKey(2))
	if err != nil {
		t.Fatal(err)
	}
	refresh := mint(t, others)
	access, _ := others.Mint(opaque.Access, storage.NewGrantID("nobody"), 1)
	for name, ask := range map[string]func() answer{
		"refreshed":              func() answer { return f.post(t, refreshForm(refresh), asWeb) },
		"revoked":                func() answer { return f.revoke(t, form("token", refresh), asWeb) },
		"revoked, an access one": func() answer { return f.revoke(t, form("token", access), asWeb) },
		"introspected":           func() answer { return f.introspect(t, form("token", access), asRS1) },
		"to introspect others by": func() answer {
			return f.introspect(t, form("token", access), header("Authorization", "Bearer "+access))
		},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, ask(), http.StatusServiceUnavailable, "temporarily_unavailable")
		})
	}
	t.Run("tokens of keys that are known are judged as ever", func(t *testing.T) {
		pair := wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
		if !f.valid(t, pair.text("access_token")) {
			t.Error("a good token isn't")
		}
		wantToken(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb))
		if f.valid(t, pair.text("access_token")) {
			t.Error("a replaced token is good")
		}
	})
}

// A retry is refused when its successor would be under a deleted key, so that
// nobody could use it.
func TestARetryAfterItsKeyWasDeleted(t *testing.T) {
	older, newer := opaque.NewKey(1), opaque.NewKey(2)
	before, errBefore := opaque.NewKeyring(older)
	rotated, errRotated := opaque.NewKeyring(newer, older)
	if errBefore != nil || errRotated != nil {
		t.Fatal(errBefore, errRotated)
	}
	keys := &switched{}
	keys.Store(before)
	f := newFixture(t, func(c *authserver.Config) { c.Keys = keys })
	pair := wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
	keys.Store(rotated)
	wantToken(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb))
	keys.Store(before)
	wantError(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb), http.StatusBadRequest, "invalid_grant")
}

// switched is a source whose keyring the test replaces.
type switched struct{ atomic.Pointer[opaque.Keyring] }

func (s *switched) Keyring(context.Context) (*opaque.Keyring, error) { return s.Load(), nil }
