package authserver

import (
	"net/http"
	"slices"

	"github.com/grantd/grantd/internal/wellknown"
)

// metadataName is the well-known URI suffix of RFC 8414 section 7.3.
const metadataName = "oauth-authorization-server"

// metadata is the document of RFC 8414 section 2. It lists only what the server
// offers; empty lists are left out (section 3.2). Section 2 requires
// response_types_supported, the response types of the authorization endpoint.
// This server has no such endpoint, so any element would be false.
type metadata struct {
	Issuer                   string   `json:"issuer"`
	TokenEndpoint            string   `json:"token_endpoint"`
	ScopesSupported          []string `json:"scopes_supported,omitempty"`
	GrantTypesSupported      []string `json:"grant_types_supported,omitempty"`
	TokenAuthMethods         []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	RevocationEndpoint       string   `json:"revocation_endpoint"`
	RevocationAuthMethods    []string `json:"revocation_endpoint_auth_methods_supported,omitempty"`
	IntrospectionEndpoint    string   `json:"introspection_endpoint"`
	IntrospectionAuthMethods []string `json:"introspection_endpoint_auth_methods_supported,omitempty"`
	ProtectedResources       []string `json:"protected_resources,omitempty"` // RFC 9728 section 4
}

// describe returns the server's metadata.
func (s *Server) describe() metadata {
	c, id := s.cfg, s.identifier
	confidential := []string{"client_secret_basic", "client_secret_post"}
	everybody := append(slices.Clone(confidential), "none")
	introspectors := slices.Clone(confidential)
	if slices.Contains(c.Scopes, IntrospectScope) {
		introspectors = append(introspectors, "Bearer") // an access token type, as section 2 allows here
	}
	return metadata{
		Issuer:                   c.Issuer,
		TokenEndpoint:            id.Base + "/token",
		ScopesSupported:          c.Scopes,
		GrantTypesSupported:      s.grantTypes(),
		TokenAuthMethods:         everybody,
		RevocationEndpoint:       id.Base + "/revoke",
		RevocationAuthMethods:    everybody,
		IntrospectionEndpoint:    id.Base + "/introspect",
		IntrospectionAuthMethods: introspectors,
		ProtectedResources:       c.Audiences,
	}
}

// metadata answers GET /.well-known/oauth-authorization-server, RFC 8414
// section 3. Unlike all other answers of endpoint it may be cached.
func (s *Server) metadata(w http.ResponseWriter, r *http.Request, _ *Event) error {
	w.Header().Del("Pragma")
	if wellknown.AnyOrigin(w, r) {
		return nil
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return errReadOnly
	}
	s.document.ServeHTTP(w, r)
	return nil
}
