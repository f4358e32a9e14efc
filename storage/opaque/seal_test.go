package opaque_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/grantd/grantd/storage/opaque"
)

func newSealer(t testing.TB) *opaque.Sealer {
	t.Helper()
	secret := make([]byte, opaque.MinSecretLen)
	rand.Read(secret)
	s, err := opaque.NewSealer(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealedKeysUnseal(t *testing.T) {
	s, k := newSealer(t), opaque.NewKey(7)
	got, err := s.Unseal(7, s.Seal(k))
	if err != nil || got != k {
		t.Errorf("unsealed %v, %v; want the key that was sealed", got.ID, err)
	}
	if bytes.Equal(s.Seal(k), s.Seal(k)) {
		t.Error("sealing twice gave the same bytes: the nonce repeats")
	}
	if bytes.Contains(s.Seal(k), k.Data[:8]) {
		t.Error("the sealed form shows the key")
	}
}

func TestOnlyTheRightSecretUnseals(t *testing.T) {
	s, k := newSealer(t), opaque.NewKey(7)
	sealed := s.Seal(k)
	mustStaySealed(t, newSealer(t), 7, sealed, "another secret")
	mustStaySealed(t, s, 8, sealed, "another key id")
	mustStaySealed(t, s, 7, nil, "no bytes")
	mustStaySealed(t, s, 7, append(bytes.Clone(sealed), 0), "one byte more")
	for i := range sealed {
		mustStaySealed(t, s, 7, sealed[:i], "cut")
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		mustStaySealed(t, s, 7, changed, "a flipped bit")
	}
}

func mustStaySealed(t *testing.T, s *opaque.Sealer, id byte, sealed []byte, why string) {
	t.Helper()
	if k, err := s.Unseal(id, sealed); !errors.Is(err, opaque.ErrSealed) || k != (opaque.Key{}) {
		t.Errorf("%s: %v; want ErrSealed and no key", why, err)
	}
}

func TestShortDeploymentSecretsAreRefused(t *testing.T) {
	for _, n := range []int{0, 1, 31} {
		if _, err := opaque.NewSealer(make([]byte, n)); err == nil {
			t.Errorf("a secret of %d bytes was accepted, the least is 32", n)
		}
	}
	for _, n := range []int{32, 33, 1024} {
		if _, err := opaque.NewSealer(make([]byte, n)); err != nil {
			t.Errorf("a secret of %d bytes: %v", n, err)
		}
	}
}

func TestNewKeysAreRandom(t *testing.T) {
	if a, b := opaque.NewKey(1), opaque.NewKey(1); a == b || a.Data == [opaque.KeyLen]byte{} {
		t.Error("two new keys are the same, or zero")
	}
}
