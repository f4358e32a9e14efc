package opaque_test

import (
	"errors"
	"testing"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

func successor(t testing.TB, r *opaque.Keyring, spent opaque.Token, kind opaque.Kind, keyID byte, mix [16]byte) minted {
	t.Helper()
	text, digest, err := r.Successor(spent, kind, keyID, mix)
	if err != nil {
		t.Fatal(err)
	}
	token, err := r.Parse(kind, text)
	if err != nil {
		t.Fatalf("the successor doesn't parse: %v", err)
	}
	return minted{token, text, digest}
}

func TestSuccessorsParse(t *testing.T) {
	r := newKeyring(t, 1, 2)
	spent := mint(t, r, opaque.Refresh)
	for _, kind := range kinds {
		for _, keyID := range []byte{1, 2} {
			next := successor(t, r, spent.Token, kind, keyID, [16]byte{1})
			if next.Grant != spent.Grant || next.Generation != spent.Generation+1 || next.KeyID != keyID {
				t.Errorf("grant %s, generation %d, key %d", next.Grant, next.Generation, next.KeyID)
			}
			if !next.digest.Equal(next.Digest()) {
				t.Error("the digest of the parsed successor differs from the one that Successor gave")
			}
		}
	}
}

func TestSuccessorsAreRepeatable(t *testing.T) {
	key := opaque.NewKey(3)
	spent := mint(t, keyring(t, key), opaque.Refresh)
	for _, kind := range kinds {
		first := successor(t, keyring(t, key), spent.Token, kind, 3, [16]byte{8})
		// Another process, with one more key, derives the same.
		again := successor(t, keyring(t, opaque.NewKey(4), key), spent.Token, kind, 3, [16]byte{8})
		if first.text != again.text || first.digest != again.digest {
			t.Errorf("kind %d: %s, then %s", kind, first.text, again.text)
		}
	}
}

func TestSuccessorsDifferByEveryInput(t *testing.T) {
	key := opaque.NewKey(1)
	r := keyring(t, key, opaque.NewKey(2))
	foreign := newKeyring(t, 1)
	spent, sibling := mint(t, r, opaque.Refresh), mint(t, r, opaque.Refresh)
	mix := [16]byte{15: 1}

	secrets := map[string]string{}
	for name, m := range map[string]minted{
		"the successor":          successor(t, r, spent.Token, opaque.Refresh, 1, mix),
		"another kind":           successor(t, r, spent.Token, opaque.Access, 1, mix),
		"another mix":            successor(t, r, spent.Token, opaque.Refresh, 1, [16]byte{15: 2}),
		"another key":            successor(t, r, spent.Token, opaque.Refresh, 2, mix),
		"another deployment":     successor(t, foreign, spent.Token, opaque.Refresh, 1, mix),
		"another spent token":    successor(t, r, sibling.Token, opaque.Refresh, 1, mix),
		"the successor's own":    successor(t, r, successor(t, r, spent.Token, opaque.Refresh, 1, mix).Token, opaque.Refresh, 1, mix),
		"the spent token itself": spent,
	} {
		secret := string(rawOf(t, m.text)[21:45])
		if other, taken := secrets[secret]; taken {
			t.Errorf("%s and %s have the same secret", name, other)
		}
		secrets[secret] = name
	}
}

func TestSuccessorNeedsTheKey(t *testing.T) {
	r := newKeyring(t, 1)
	spent := mint(t, r, opaque.Refresh)
	text, digest, err := r.Successor(spent.Token, opaque.Refresh, 2, [16]byte{})
	if !errors.Is(err, opaque.ErrInvalid) || text != "" || digest != (storage.Digest{}) {
		t.Errorf("%q, %x, %v; want ErrInvalid", text, digest, err)
	}
}

// A retry may reach a server of the next version, so successors must not
// change. The values were computed by another program, like those of
// TestKnownTokens.
func TestKnownSuccessors(t *testing.T) {
	r := keyring(t, fixedKey(5))
	spent, err := r.Parse(opaque.Refresh, knownRefresh)
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[opaque.Kind]string{
		opaque.Access:  "gat_BasAAAAAAAAAAAAAAAAAAM0AAAAIM7WLdHGQxfNCQDgSXtblEymbZ6klZjRSwL00ALm2PGRVvjRq",
		opaque.Refresh: "grt_BasAAAAAAAAAAAAAAAAAAM0AAAAIUMQfiuR5yhmbfkTOGwjDSvctAHzxhVlLUkHeblSw56XIf3ym",
	} {
		if got := successor(t, r, spent, kind, 5, [16]byte{1, 2, 3}).text; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
