package storage

import (
	"net/url"
	"strings"
)

// MaxResource is the greatest length of a resource identifier, in bytes.
const MaxResource = 512

// ValidResource reports whether s can identify a resource server: an absolute
// URI of RFC 3986 section 4.3, so without a fragment, with a host or, like a
// URN, without any (RFC 8707 section 2). It holds no space, so that an audience
// can list several. Identifiers are compared code point by code point, without
// any normalisation (RFC 9728 section 6).
func ValidResource(s string) bool {
	if s == "" || len(s) > MaxResource || strings.ContainsFunc(s, outsideURI) {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && (u.Host != "" || u.Opaque != "")
}

// outsideURI reports whether c can't be in an absolute URI.
func outsideURI(c rune) bool {
	return c <= ' ' || c > '~' || strings.ContainsRune("\"#<>\\^`{|}", c)
}
