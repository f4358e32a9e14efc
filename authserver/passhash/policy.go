package passhash

import (
	_ "embed" // for common
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// common are passwords that everybody tries first; the file says where they are
// from. They are in lower case, one a line.
//
//go:embed common.txt
var common string

const minPassword = 8 // code points

// Policy is what a password has to meet when somebody chooses it. The zero
// Policy is that of NIST SP 800-63B section 5.1.1.2.
type Policy struct {
	// MinLength is how many code points it needs; less than 8 is 8. Where the
	// password is the only factor, revision 4 of SP 800-63B wants 15.
	MinLength int
}

// Check returns nil when the user of that name may choose the password: it is
// acceptable to RFC 8265 section 4.2, long enough and at most 1024 bytes, none
// of the most common ones, and not the user's name with a few digits. There is
// no rule about which characters it has. The error wraps ErrPassword and says
// why.
//
// It is compared as a whole and without regard to case, so that a long password
// may have common words in it.
func (p Policy) Check(name, password string) error {
	prepared, err := prepare(password)
	if err != nil {
		return err
	}
	least := max(p.MinLength, minPassword)
	lower := strings.ToLower(prepared)
	switch {
	case utf8.RuneCountInString(prepared) < least:
		return fmt.Errorf("%w: shorter than %d characters", ErrPassword, least)
	case isCommon(lower):
		return fmt.Errorf("%w: one of those that everybody tries first", ErrPassword)
	case isSequence(lower):
		return fmt.Errorf("%w: one character over and over, or a plain sequence", ErrPassword)
	case isName(lower, name):
		return fmt.Errorf("%w: little more than the user's name", ErrPassword)
	}
	return nil
}

func isCommon(lower string) bool { return strings.Contains(common, "\n"+lower+"\n") }

// isSequence reports whether s goes on as it begins: aaaaaaaa, abcdefgh, 87654321.
func isSequence(s string) bool {
	r := []rune(s)
	step := r[1] - r[0]
	if step < -1 || step > 1 {
		return false
	}
	for i := range r[1:] {
		if r[i+1]-r[i] != step {
			return false
		}
	}
	return true
}

// isName reports whether the password is the name, or the part of it before an
// at sign, with or without what isn't a letter around it.
func isName(lower, name string) bool {
	name = strings.ToLower(name)
	local, _, _ := strings.Cut(name, "@")
	for _, own := range []string{name, local} {
		if lower == own || letters(own) != "" && letters(lower) == letters(own) {
			return true
		}
	}
	return false
}

// letters is s without what isn't a letter at both ends.
func letters(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return !unicode.IsLetter(r) })
}
