package passhash

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// The sizes of new hashes.
const (
	saltLen = 16 // bytes
	keyLen  = 32 // bytes
)

// The bounds of an imported hash: it must neither exhaust memory nor hold a
// slot for much more than a second.
const (
	maxMemory  = 256 << 10 // KiB
	maxTime    = 16
	maxThreads = 16
	maxWork    = 1 << 20 // KiB over all passes
	minSaltLen = 8
	maxSaltLen = 64
	minKeyLen  = 16
	maxKeyLen  = 64
)

// cost holds the parameters of argon2, RFC 9106 section 3.1.
type cost struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

func (c cost) check() error {
	switch {
	case c.time < 1 || c.time > maxTime:
		return fmt.Errorf("passhash: time must be 1 to %d", maxTime)
	case c.threads < 1 || c.threads > maxThreads:
		return fmt.Errorf("passhash: threads must be 1 to %d", maxThreads)
	case c.memory < 8*uint32(c.threads) || c.memory > maxMemory:
		return fmt.Errorf("passhash: memory must be 8 KiB a thread to %d KiB", maxMemory)
	case uint64(c.memory)*uint64(c.time) > maxWork:
		return fmt.Errorf("passhash: memory times time must be at most %d KiB", maxWork)
	}
	return nil
}

// phc is an argon2 hash, written as the PHC string
// $argon2id$v=19$m=19456,t=2,p=1$salt$key in unpadded base64. New hashes are
// argon2id.
type phc struct {
	cost
	salt, key   []byte
	independent bool // argon2i
}

func (p phc) variant() string {
	if p.independent {
		return "argon2i"
	}
	return "argon2id"
}

func (p phc) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$%s$v=%d$m=%d,t=%d,p=%d$%s$%s", p.variant(),
		argon2.Version, p.memory, p.time, p.threads, b64.EncodeToString(p.salt), b64.EncodeToString(p.key))
}

func (p phc) matches(h *Hasher, password string) bool {
	return subtle.ConstantTimeCompare(h.key(p, len(p.key), password), p.key) == 1
}

// weaker reports whether a new hash under c would be stronger in any way.
func (p phc) weaker(c cost) bool {
	return p.independent || p.memory < c.memory || p.time < c.time || p.threads < c.threads ||
		len(p.salt) < saltLen || len(p.key) < keyLen
}

func parseArgon2(s string) (digest, error) {
	p, err := parsePHC(s)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// parsePHC reads a PHC string. It accepts exactly what String writes, so that
// no hash has two spellings.
func parsePHC(s string) (phc, error) {
	f := strings.Split(s, "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" && f[1] != "argon2i" || f[2] != "v="+strconv.Itoa(argon2.Version) {
		return phc{}, errDamaged
	}
	c, err := parseCost(f[3])
	if err != nil {
		return phc{}, err
	}
	salt, err := decode(f[4], minSaltLen, maxSaltLen)
	if err != nil {
		return phc{}, err
	}
	key, err := decode(f[5], minKeyLen, maxKeyLen)
	if err != nil {
		return phc{}, err
	}
	return phc{cost: c, salt: salt, key: key, independent: f[1] == "argon2i"}, nil
}

func parseCost(s string) (cost, error) {
	v, ok := assignments(s, "m=", "t=", "p=")
	var n [3]int
	for i := range n {
		var isNumber bool
		n[i], isNumber = number(v[i])
		ok = ok && isNumber
	}
	if !ok {
		return cost{}, errDamaged
	}
	if n[2] > maxThreads {
		return cost{}, errCost
	}
	c := cost{memory: uint32(n[0]), time: uint32(n[1]), threads: uint8(n[2])}
	if c.check() != nil {
		return cost{}, errCost
	}
	return c, nil
}

func decode(s string, least, most int) ([]byte, error) {
	b, err := decode64(base64.RawStdEncoding, s)
	if err != nil || len(b) < least || len(b) > most {
		return nil, errDamaged
	}
	return b, nil
}
