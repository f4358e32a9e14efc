package passhash

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// foreign returns hashes made by the libraries from which users are imported;
// testdata/make_foreign.py says which libraries, and how.
func foreign(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/foreign.json")
	if err != nil {
		t.Fatal(err)
	}
	var v []vector
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestHashesOfOtherSystemsVerify(t *testing.T) {
	h := newHasher(t, cheap)
	read := map[string]bool{}
	for _, v := range foreign(t) {
		if err := CheckHash(v.Hash); err != nil {
			t.Errorf("%s by %s: %v", v.Hash, v.Maker, err)
		}
		for _, f := range formats {
			read[f.prefix] = read[f.prefix] || strings.HasPrefix(v.Hash, f.prefix)
		}
		for _, w := range wrappers {
			read[w.prefix] = read[w.prefix] || strings.HasPrefix(v.Hash, w.prefix)
		}
		if got := mustVerify(t, h, v.Hash, v.Password); !got.OK {
			t.Errorf("%s by %s: %q doesn't verify", v.Hash, v.Maker, v.Password)
		} else if !got.Rehash && !strings.Contains(v.Hash, "argon2id$") {
			t.Errorf("%s by %s isn't renewed", v.Hash, v.Maker)
		}
		if wrong := "?" + v.Password; mustVerify(t, h, v.Hash, wrong).OK {
			t.Errorf("%s by %s: %q verifies in place of %q", v.Hash, v.Maker, wrong, v.Password)
		}
	}
	for prefix, found := range read {
		if !found {
			t.Errorf("no vector begins with %s", prefix)
		}
	}
	if len(read) != len(formats)+len(wrappers) {
		t.Errorf("%d prefixes, want %d", len(read), len(formats)+len(wrappers))
	}
}

// Some hashes were made of bytes that preparing would change. A user who types
// the same password as in the other system gets in, and only those bytes
// verify. The renewed hash is of the prepared password.
func TestHashesOfBytesThatWereNotPrepared(t *testing.T) {
	h := newHasher(t, cheap)
	for _, v := range foreign(t) {
		if v.Password != "cafe\u0301" && v.Password != "pass\u00a0word" {
			continue
		}
		if got, want := mustVerify(t, h, v.Hash, v.Password), (Result{OK: true, Rehash: true}); got != want {
			t.Errorf("%s by %s: %+v, want %+v", v.Hash, v.Maker, got, want)
		}
		for _, prepared := range []string{"caf\u00e9", "pass word"} {
			if mustVerify(t, h, v.Hash, prepared).OK {
				t.Errorf("%s by %s: verifies by bytes that nobody hashed", v.Hash, v.Maker)
			}
		}
	}
}

func TestHashesThatAreRefused(t *testing.T) {
	key := func(bytes int) string { return strings.Repeat("00", bytes) }
	const b64of32 = "ifmQnHnXSTjghonp5iMkJw7eVdgIWtl3MRnig9wYozM"
	for s, reason := range map[string]string{
		"":                                      "unknown format",
		"secret123":                             "unknown format",
		"$1$28772684$iEwNOgGugqO9.bIz5sk8k/":    "MD5",
		"$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/": "MD5",
		"$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0":    "MD5",
		"md5$salt$5f4dcc3b5aa765d61d8327deb882cf99": "MD5",
		"5f4dcc3b5aa765d61d8327deb882cf99":          "checksum",
		key(20):                                     "checksum",
		key(32):                                     "checksum",
		"{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=":         "fast SHA hash",
		"{ssha}W6ph5Mm5Pz8GgiULbPgzG37mj9g=":        "fast SHA hash",
		"sha1$salt$" + key(20):                      "fast SHA hash",
		"sha256$salt$" + key(32):                    "fast SHA hash",
		"crypt$$ab1Hv2Lg7ltQo":                      "DES",
		"{noop}secret123":                           "clear text",
		"plain$$secret123":                          "clear text",
		"$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7": "yescrypt",
		"$argon2d$v=19$m=64,t=2,p=1$" + salt16 + "$" + b64of32:                      "argon2d",
		"$2x$05$46T/sLwQQznq6OZcFfXRDurradZ/lkoZebIxkv22S04whfexXqmUO":              "broken",
		"{pbkdf2}" + key(40):                                                                     "parameters",
		"{scrypt}$e0801$c2FsdA==$" + b64of32:                                                     "parameters",
		"{bcrypt}$1$28772684$iEwNOgGugqO9.bIz5sk8k/":                                             "unknown format",
		"{bcrypt}{bcrypt}$2b$05$46T/sLwQQznq6OZcFfXRDurradZ/lkoZebIxkv22S04whfexXqmUO":           "unknown format",
		"pbkdf2:sha256$salt$" + key(32):                                                          "another version",
		"pbkdf2:md5:1000$salt$" + key(16):                                                        "unknown format",
		"$2b$12$":                                                                                "damaged",
		"$2b$12$" + strings.Repeat("!", 53):                                                      "damaged",
		"pbkdf2_sha256$1000$salt$" + b64of32:                                                     "damaged",
		"pbkdf2_sha256$1000$salt$" + b64of32 + "=$":                                              "damaged",
		"pbkdf2_sha256$01000$salt$" + b64of32 + "=":                                              "damaged",
		"pbkdf2_sha256$+1000$salt$" + b64of32 + "=":                                              "damaged",
		"pbkdf2_sha256$-1$salt$" + b64of32 + "=":                                                 "damaged",
		"pbkdf2_sha256$99999999999$salt$" + b64of32 + "=":                                        "damaged",
		"pbkdf2_sha1$1000$salt$" + b64of32 + "=":                                                 "damaged",
		"$pbkdf2-sha256$1000$c2+$" + b64of32:                                                     "damaged",
		"pbkdf2:sha256:1000$salt$" + key(31):                                                     "damaged",
		"pbkdf2:sha256:1000$salt$" + key(31) + "0g":                                              "damaged",
		"scrypt:16:8:1$salt$" + key(15):                                                          "damaged",
		"scrypt:16:8:1$salt$" + key(65):                                                          "damaged",
		"$6$rounds=x$salt$" + strings.Repeat("0", 86):                                            "damaged",
		"$6$seventeen_letters$" + strings.Repeat("0", 86):                                        "damaged",
		"$6$salt$" + strings.Repeat("0", 43):                                                     "damaged",
		"$scrypt$ln=4,r=8$c2FsdA$" + b64of32:                                                     "damaged",
		"$bcrypt-sha256$v=3,t=2b,r=4$" + strings.Repeat(".", 22) + "$" + strings.Repeat(".", 31): "damaged",
		"pbkdf2_sha256$1000$" + strings.Repeat("s", 500) + "$" + b64of32 + "=":                   "longer than 512 bytes",
		// Costs.
		"$2b$03$46T/sLwQQznq6OZcFfXRDurradZ/lkoZebIxkv22S04whfexXqmUO":                            "cost",
		"$2b$15$46T/sLwQQznq6OZcFfXRDurradZ/lkoZebIxkv22S04whfexXqmUO":                            "cost",
		"bcrypt_sha256$$2b$31$46T/sLwQQznq6OZcFfXRDurradZ/lkoZebIxkv22S04whfexXqmUO":              "cost",
		"$bcrypt-sha256$v=2,t=2b,r=15$" + strings.Repeat(".", 22) + "$" + strings.Repeat(".", 31): "cost",
		"$argon2id$v=19$m=262145,t=1,p=1$" + salt16 + "$" + b64of32:                               "cost",
		"$argon2i$v=19$m=262144,t=5,p=1$" + salt16 + "$" + b64of32:                                "cost",
		"argon2$argon2id$v=19$m=64,t=17,p=1$" + salt16 + "$" + b64of32:                            "cost",
		"pbkdf2_sha256$0$salt$" + b64of32 + "=":                                                   "cost",
		"pbkdf2_sha256$2000001$salt$" + b64of32 + "=":                                             "cost",
		"pbkdf2:sha512:2147483647$salt$" + key(64):                                                "cost",
		"$pbkdf2-sha256$2000001$c2E$" + b64of32:                                                   "cost",
		"scrypt:131072:8:2$salt$" + key(64):                                                       "cost",
		"scrypt:262144:8:1$salt$" + key(64):                                                       "cost",
		"scrypt:16:33:1$salt$" + key(64):                                                          "cost",
		"scrypt:15:8:1$salt$" + key(64):                                                           "cost",
		"scrypt:1:8:1$salt$" + key(64):                                                            "cost",
		"scrypt:0:8:1$salt$" + key(64):                                                            "cost",
		"scrypt:16:0:1$salt$" + key(64):                                                           "cost",
		"scrypt:16:8:0$salt$" + key(64):                                                           "cost",
		"scrypt:1073741824:32:2147483647$salt$" + key(64):                                         "cost",
		"scrypt$16$salt$8$2147483647$" + b64of32 + "=":                                            "cost",
		"$scrypt$ln=21,r=1,p=1$c2FsdA$" + b64of32:                                                 "cost",
		"$scrypt$ln=63,r=8,p=1$c2FsdA$" + b64of32:                                                 "cost",
		"$6$rounds=999$salt$" + strings.Repeat("0", 86):                                           "cost",
		"$5$rounds=1000001$salt$" + strings.Repeat("0", 43):                                       "cost",
	} {
		err := CheckHash(s)
		if !errors.Is(err, ErrHash) || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: %v, want %q", s, err, reason)
		} else if len(s) > 20 && strings.Contains(err.Error(), s[10:]) {
			t.Errorf("%q: the error holds the hash", s)
		}
	}
}

// Even the dearest hash that a hostile file can have must not take seconds. The
// bounds here leave a margin for slow machines and the race detector.
func TestDearestHashesAreBounded(t *testing.T) {
	h := newHasher(t, cheap)
	for _, s := range []string{
		"pbkdf2:sha512:2000000$salt$" + strings.Repeat("00", 64),
		"scrypt:131072:8:1$salt$" + strings.Repeat("00", 64),
		"$6$rounds=1000000$salt$" + strings.Repeat("0", 86),
	} {
		if err := CheckHash(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
		start := time.Now()
		if mustVerify(t, h, s, "secret123").OK {
			t.Errorf("%s verifies", s)
		}
		if d := time.Since(start); d > 30*time.Second {
			t.Errorf("%s took %v", s, d)
		}
	}
	t.Run("a password that crypt(3) wouldn't take", func(t *testing.T) {
		start := time.Now()
		mustVerify(t, h, "$6$rounds=1000000$salt$"+strings.Repeat("0", 86), strings.Repeat("a", 1024))
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

// FuzzParse: a hash that is accepted is within bounds, and any other is refused
// with ErrHash.
func FuzzParse(f *testing.F) {
	for _, v := range foreign(f) {
		f.Add(v.Hash)
	}
	for _, n := range nobodys {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parse(s)
		if err != nil {
			if !errors.Is(err, ErrHash) || d != nil {
				t.Errorf("%q: %v, %v", s, d, err)
			}
			return
		}
		if why := outOfBounds(d); why != "" {
			t.Errorf("%q: %s", s, why)
		}
	})
}

// outOfBounds states the bounds once more, independently of the parsers.
func outOfBounds(d digest) string {
	const salt, key = 512, 64
	switch d := d.(type) {
	case phc:
		if d.memory > 256<<10 || d.time > 16 || d.threads > 16 || uint64(d.memory)*uint64(d.time) > 1<<20 || len(d.key) > key {
			return "argon2"
		}
	case bcryptHash:
		if len(d.encoded) != 60 || !strings.Contains(" 04 05 06 07 08 09 10 11 12 13 14 ", " "+d.encoded[4:6]+" ") {
			return "bcrypt"
		}
	case pbkdf2Hash:
		if d.rounds < 1 || d.rounds > 2e6 || len(d.salt) > salt || len(d.key) != d.hash().Size() {
			return "PBKDF2"
		}
	case scryptHash:
		if d.n < 2 || d.r < 1 || d.p < 1 || float64(d.n)*float64(d.r)*float64(d.p) > 1<<20 || len(d.salt) > salt || len(d.key) > key {
			return "scrypt"
		}
	case shaCrypt:
		if d.rounds < 1000 || d.rounds > 1e6 || len(d.salt) > 16 || len(d.key) != 43 && len(d.key) != 86 {
			return "SHA-crypt"
		}
	default:
		return "of no known kind"
	}
	return ""
}
