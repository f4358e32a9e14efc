package passhash

import (
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

const (
	bcryptLen       = 60
	bcryptMaxPasswd = 72 // bytes that bcrypt reads
	bcryptMaxCost   = "14"
	bcryptAlphabet  = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// wellFormedBcrypt reports whether s is a bcrypt hash that can be computed
// within the bounds of Verify. $2x$ isn't one: it marks hashes of a broken
// implementation.
func wellFormedBcrypt(s string) bool {
	if len(s) != bcryptLen || !slices.Contains([]string{"$2a$", "$2b$", "$2y$"}, s[:4]) || s[6] != '$' {
		return false
	}
	rounds := s[4:6]
	return isDigit(rounds[0]) && isDigit(rounds[1]) && rounds >= "04" && rounds <= bcryptMaxCost &&
		strings.TrimLeft(s[7:], bcryptAlphabet) == ""
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// bcryptTries returns the spellings of the password that encoded may be the
// bcrypt hash of, none when encoded isn't one or bcrypt can't read all of any.
func bcryptTries(encoded, prepared, sent string) []string {
	if !wellFormedBcrypt(encoded) {
		return nil
	}
	tries := slices.Compact([]string{prepared, sent})
	return slices.DeleteFunc(tries, func(s string) bool { return len(s) > bcryptMaxPasswd })
}

func matchesBcrypt(encoded string, tries []string) bool {
	return slices.ContainsFunc(tries, func(s string) bool {
		return bcrypt.CompareHashAndPassword([]byte(encoded), []byte(s)) == nil
	})
}
