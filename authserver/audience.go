package authserver

import (
	"slices"
	"strings"

	"github.com/grantd/grantd/storage"
)

// maxResources is how many resources a request may name.
const maxResources = 32

// resources returns the resource servers that the request names (RFC 8707
// section 2). They are well-formed, but may be unknown.
func (p params) resources() ([]string, error) {
	named := strings.FieldsFunc(p["resource"], func(r rune) bool { return r == resourceSeparator }) // an empty one counts as absent
	if len(named) > maxResources {
		return nil, ErrInvalidTarget.reason("too many resources")
	}
	if !every(named, storage.ValidResource) {
		return nil, ErrInvalidTarget.reason("not an absolute URI without a fragment")
	}
	return named, nil
}

// audience returns the audience of a new grant, space-separated: the resources
// that the request names, or else a default. Empty means every resource server.
// A resource that the client may not ask for isn't left out, but refused:
// ErrInvalidTarget.
func (s *Server) audience(client storage.Client, form params) (string, error) {
	named, err := form.resources()
	switch {
	case err != nil:
		return "", err
	case len(named) > 0:
		return narrow(s.audiences(client), named)
	case len(client.Audiences) > 0 || s.cfg.Strict:
		return strings.Join(s.audiences(client), " "), nil
	}
	return "", nil
}

// audiences returns the resource servers that the client may ask for: its own,
// or the server's when it has none.
func (s *Server) audiences(client storage.Client) []string {
	if len(client.Audiences) > 0 {
		return client.Audiences
	}
	return s.cfg.Audiences
}

// refreshAudience returns the audience of the access token that a refresh
// makes. It may hold fewer resource servers than were granted, never others
// (RFC 8707 section 2.2). In a grant for all resource servers, the rules of a
// new grant apply.
func (s *Server) refreshAudience(client storage.Client, granted string, form params) (string, error) {
	if granted == "" {
		return s.audience(client, form)
	}
	named, err := form.resources()
	if err != nil || len(named) == 0 {
		return granted, err
	}
	return narrow(strings.Fields(granted), named)
}

// narrow returns the identifiers in allowed that are named, each once and in
// the order of allowed, so that the same set always gives the same text.
// Identifiers are compared code point by code point (RFC 9728 section 6).
func narrow(allowed, named []string) (string, error) {
	if !every(named, func(s string) bool { return slices.Contains(allowed, s) }) {
		return "", ErrInvalidTarget.reason("unknown, or not for this client or this grant")
	}
	kept := slices.DeleteFunc(slices.Clone(allowed), func(s string) bool { return !slices.Contains(named, s) })
	return strings.Join(kept, " "), nil
}

// shownTo returns the part of the access token's audience that a caller of the
// introspection endpoint may see, and whether the caller may see the token at
// all. A caller with Audiences sees only tokens for one of them, or for every
// resource server, and no other audience (RFC 7662 sections 2.2 and 4). A token
// for every resource server has no audience.
func shownTo(caller storage.Client, g storage.Grant) (audience []string, shown bool) {
	audience = strings.Fields(g.AccessAudience)
	if len(audience) == 0 || len(caller.Audiences) == 0 {
		return audience, true
	}
	own := slices.DeleteFunc(audience, func(s string) bool { return !slices.Contains(caller.Audiences, s) })
	return own, len(own) > 0
}
