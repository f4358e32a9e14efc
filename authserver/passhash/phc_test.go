package passhash

import (
	"strings"
	"testing"
)

const (
	salt16 = "Z3JhbnRkIHRlc3Qgc2FsdA"
	key32  = "ifmQnHnXSTjghonp5iMkJw7eVdgIWtl3MRnig9wYozM"
)

func TestPHCStringsThatAreRefused(t *testing.T) {
	long := strings.Repeat("A", 87) // 65 bytes
	for name, s := range map[string]string{
		"empty":              "",
		"other function":     "$argon2d$v=19$m=64,t=2,p=1$" + salt16 + "$" + key32,
		"no version":         "$argon2id$m=64,t=2,p=1$" + salt16 + "$" + key32,
		"leading text":       "x$argon2id$v=19$m=64,t=2,p=1$" + salt16 + "$" + key32,
		"trailing field":     "$argon2id$v=19$m=64,t=2,p=1$" + salt16 + "$" + key32 + "$",
		"order":              "$argon2id$v=19$t=2,m=64,p=1$" + salt16 + "$" + key32,
		"extra parameter":    "$argon2id$v=19$m=64,t=2,p=1,data=AA$" + salt16 + "$" + key32,
		"repeated parameter": "$argon2id$v=19$m=64,m=64,t=2,p=1$" + salt16 + "$" + key32,
		"leading zero":       "$argon2id$v=19$m=064,t=2,p=1$" + salt16 + "$" + key32,
		"plus sign":          "$argon2id$v=19$m=+64,t=2,p=1$" + salt16 + "$" + key32,
		"underscore":         "$argon2id$v=19$m=6_4,t=2,p=1$" + salt16 + "$" + key32,
		"no number":          "$argon2id$v=19$m=,t=2,p=1$" + salt16 + "$" + key32,
		"zero time":          "$argon2id$v=19$m=64,t=0,p=1$" + salt16 + "$" + key32,
		"zero threads":       "$argon2id$v=19$m=64,t=2,p=0$" + salt16 + "$" + key32,
		"memory of 7 KiB":    "$argon2id$v=19$m=7,t=2,p=1$" + salt16 + "$" + key32,
		"memory over 2^32":   "$argon2id$v=19$m=4294967360,t=2,p=1$" + salt16 + "$" + key32,
		"memory over bound":  "$argon2id$v=19$m=262145,t=2,p=1$" + salt16 + "$" + key32,
		"time over bound":    "$argon2id$v=19$m=64,t=17,p=1$" + salt16 + "$" + key32,
		"threads over bound": "$argon2id$v=19$m=1024,t=2,p=17$" + salt16 + "$" + key32,
		"threads modulo 256": "$argon2id$v=19$m=4096,t=2,p=257$" + salt16 + "$" + key32,
		"work over bound":    "$argon2id$v=19$m=262144,t=5,p=1$" + salt16 + "$" + key32,
		"salt of 7 bytes":    "$argon2id$v=19$m=64,t=2,p=1$Z3JhbnRkIA$" + key32,
		"salt of 65 bytes":   "$argon2id$v=19$m=64,t=2,p=1$" + long + "$" + key32,
		"key of 15 bytes":    "$argon2id$v=19$m=64,t=2,p=1$" + salt16 + "$" + strings.Repeat("A", 20),
		"key of 65 bytes":    "$argon2id$v=19$m=64,t=2,p=1$" + salt16 + "$" + long,
		"padded base64":      "$argon2id$v=19$m=64,t=2,p=1$" + salt16 + "==$" + key32,
		"url base64":         "$argon2id$v=19$m=64,t=2,p=1$" + salt16 + "$_" + key32[1:],
		"idle bits":          "$argon2id$v=19$m=64,t=2,p=1$" + salt16[:21] + "B$" + key32,
		"line break":         "$argon2id$v=19$m=64,t=2,p=1$" + salt16 + "\n$" + key32,
	} {
		if p, err := parsePHC(s); err == nil {
			t.Errorf("%s: %q read as %v", name, s, p)
		}
	}
}

func TestPHCStringsThatAreRead(t *testing.T) {
	for _, s := range []string{
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt16 + "$" + key32,
		"$argon2id$v=19$m=262144,t=4,p=16$" + salt16 + "$" + key32,
		"$argon2id$v=19$m=65536,t=16,p=8$" + salt16 + "$" + key32,
	} {
		p, err := parsePHC(s)
		if err != nil || p.String() != s {
			t.Errorf("%s read as %s, %v", s, p, err)
		}
	}
}

// FuzzParsePHC: an accepted hash is within bounds, and printing it gives the
// same string. So no two strings are the same hash.
func FuzzParsePHC(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Hash)
	}
	f.Add("$argon2id$v=19$m=8,t=1,p=1$" + salt16 + "\r\n$" + key32)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err != nil {
			return
		}
		if p.String() != s {
			t.Errorf("%q is printed as %q", s, p)
		}
		switch {
		case p.check() != nil:
			t.Error(p.check())
		case len(p.salt) < 8 || len(p.salt) > 64, len(p.key) < 16 || len(p.key) > 64:
			t.Errorf("%q: salt of %d bytes, key of %d", s, len(p.salt), len(p.key))
		}
	})
}
