package passhash

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

const (
	bcryptLen       = 60
	bcryptSaltLen   = 22 // characters
	bcryptMaxPasswd = 72 // bytes that bcrypt reads
	bcryptMaxCost   = "14"
	bcryptAlphabet  = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// bcryptHash is a bcrypt hash of a password, or of its digest.
type bcryptHash struct {
	encoded string                // $2b$12$ and so on
	digest  func(p string) string // nil: the password itself
}

// matches cuts a password off after 72 bytes, as the makers of such hashes do:
// Django, Rails, PHP and passlib silently hash only the first 72 bytes. To
// refuse longer passwords would lock their owners out for good. To cut them
// lets nobody in who couldn't sign in over there. The sign-in replaces the hash
// by one of the whole password, so this happens once.
func (b bcryptHash) matches(_ *Hasher, password string) bool {
	if b.digest != nil {
		password = b.digest(password)
	}
	password = password[:min(len(password), bcryptMaxPasswd)]
	return bcrypt.CompareHashAndPassword([]byte(b.encoded), []byte(password)) == nil
}

func parseBcrypt(s string) (digest, error) { return newBcrypt(s, nil) }

// newBcrypt refuses hashes beyond the bounds of Verify. It doesn't read $2x$,
// which marks hashes of a broken implementation.
func newBcrypt(s string, digest func(string) string) (digest, error) {
	if len(s) != bcryptLen || !slices.Contains([]string{"$2a$", "$2b$", "$2y$"}, s[:4]) || s[6] != '$' ||
		!isDigit(s[4]) || !isDigit(s[5]) || strings.TrimLeft(s[7:], bcryptAlphabet) != "" {
		return nil, errDamaged
	}
	if cost := s[4:6]; cost < "04" || cost > bcryptMaxCost {
		return nil, errCost
	}
	return bcryptHash{s, digest}, nil
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// parseDjangoBcryptSHA256 reads bcrypt_sha256$$2b$12$…: bcrypt of the SHA-256 in
// hexadecimal, which is 64 bytes for every password.
func parseDjangoBcryptSHA256(s string) (digest, error) {
	return newBcrypt(strings.TrimPrefix(s, "bcrypt_sha256$"), func(p string) string {
		sum := sha256.Sum256([]byte(p))
		return hex.EncodeToString(sum[:])
	})
}

// parsePasslibBcryptSHA256 reads passlib's $bcrypt-sha256$v=2,t=2b,r=12$salt$key,
// where bcrypt hashes an HMAC keyed with the salt, and the older
// $bcrypt-sha256$2b,12$salt$key of a plain SHA-256, both in base64.
func parsePasslibBcryptSHA256(s string) (digest, error) {
	f := strings.Split(s, "$")
	if len(f) != 5 || len(f[3]) != bcryptSaltLen {
		return nil, errDamaged
	}
	sum := func(p string) []byte { h := sha256.Sum256([]byte(p)); return h[:] }
	kind, cost, ok := strings.Cut(f[2], ",")
	if parameters, v2 := strings.CutPrefix(f[2], "v=2,t="); v2 {
		kind, cost, ok = strings.Cut(parameters, ",r=")
		sum = func(p string) []byte {
			mac := hmac.New(sha256.New, []byte(f[3]))
			mac.Write([]byte(p))
			return mac.Sum(nil)
		}
	}
	if !ok {
		return nil, errDamaged
	}
	if len(cost) == 1 {
		cost = "0" + cost
	}
	return newBcrypt("$"+kind+"$"+cost+"$"+f[3]+f[4], func(p string) string {
		return base64.StdEncoding.EncodeToString(sum(p))
	})
}
