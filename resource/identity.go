package resource

import (
	"context"
	"strings"
	"time"
)

// Identity is whom a valid access token speaks for.
type Identity struct {
	// Subject is the id of the user, or the id of the client when the token
	// has no user, as in RFC 9068 section 2.2: see IsClient. It never changes:
	// key your records by it, not by Username.
	Subject string

	// Username is the user's name at sign-in; empty when there is no user
	// (RFC 6749 section 4.4).
	Username string

	// ClientID is the client that the token was issued to.
	ClientID string

	// Scope is what the token may do: space-separated, RFC 6749 section 3.3.
	Scope string

	// Audience are the identifiers of the resource servers that the token is
	// for (RFC 8707 section 2). Empty: it is for every one.
	Audience []string

	// Zero where an authorization server that was asked doesn't tell.
	IssuedAt  time.Time // of the token
	ExpiresAt time.Time // of the token: from this instant on a [Validator] refuses it
}

// HasScope reports whether the token's scope holds the scope-token s.
func (i Identity) HasScope(s string) bool {
	for have := range strings.SplitSeq(i.Scope, " ") {
		if have == s {
			return s != ""
		}
	}
	return false
}

// IsClient reports whether the token speaks for the client itself and for no
// user, as one of the client credentials grant does (RFC 6749 section 4.4). Ask
// it before you take Subject for a user's id (RFC 9700 section 4.15).
func (i Identity) IsClient() bool { return i.Username == "" && i.Subject == i.ClientID }

type identityKey struct{}

func withIdentity(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// IdentityFrom returns the identity that [Guard.Require] found, and false when
// the request didn't pass a guard.
func IdentityFrom(ctx context.Context) (Identity, bool) {
	id, ok := ctx.Value(identityKey{}).(Identity)
	return id, ok
}
