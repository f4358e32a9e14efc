package authserver

import (
	"slices"
	"strings"

	"github.com/grantd/grantd/storage"
)

// AdminScope is a scope that the password grant gives only to users marked as
// admins. For all other users it is left out.
const AdminScope = "admin"

// parseScope splits a scope by the grammar of RFC 6749 section 3.3: tokens between
// single spaces. A scope named twice counts once.
func parseScope(scope string) ([]string, error) {
	var tokens []string
	for token := range strings.SplitSeq(scope, " ") {
		if !storage.ValidScopeToken(token) {
			return nil, ErrInvalidScope.reason("malformed")
		}
		if !slices.Contains(tokens, token) {
			tokens = append(tokens, token)
		}
		if len(tokens) > maxScopes {
			return nil, ErrInvalidScope.reason("too many scopes")
		}
	}
	return tokens, nil
}

// maxScopes is how many scopes a request may ask for.
const maxScopes = 64

// clientScope returns the requested scope if the client may have all of it. It
// doesn't cut a larger scope down, but refuses it: ErrInvalidScope. If no scope
// is requested it returns the part of the default scope that the client may
// have.
func (s *Server) clientScope(client storage.Client, requested string) ([]string, error) {
	allowed := func(token string) bool {
		return slices.Contains(client.Scopes, token) && slices.Contains(s.cfg.Scopes, token)
	}
	if requested == "" {
		return keep(s.cfg.DefaultScopes, allowed)
	}
	tokens, err := parseScope(requested)
	if err != nil {
		return nil, err
	}
	if !every(tokens, allowed) {
		return nil, ErrInvalidScope.reason("not allowed for the client")
	}
	return tokens, nil
}

// userScope returns the part of scope that the user may be granted. The rest is
// left out, and the response says so (RFC 6749 section 3.3).
func userScope(user storage.User, scope []string) ([]string, error) {
	return keep(scope, func(token string) bool { return user.Admin || token != AdminScope })
}

// refreshScope returns the scope of the access token that a refresh makes. It
// may be less than was granted, never more (RFC 6749 section 6).
func refreshScope(granted, requested string) (string, error) {
	if requested == "" {
		return granted, nil
	}
	tokens, err := parseScope(requested)
	if err != nil {
		return "", err
	}
	had := strings.Fields(granted)
	if !every(tokens, func(token string) bool { return slices.Contains(had, token) }) {
		return "", ErrInvalidScope.reason("more than was granted")
	}
	if len(tokens) == len(had) {
		return granted, nil
	}
	return strings.Join(tokens, " "), nil
}

// keep returns the tokens that may stay, or ErrInvalidScope when none may.
func keep(tokens []string, may func(string) bool) ([]string, error) {
	var kept []string
	for _, token := range tokens {
		if may(token) {
			kept = append(kept, token)
		}
	}
	if len(kept) == 0 {
		return nil, ErrInvalidScope.reason("nothing is left of the scope")
	}
	return kept, nil
}

func every(tokens []string, holds func(string) bool) bool {
	return !slices.ContainsFunc(tokens, func(token string) bool { return !holds(token) })
}
