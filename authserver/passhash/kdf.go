package passhash

import (
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // HMAC-SHA-1 in PBKDF2 isn't broken, and it is what others used
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strings"

	"golang.org/x/crypto/scrypt"
)

const (
	maxRounds    = 2_000_000 // of PBKDF2; Django 6 takes 1.2 million
	maxScrypt    = 128 << 20 // bytes over all lanes, which bounds memory and time
	maxScryptR   = 32        // everybody takes 8
	minScryptN   = 2
	minScryptKey = 16 // bytes
)

// pbkdf2Hash is PBKDF2 with HMAC, RFC 8018 section 5.2. The key is as long as
// the hash, so only the rounds set the cost.
type pbkdf2Hash struct {
	hash      func() hash.Hash
	rounds    int
	salt, key []byte
}

func (p pbkdf2Hash) matches(_ *Hasher, password string) bool {
	key, err := pbkdf2.Key(p.hash, password, p.salt, p.rounds, len(p.key))
	return err == nil && subtle.ConstantTimeCompare(key, p.key) == 1
}

var hashes = map[string]func() hash.Hash{
	"sha1":   sha1.New,
	"sha256": sha256.New,
	"sha512": sha512.New,
}

func newPBKDF2(name, rounds string, salt, key []byte) (digest, error) {
	h, ok := hashes[name]
	n, isNumber := number(rounds)
	switch {
	case !ok:
		return nil, errUnknown
	case !isNumber || len(key) != h().Size():
		return nil, errDamaged
	case n < 1 || n > maxRounds:
		return nil, errCost
	}
	return pbkdf2Hash{h, n, salt, key}, nil
}

// parseDjangoPBKDF2 reads pbkdf2_sha256$600000$salt$key: the salt is plain, the
// key in base64.
func parseDjangoPBKDF2(s string) (digest, error) {
	f := strings.Split(s, "$")
	if len(f) != 4 {
		return nil, errDamaged
	}
	key, err := decode64(base64.StdEncoding, f[3])
	if err != nil {
		return nil, err
	}
	return newPBKDF2(strings.TrimPrefix(f[0], "pbkdf2_"), f[1], []byte(f[2]), key)
}

// parseWerkzeugPBKDF2 reads pbkdf2:sha256:600000$salt$key: the salt is plain,
// the key in hexadecimal. It refuses a hash without rounds: their default
// depends on Werkzeug's version.
func parseWerkzeugPBKDF2(s string) (digest, error) {
	f := strings.Split(s, "$")
	method := strings.Split(f[0], ":")
	if len(f) != 3 || len(method) != 3 {
		return nil, errDamaged
	}
	key, err := hex.DecodeString(f[2])
	if err != nil {
		return nil, errDamaged
	}
	return newPBKDF2(method[1], method[2], []byte(f[1]), key)
}

// parsePasslibPBKDF2 reads $pbkdf2-sha256$29000$salt$key; $pbkdf2$ is SHA-1.
// Its base64 has a full stop instead of the plus sign, and no padding.
func parsePasslibPBKDF2(s string) (digest, error) {
	f := strings.Split(s, "$")
	if len(f) != 5 || strings.Contains(f[3]+f[4], "+") {
		return nil, errDamaged
	}
	salt, err := decode64(base64.RawStdEncoding, strings.ReplaceAll(f[3], ".", "+"))
	if err != nil {
		return nil, err
	}
	key, err := decode64(base64.RawStdEncoding, strings.ReplaceAll(f[4], ".", "+"))
	if err != nil {
		return nil, err
	}
	name, named := strings.CutPrefix(f[1], "pbkdf2-")
	if !named {
		name = "sha1"
	}
	return newPBKDF2(name, f[2], salt, key)
}

// scryptHash is scrypt, RFC 7914.
type scryptHash struct {
	n, r, p   int
	salt, key []byte
}

func (c scryptHash) matches(_ *Hasher, password string) bool {
	key, err := scrypt.Key([]byte(password), c.salt, c.n, c.r, c.p, len(c.key))
	return err == nil && subtle.ConstantTimeCompare(key, c.key) == 1
}

func newScrypt(n, r, p string, salt, key []byte) (digest, error) {
	c := scryptHash{salt: salt, key: key}
	var ok [3]bool
	c.n, ok[0] = number(n)
	c.r, ok[1] = number(r)
	c.p, ok[2] = number(p)
	if ok != [3]bool{true, true, true} || len(key) < minScryptKey || len(key) > maxKeyLen {
		return nil, errDamaged
	}
	if c.n < minScryptN || c.n&(c.n-1) != 0 || c.r < 1 || c.r > maxScryptR || c.p < 1 || !c.affordable() {
		return nil, errCost
	}
	return c, nil
}

// affordable reports whether n, r and p are within maxScrypt. It divides,
// because a product could overflow.
func (c scryptHash) affordable() bool {
	const most = maxScrypt / 128
	return c.n <= most && c.r <= most/c.n && c.p <= most/c.n/c.r
}

// parseDjangoScrypt reads scrypt$16384$salt$8$1$key: N, the plain salt, r, p
// and the key in base64.
func parseDjangoScrypt(s string) (digest, error) {
	f := strings.Split(s, "$")
	if len(f) != 6 {
		return nil, errDamaged
	}
	key, err := decode64(base64.StdEncoding, f[5])
	if err != nil {
		return nil, err
	}
	return newScrypt(f[1], f[3], f[4], []byte(f[2]), key)
}

// parseWerkzeugScrypt reads scrypt:32768:8:1$salt$key: N, r, p, the plain salt
// and the key in hexadecimal.
func parseWerkzeugScrypt(s string) (digest, error) {
	f := strings.Split(s, "$")
	method := strings.Split(f[0], ":")
	if len(f) != 3 || len(method) != 4 {
		return nil, errDamaged
	}
	key, err := hex.DecodeString(f[2])
	if err != nil {
		return nil, errDamaged
	}
	return newScrypt(method[1], method[2], method[3], []byte(f[1]), key)
}

// parsePasslibScrypt reads $scrypt$ln=16,r=8,p=1$salt$key: the logarithm of N,
// and salt and key in base64 without padding.
func parsePasslibScrypt(s string) (digest, error) {
	f := strings.Split(s, "$")
	if len(f) != 5 {
		return nil, errDamaged
	}
	v, ok := assignments(f[2], "ln=", "r=", "p=")
	ln, isNumber := number(v[0])
	if !ok || !isNumber {
		return nil, errDamaged
	}
	const mostLn = 20 // 128 MiB with r=1
	if ln < 1 || ln > mostLn {
		return nil, errCost
	}
	salt, err := decode64(base64.RawStdEncoding, f[3])
	if err != nil {
		return nil, err
	}
	key, err := decode64(base64.RawStdEncoding, f[4])
	if err != nil {
		return nil, err
	}
	return newScrypt(decimal(1<<ln), v[1], v[2], salt, key)
}
