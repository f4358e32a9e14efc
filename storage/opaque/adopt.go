package opaque

import (
	"crypto/sha256"

	"github.com/grantd/grantd/storage"
)

// Adopt returns a token that another server made as a token of the first
// generation of the grant. It has a digest to keep and, if it is a refresh
// token, successors. It has no key and no tag, so the caller must know that the
// other server made it. It is as hard to guess as text.
func Adopt(kind Kind, grant storage.GrantID, text string) Token {
	t := Token{Kind: kind, Grant: grant, Generation: 1}
	sum := sha256.Sum256([]byte("grantd adopted token\x00" + text))
	t.secret = [secretLen]byte(sum[:])
	return t
}
