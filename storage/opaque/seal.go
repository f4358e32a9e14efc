package opaque

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// MinSecretLen is the minimum length of a deployment secret, in bytes.
const MinSecretLen = 32

// ErrSealed is returned when a key can't be unsealed: it was sealed under
// another deployment secret, or the store was tampered with.
var ErrSealed = errors.New("opaque: the deployment secret does not open the store's keys")

// Sealer seals deployment keys for the store (AES-256-GCM), under the
// deployment secret, which the store never sees.
type Sealer struct{ aead cipher.AEAD }

// NewSealer returns a sealer for the deployment secret, which must have at
// least MinSecretLen bytes.
func NewSealer(secret []byte) (*Sealer, error) {
	if len(secret) < MinSecretLen {
		return nil, fmt.Errorf("opaque: the deployment secret needs at least %d bytes", MinSecretLen)
	}
	kek, err := hkdf.Key(sha256.New, secret, nil, "grantd deployment key", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Sealer{aead: aead}, nil
}

// NewKey draws a deployment key with that id.
func NewKey(id byte) Key {
	k := Key{ID: id}
	rand.Read(k.Data[:]) // never fails since Go 1.24
	return k
}

// Seal returns the key's sealed form; it is bound to the key's id.
func (s *Sealer) Seal(k Key) []byte {
	return s.aead.Seal(nil, nil, k.Data[:], []byte{k.ID})
}

// Unseal returns the key that was sealed, or ErrSealed.
func (s *Sealer) Unseal(id byte, sealed []byte) (Key, error) {
	data, err := s.aead.Open(nil, nil, sealed, []byte{id})
	if err != nil || len(data) != KeyLen {
		return Key{}, ErrSealed
	}
	return Key{ID: id, Data: [KeyLen]byte(data)}, nil
}
