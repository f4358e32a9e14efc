package storage

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
)

// NewSecretVerifier makes the verifier of a client secret. The verifier of an empty secret
// recognises nothing: a client without a secret doesn't authenticate (RFC 6749 section
// 2.2).
func NewSecretVerifier(secret string) SecretVerifier {
	if secret == "" {
		return SecretVerifier{}
	}
	salt := make([]byte, 16)
	rand.Read(salt) // never fails since Go 1.24
	return SecretVerifier{Salt: salt, Hash: hashSecret(salt, secret)}
}

// Verify reports whether secret is the right one. Its time doesn't depend on
// where a wrong secret differs.
func (v SecretVerifier) Verify(secret string) bool {
	same := subtle.ConstantTimeCompare(v.Hash, hashSecret(v.Salt, secret)) == 1
	return same && len(v.Hash) > 0
}

func hashSecret(salt []byte, secret string) []byte {
	h := sha256.New()
	h.Write(salt)
	h.Write([]byte(secret))
	return h.Sum(nil)
}
