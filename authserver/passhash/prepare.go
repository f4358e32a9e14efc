package passhash

import (
	"fmt"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

const (
	maxPassword = 1024 // bytes, as sent
	maxUsername = 255  // bytes, as sent and as compared
)

// prepare returns the password in the form that is hashed, RFC 8265 section
// 4.2: a composed and a decomposed é become the same, and every space becomes
// U+0020. The error wraps ErrPassword.
func prepare(password string) (string, error) {
	if len(password) > maxPassword {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrPassword, maxPassword)
	}
	// precis would read every broken byte as the same replacement character, so
	// that many passwords would become one.
	if !utf8.ValidString(password) {
		return "", fmt.Errorf("%w: not UTF-8", ErrPassword)
	}
	prepared, err := precis.OpaqueString.String(password)
	if err != nil {
		return "", fmt.Errorf("%w: empty, or contains characters that RFC 8265 disallows", ErrPassword)
	}
	return prepared, nil
}

// Same reports whether a and b are the same password once prepared.
func Same(a, b string) bool {
	preparedA, errA := prepare(a)
	preparedB, errB := prepare(b)
	return errA == nil && errB == nil && preparedA == preparedB
}

// Username returns the name in the form that is stored and compared,
// UsernameCaseMapped of RFC 8265 section 3.3: Alice becomes alice. Spaces
// aren't allowed. The error is ErrUsername.
func Username(name string) (string, error) {
	if name == "" || len(name) > maxUsername || !utf8.ValidString(name) {
		return "", ErrUsername
	}
	prepared, err := precis.UsernameCaseMapped.String(name)
	if err != nil || prepared == "" || len(prepared) > maxUsername {
		return "", ErrUsername
	}
	// A name that changes again when it is prepared again would be two users
	// (RFC 8264 section 7).
	if again, err := precis.UsernameCaseMapped.String(prepared); err != nil || again != prepared {
		return "", ErrUsername
	}
	return prepared, nil
}
