package passhash

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrHash is the error for a hash that Verify can't read. The text of an error
// that wraps it says why, and never holds the hash.
var ErrHash = errors.New("passhash: password hash not acceptable")

var (
	errUnknown = fmt.Errorf("%w: in an unknown format; clear text is never accepted", ErrHash)
	errDamaged = fmt.Errorf("%w: damaged, or in another version of its format", ErrHash)
	errCost    = fmt.Errorf("%w: of a cost that is out of bounds", ErrHash)
	errLong    = fmt.Errorf("%w: longer than %d bytes", ErrHash, maxEncoded)
)

const maxEncoded = 512 // bytes

// CheckHash returns nil when Verify can read encoded, or an error that wraps
// ErrHash and says why not. "" is an error.
func CheckHash(encoded string) error {
	_, err := parse(encoded)
	return err
}

// digest is a parsed hash.
type digest interface {
	// matches reports whether the hash was made of the password's bytes. Its
	// time doesn't tell how much of the password was right.
	matches(h *Hasher, password string) bool
}

// formats are the readable formats, by the prefix of their hashes.
var formats = []struct {
	prefix string
	parse  func(string) (digest, error)
}{
	{"$argon2id$", parseArgon2},
	{"$argon2i$", parseArgon2},
	{"$2a$", parseBcrypt},
	{"$2b$", parseBcrypt},
	{"$2y$", parseBcrypt},
	{"$bcrypt-sha256$", parsePasslibBcryptSHA256},
	{"$pbkdf2$", parsePasslibPBKDF2},
	{"$pbkdf2-sha256$", parsePasslibPBKDF2},
	{"$pbkdf2-sha512$", parsePasslibPBKDF2},
	{"$scrypt$", parsePasslibScrypt},
	{"$5$", parseSHACrypt},
	{"$6$", parseSHACrypt},
	{"bcrypt_sha256$", parseDjangoBcryptSHA256},
	{"pbkdf2_sha256$", parseDjangoPBKDF2},
	{"pbkdf2_sha1$", parseDjangoPBKDF2},
	{"scrypt$", parseDjangoScrypt},
	{"pbkdf2:", parseWerkzeugPBKDF2},
	{"scrypt:", parseWerkzeugScrypt},
}

// wrappers are prefixes of Django, Spring Security, Dovecot and LDAP before a
// hash that names its own format. The hash within must begin with within.
var wrappers = []struct{ prefix, within string }{
	{"argon2", "$argon2"},
	{"bcrypt$", "$2"},
	{"{bcrypt}", "$2"},
	{"{BLF-CRYPT}", "$2"},
	{"{argon2}", "$argon2"},
	{"{argon2@SpringSecurity_v5_8}", "$argon2"},
	{"{ARGON2I}", "$argon2i$"},
	{"{ARGON2ID}", "$argon2id$"},
	{"{SHA256-CRYPT}", "$5$"},
	{"{SHA512-CRYPT}", "$6$"},
	{"{CRYPT}", "$"},
}

// refused are formats that are known but not accepted.
var refused = []struct {
	reason   string
	prefixes []string
}{
	{"made with MD5, which is guessed billions of times a second", []string{
		"$1$", "$apr1$", "$md5", "$P$", "$H$", "{MD5}", "{SMD5}", "{MD5-CRYPT}", "{CRAM-MD5}", "md5$", "unsalted_md5$",
	}},
	{"a fast SHA hash, which is guessed billions of times a second", []string{
		"{SHA}", "{SSHA}", "{SHA256}", "{SSHA256}", "{SHA512}", "{SSHA512}", "{sha256}", "sha1$", "unsalted_sha1$", "sha256$", "sha512$",
	}},
	{"made with DES, which reads only eight characters", []string{"crypt$", "{DES-CRYPT}"}},
	{"made with MD4 for Windows, which is guessed billions of times a second", []string{"$3$", "{NT}", "{NTLM}"}},
	{"clear text", []string{"{noop}", "{PLAIN}", "{CLEARTEXT}", "{CLEAR}", "plain$"}},
	{"made with yescrypt or crypt's scrypt, which aren't supported", []string{"$y$", "$gy$", "$7$"}},
	{"made with argon2d, which isn't for passwords", []string{"$argon2d$"}},
	{"made with a broken or unknown version of bcrypt", []string{"$2x$", "$2$"}},
	{"without its parameters", []string{"{pbkdf2", "{scrypt"}},
}

// parse reads a hash of any format. Its errors wrap ErrHash.
func parse(s string) (digest, error) {
	if len(s) > maxEncoded {
		return nil, errLong
	}
	s = unwrap(s)
	for _, f := range formats {
		if strings.HasPrefix(s, f.prefix) {
			return f.parse(s)
		}
	}
	for _, r := range refused {
		for _, prefix := range r.prefixes {
			if _, found := cutFold(s, prefix); found {
				return nil, fmt.Errorf("%w: %s", ErrHash, r.reason)
			}
		}
	}
	if isHexSum(s) {
		return nil, fmt.Errorf("%w: a bare checksum, such as one of MD5 or SHA, which is guessed billions of times a second", ErrHash)
	}
	return nil, errUnknown
}

func unwrap(s string) string {
	for _, w := range wrappers {
		if within, found := cutFold(s, w.prefix); found && strings.HasPrefix(within, w.within) {
			return within
		}
	}
	return s
}

// cutFold is strings.CutPrefix without regard to case.
func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

func isHexSum(s string) bool {
	switch len(s) {
	case 32, 40, 56, 64, 96, 128: // MD5 and SHA of 160 to 512 bits
		return strings.Trim(s, "0123456789abcdefABCDEF") == ""
	}
	return false
}

// number reads a decimal without a sign and without leading zeros.
func number(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err == nil && s == decimal(int(n))
}

func decimal(n int) string { return strconv.Itoa(n) }

// assignments reads the values of name=value,… in the order of names.
func assignments(s string, names ...string) (values []string, ok bool) {
	f := strings.Split(s, ",")
	values, ok = make([]string, len(names)), len(f) == len(names)
	for i := range min(len(f), len(names)) {
		var found bool
		values[i], found = strings.CutPrefix(f[i], names[i])
		ok = ok && found
	}
	return values, ok
}

// decode64 reads strict base64. It refuses line breaks, which the standard
// decoder skips.
func decode64(e *base64.Encoding, s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errDamaged
	}
	b, err := e.Strict().DecodeString(s)
	if err != nil {
		return nil, errDamaged
	}
	return b, nil
}
