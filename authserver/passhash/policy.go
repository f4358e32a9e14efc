package passhash

import (
	_ "embed" // for common
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// common lists the most common passwords, which attackers try first: in lower
// case, one a line. The file names its source.
//
//go:embed common.txt
var common string

const minPassword = 8 // code points

// Policy is the rule for new passwords. The zero Policy is that of NIST SP
// 800-63B section 5.1.1.2.
type Policy struct {
	// MinLength is the least number of code points; less than 8 means 8. Where
	// the password is the only factor, revision 4 of SP 800-63B wants 15.
	MinLength int
}

// Check returns nil when the user of that name may choose the password: it is
// acceptable to RFC 8265 section 4.2, long enough, at most 1024 bytes, not one
// of the most common, not a plain sequence, and not the user's name with a few
// digits. It needn't have characters of certain kinds. The error wraps
// ErrPassword and says why.
//
// Check compares the whole password, without regard to case: a long password
// may contain common words.
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
		return fmt.Errorf("%w: one of the most common passwords", ErrPassword)
	case isSequence(lower):
		return fmt.Errorf("%w: a repeated character, or a plain sequence such as abcdefgh", ErrPassword)
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
// at sign. It ignores characters at either end that aren't letters.
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

// letters returns s without the characters at both ends that aren't letters.
func letters(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return !unicode.IsLetter(r) })
}
