package passhash

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestPasswordIsPrepared(t *testing.T) {
	h := newHasher(t, cheap)
	for _, c := range []struct {
		name, set, sent string
		want            bool
	}{
		// PRECIS demands NFC where NIST asks for NFKC or NFKD; all three make these match.
		{"PW-NIST63B-5.1.1.2-06 composed and decomposed é match", "caf\u00e9 cr\u00e8me", "cafe\u0301 cre\u0300me", true},
		{"PW-NIST63B-5.1.1.2-06 decomposed and composed é match", "cafe\u0301", "caf\u00e9", true},
		{"RFC 8265 section 4.2.2: another space is a space", "pass\u00a0word", "pass word", true},
		{"RFC 8265 section 4.2.2: case counts", "Secret123", "secret123", false},
		{"RFC 8265 section 4.2.2: width counts", "secret\uff11", "secret1", false},
		{"RFC 8265 section 4.3: spaces at the ends count", " secret123 ", "secret123", false},
		{"RFC 8265 section 4.3: the number of spaces counts", "correct horse  battery", "correct horse battery", false},
		{"PW-NIST63B-5.1.1.2-05 ASCII that prints", ` !"#$%&'()*+,-./:;<=>?@[\]^_{|}~` + "`", ` !"#$%&'()*+,-./:;<=>?@[\]^_{|}~` + "`", true},
		{"PW-NIST63B-5.1.1.2-05 letters of other scripts", "pä€ß пароль 密码", "pä€ß пароль 密码", true},
		{"PW-NIST63B-5.1.1.2-05 emoji", "\U0001F600\U0001F680 smile", "\U0001F600\U0001F680 smile", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mustVerify(t, h, mustHash(t, h, c.set), c.sent).OK; got != c.want {
				t.Errorf("set %+q, sent %+q: %v, want %v", c.set, c.sent, got, c.want)
			}
			if got := Same(c.set, c.sent); got != c.want {
				t.Errorf("Same(%+q, %+q) is %v, want %v", c.set, c.sent, got, c.want)
			}
		})
	}
}

func TestUsername(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{ // want "": refused
		{"RFC 8265 section 3.3.2: case", "Alice", "alice"},
		{"RFC 8265 section 3.3.2: case of other scripts", "ΑΛΊΚΗ", "αλίκη"},
		{"RFC 8265 section 3.3.2: width", "\uff21lice", "alice"},
		{"RFC 8265 section 3.3.2: normal form", "ame\u0301lie", "am\u00e9lie"},
		{"RFC 8265 section 3.5 at sign and full stop", "juliet@example.com", "juliet@example.com"},
		{"RFC 8265 section 3.5 letters", "fussball", "fussball"},
		{"RFC 8265 section 3.5 sharp s is no ss", "fu\u00dfball", "fu\u00dfball"},
		{"RFC 8265 section 3.5 a letter that isn't ASCII", "\u03c0", "\u03c0"},
		{"RFC 8265 section 3.5 capital sigma", "\u03a3", "\u03c3"},
		{"RFC 8265 section 3.5 small sigma", "\u03c3", "\u03c3"},
		{"RFC 8265 section 3.5 final sigma", "\u03c2", "\u03c2"},
		{"RFC 8265 section 3.5 compatibility character", "henry\u2163", ""},
		{"RFC 8265 section 3.5 symbol", "\u221e", ""},
		{"RFC 8265 section 3.5 empty", "", ""},
		{"RFC 8265 section 3.5 space", "foo bar", ""},
		{"RFC 8265 section 3.3.2: mixed directions", "\u05d0a", ""},
		{"NUL", "alice\x00", ""},
		{"line break", "alice\n", ""},
		{"zero width space", "ali\u200bce", ""},
		{"not UTF-8", "alice\xff", ""},
		{"255 bytes", strings.Repeat("a", 255), strings.Repeat("a", 255)},
		{"256 bytes", strings.Repeat("a", 256), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Username(c.in)
			if got != c.want || (err != nil) != (c.want == "") || err != nil && !errors.Is(err, ErrUsername) {
				t.Errorf("Username(%+q) = %+q, %v, want %+q", c.in, got, err, c.want)
			}
		})
	}
}

// FuzzUsername: preparing a prepared name doesn't change it, and the name is
// short and has no character that could forge a line of a log or a key of a
// store.
func FuzzUsername(f *testing.F) {
	for _, s := range []string{"Alice", "ΣΑΣ", "\u0130", "\u05d0", "\uff21", "e\u0301", "a\x00", "\xff", "\u1e9e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := Username(s)
		if err != nil {
			if name != "" {
				t.Errorf("%+q: refused, and %+q", s, name)
			}
			return
		}
		if again, err := Username(name); err != nil || again != name {
			t.Errorf("%+q is %+q, and that is %+q, %v", s, name, again, err)
		}
		if name == "" || len(name) > 255 || !utf8.ValidString(name) || strings.ContainsFunc(name, odd) {
			t.Errorf("%+q is %+q", s, name)
		}
	})
}

// FuzzPrepare: a prepared password is UTF-8 without control characters, and
// preparing fails only with ErrPassword.
func FuzzPrepare(f *testing.F) {
	for _, s := range []string{"secret123", "e\u0301", "a\u00a0b", "a\x00", "\xff", "\U0001F600"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		prepared, err := prepare(s)
		switch {
		case err != nil && !errors.Is(err, ErrPassword):
			t.Errorf("%+q: %v", s, err)
		case err == nil && (prepared == "" || !utf8.ValidString(prepared) || strings.ContainsFunc(prepared, unicode.IsControl)):
			t.Errorf("%+q is %+q", s, prepared)
		}
	})
}

func odd(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }
