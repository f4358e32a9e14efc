package resource

import (
	"context"
	"strings"
	"time"
)

// Identity is the user or the client that a valid access token stands for.
type Identity struct {
	// Subject is the id of the user, or the id of the client when the token has
	// no user, as in RFC 9068 section 2.2: see IsClient. It never changes, so
	// key your records by Subject, not by Username.
	Subject string

	// Username is the user's name at sign-in; empty when there is no user
	// (RFC 6749 section 4.4).
	Username string

	// ClientID is the client that the token was issued to.
	ClientID string

	// Scope is what the token may do: space-separated, RFC 6749 section 3.3.
	Scope string

	// Audience lists the identifiers of the resource servers that the token is
	// for (RFC 8707 section 2). Empty: the token is for every resource server.
	Audience []string

	// The times are zero when an introspected authorization server doesn't tell
	// them.
	IssuedAt  time.Time // of the token
	ExpiresAt time.Time // of the token: a [Validator] refuses it from this instant on
}

// HasScope reports whether the token's scope contains the scope-token s.
func (i Identity) HasScope(s string) bool {
	for have := range strings.SplitSeq(i.Scope, " ") {
		if have == s {
			return s != ""
		}
	}
	return false
}

// IsClient reports whether the token stands for the client itself and for no
// user, as a token of the client credentials grant does (RFC 6749 section 4.4).
// Call it before you use Subject as a user's id (RFC 9700 section 4.15).
func (i Identity) IsClient() bool { return i.Username == "" && i.Subject == i.ClientID }

type identityKey struct{}

func withIdentity(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// IdentityFrom returns the identity that [Guard.Require] put into ctx, or false
// when the request didn't pass a guard.
func IdentityFrom(ctx context.Context) (Identity, bool) {
	id, ok := ctx.Value(identityKey{}).(Identity)
	return id, ok
}
