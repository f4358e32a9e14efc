package passhash

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPolicy(t *testing.T) {
	for _, c := range []struct {
		name, user, password string
		want                 string // text of the error; "" if the password may be chosen
	}{
		{"PW-NIST63B-5.1.1.2-01 7 code points are too few", "alice", "sevench", "shorter than 8"},
		{"PW-NIST63B-5.1.1.2-01 8 are enough", "alice", "eightchr", ""},
		{"PW-NIST63B-5.1.1.2-01 code points count, not bytes", "alice", "пароль7", "shorter than 8"},
		{"PW-NIST63B-5.1.1.2-01 8 code points of other scripts", "alice", "пароль12", ""},
		{"PW-NIST63B-5.1.1.2-01 combining marks that melt away don't count", "alice", "cafe\u0301123", "shorter than 8"},
		{"PW-NIST63B-5.1.1.2-03 64 characters", "alice", strings.Repeat("ab", 32), ""},
		{"PW-NIST63B-5.1.1.2-03 128 characters", "alice", strings.Repeat("ab", 64), ""},
		{"PW-NIST63B-5.1.1.2-03 1024 bytes", "alice", strings.Repeat("ab", 512), ""},
		{"PW-NIST63B-5.1.1.2-03 1025 bytes are refused", "alice", strings.Repeat("ab", 512) + "a", "longer than 1024 bytes"},
		{"PW-NIST63B-5.1.1.2-07 a common one", "alice", "password123", "most common"},
		{"PW-NIST63B-5.1.1.2-07 the most common of all", "alice", "password", "most common"},
		{"PW-NIST63B-5.1.1.2-07 a common one in another case", "alice", "PassWord123", "most common"},
		{"PW-NIST63B-5.1.1.2-07 a row of keys", "alice", "1qaz2wsx", "most common"},
		{"PW-NIST63B-5.1.1.2-07 a repeated character", "alice", "§§§§§§§§§§", "a repeated character"},
		{"PW-NIST63B-5.1.1.2-07 a sequence", "alice", "bcdefghijklm", "sequence"},
		{"PW-NIST63B-5.1.1.2-07 a sequence backwards", "alice", "Ωψχφυτσςρ", "sequence"},
		{"PW-NIST63B-5.1.1.2-07 the user's name", "albrecht", "albrecht", "name"},
		{"PW-NIST63B-5.1.1.2-07 the name in another case", "albrecht", "AlBrecht", "name"},
		{"PW-NIST63B-5.1.1.2-07 the name with digits", "zoë", "Zoë19841984!", "name"},
		{"PW-NIST63B-5.1.1.2-07 the name in decomposed form", "am\u00e9liepoulain", "ame\u0301liepoulain", "name"},
		{"PW-NIST63B-5.1.1.2-07 an address", "zoe@example.org", "zoe@example.org", "name"},
		{"PW-NIST63B-5.1.1.2-07 the name in an address, with digits", "zoe@example.org", "20202zoe", "name"},
		{"PW-NIST63B-5.1.1.2-07 a name without a letter", "4711081547", "4711081547", "name"},
		{"another number than that", "4711081547", "9313371337", ""},
		{"a name inside a longer password", "zoe", "zoe likes red kites", ""},
		{"a common password inside a longer one", "zoe", "password123 is not mine", ""},
		{"PW-NIST63B-5.1.1.2-08 no composition rules", "alice", "aaaa bbbb cccc dddd", ""},
		{"PW-NIST63B-5.1.1.2-08 letters alone will do", "alice", "longwordswithoutend", ""},
		{"a control character is refused", "alice", "secret\x00123", "RFC 8265"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Policy{}.Check(c.user, c.password)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (!errors.Is(err, ErrPassword) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("Check = %v, want it to tell %q", err, c.want)
			}
		})
	}
	t.Run("PW-NIST63B-5.1.1.2-02 a policy of 15 characters", func(t *testing.T) {
		strict := Policy{MinLength: 15}
		if err := strict.Check("alice", "fourteen chars"); err == nil || !strings.Contains(err.Error(), "shorter than 15") {
			t.Errorf("14: %v", err)
		}
		if err := strict.Check("alice", "fifteen chars !"); err != nil {
			t.Errorf("15: %v", err)
		}
	})
	t.Run("PW-NIST63B-5.1.1.2-01 no policy allows less than 8", func(t *testing.T) {
		if err := (Policy{MinLength: 4}).Check("alice", "sevench"); err == nil {
			t.Error("accepted")
		}
	})
}

// The list must be long enough for OWASP ASVS 5.0 (6.2.4: 3000), and in a form
// in which a look-up finds every entry.
func TestCommonPasswords(t *testing.T) {
	var list []string
	for line := range strings.Lines(common) {
		if !strings.HasPrefix(line, "# ") && line != "#\n" {
			list = append(list, strings.TrimSuffix(line, "\n"))
		}
	}
	if len(list) < 3000 || !slices.IsSorted(list) {
		t.Errorf("%d passwords, sorted: %v", len(list), slices.IsSorted(list))
	}
	for i, s := range list {
		if prepared, err := prepare(s); err != nil || prepared != s || strings.ToLower(s) != s || utf8.RuneCountInString(s) < minPassword {
			t.Errorf("%q can't be found, or needn't be", s)
		}
		if i > 0 && list[i-1] == s {
			t.Errorf("%q comes twice", s)
		}
	}
	for _, s := range []string{list[0], list[len(list)/2], list[len(list)-1]} {
		if !isCommon(s) {
			t.Errorf("%q isn't found", s)
		}
	}
	for _, s := range []string{"", "assword12", "password1\n", "correct horse battery staple"} {
		if isCommon(s) {
			t.Errorf("%q passes for a common one", s)
		}
	}
}
