package storage

// ValidScopeToken reports whether s can be one of the scopes of a grant or a client,
// by the grammar of RFC 6749 section 3.3. It holds no space, so that a scope
// can list several:
//
//	scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
func ValidScopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}
