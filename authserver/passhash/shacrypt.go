package passhash

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"hash"
	"strings"
)

const (
	shaCryptRounds    = 5000 // when a hash names none
	shaCryptMinRounds = 1000
	shaCryptMaxRounds = 1_000_000 // passlib takes 656,000
	shaCryptMaxSalt   = 16        // characters
	shaCryptMaxPasswd = 512       // bytes; libxcrypt takes no more, and a round may hash the password twice
	cryptAlphabet     = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// shaCrypt is SHA-crypt as Ulrich Drepper specified it ("Unix crypt using SHA-256
// and SHA-512"): $5$ and $6$ of /etc/shadow and of passlib.
type shaCrypt struct {
	hash   func() hash.Hash
	rounds int
	salt   string
	key    string // as crypt(3) spells it
}

func parseSHACrypt(s string) (digest, error) {
	c := shaCrypt{hash: sha256.New, rounds: shaCryptRounds}
	rest, short := strings.CutPrefix(s, "$5$")
	if !short {
		rest, c.hash = strings.TrimPrefix(s, "$6$"), sha512.New
	}
	if after, named := strings.CutPrefix(rest, "rounds="); named {
		digits, tail, _ := strings.Cut(after, "$")
		n, ok := number(digits)
		if !ok {
			return nil, errDamaged
		}
		if n < shaCryptMinRounds || n > shaCryptMaxRounds {
			return nil, errCost
		}
		rest, c.rounds = tail, n
	}
	c.salt, c.key, _ = strings.Cut(rest, "$")
	const bitsPerCharacter = 6
	length := (c.hash().Size()*8 + bitsPerCharacter - 1) / bitsPerCharacter
	if len(c.salt) > shaCryptMaxSalt || len(c.key) != length || strings.TrimLeft(c.key, cryptAlphabet) != "" {
		return nil, errDamaged
	}
	return c, nil
}

func (c shaCrypt) matches(_ *Hasher, password string) bool {
	if len(password) > shaCryptMaxPasswd {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(c.derive([]byte(password))), []byte(c.key)) == 1
}

// derive returns the key of the password. Its variables are named as in the
// specification.
func (c shaCrypt) derive(password []byte) string {
	h, salt := c.hash(), []byte(c.salt)
	sum := func(parts ...[]byte) []byte {
		h.Reset()
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	b := sum(password, salt, password)
	parts := [][]byte{password, salt, repeat(b, len(password))}
	for n := len(password); n > 0; n >>= 1 {
		if n&1 == 1 {
			parts = append(parts, b)
		} else {
			parts = append(parts, password)
		}
	}
	a := sum(parts...)
	p := repeat(sum(bytes.Repeat(password, len(password))), len(password))
	s := repeat(sum(bytes.Repeat(salt, 16+int(a[0]))), len(salt))
	for round := range c.rounds {
		first, last := a, p
		if round%2 == 1 {
			first, last = p, a
		}
		h.Reset()
		h.Write(first)
		if round%3 != 0 {
			h.Write(s)
		}
		if round%7 != 0 {
			h.Write(p)
		}
		h.Write(last)
		a = h.Sum(a[:0])
	}
	return shaCryptText(a)
}

// repeat returns the first n bytes of b repeated.
func repeat(b []byte, n int) []byte {
	return bytes.Repeat(b, n/len(b)+1)[:n]
}

// shaCryptText encodes the key, three bytes at a time that are far from each
// other.
func shaCryptText(a []byte) string {
	var text []byte
	characters := func(n int, high, middle, low byte) {
		v := uint(high)<<16 | uint(middle)<<8 | uint(low)
		for range n {
			text = append(text, cryptAlphabet[v&63])
			v >>= 6
		}
	}
	third := len(a) / 3
	i, j, k := 0, third, 2*third
	for range third {
		characters(4, a[i], a[j], a[k])
		if len(a) == sha512.Size {
			i, j, k = j+1, k+1, i+1
		} else {
			i, j, k = k+1, i+1, j+1
		}
	}
	if len(a) == sha512.Size {
		characters(2, 0, 0, a[63])
	} else {
		characters(3, 0, a[31], a[30])
	}
	return string(text)
}
