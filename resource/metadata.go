package resource

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/grantd/grantd/internal/wellknown"
)

// metadataName is the well-known URI suffix of RFC 9728 section 8.2.
const metadataName = "oauth-protected-resource"

// metadata is the document of RFC 9728 section 2. Lists without an element are
// left out (section 3.2).
type metadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers,omitempty"`
	ScopesSupported      []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	Name                 string   `json:"resource_name"`
	Documentation        string   `json:"resource_documentation,omitempty"`
}

// describe checks the fields of c that the metadata shows, and makes the
// metadata.
func (g *Guard) describe(c Config) error {
	id, err := wellknown.Parse(c.Resource)
	if err == nil && id.Path != "" && strings.HasSuffix(c.Resource, "/") {
		err = errors.New("must not end with a slash, which would make the place of its metadata ambiguous")
	}
	if err != nil {
		return fmt.Errorf("resource: Config.Resource %w", err)
	}
	for _, issuer := range c.AuthorizationServers {
		if _, err := wellknown.Parse(issuer); err != nil {
			return fmt.Errorf("resource: Config.AuthorizationServers: an issuer %w", err)
		}
	}
	if u, err := url.Parse(c.Documentation); c.Documentation != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		return errors.New("resource: Config.Documentation must be an absolute https or http URL")
	}
	g.place = id.Place(metadataName)
	g.protection += `, resource_metadata="` + id.URL(metadataName) + `"` // the URL needs no escaping
	g.about = metadata{
		Resource:             c.Resource,
		AuthorizationServers: slices.Clone(c.AuthorizationServers),
		BearerMethods:        []string{"header"},
		Name:                 c.Name,
		Documentation:        c.Documentation,
	}
	if c.FormBody {
		g.about.BearerMethods = append(g.about.BearerMethods, "body")
	}
	g.tellScopes(nil)
	return nil
}

// tellScopes adds the scopes to the document.
func (g *Guard) tellScopes(scopes []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range scopes {
		g.scopes[s] = true
	}
	about := g.about
	about.ScopesSupported = slices.Sorted(maps.Keys(g.scopes))
	document := wellknown.NewDocument(about)
	g.document.Store(&document)
}

// MetadataPath returns the path at which to mount [Guard.Metadata] on the host
// of [Config.Resource]: /.well-known/oauth-protected-resource followed by the
// path of that resource (RFC 9728 section 3). Challenges send clients there. It
// is empty when there is no [Config.Resource].
func (g *Guard) MetadataPath() string { return g.place }

// Metadata returns the handler that serves the API's metadata: which authorization
// servers issue tokens for it, and for which scopes (RFC 9728 section 2). Requests
// need no token. Mount it at [Guard.MetadataPath]. Without [Config.Resource] there is
// no metadata and the answer is 404.
func (g *Guard) Metadata() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		document := g.document.Load()
		switch {
		case document == nil:
			http.NotFound(w, r)
		case wellknown.AnyOrigin(w, r):
		case readOnly(w, r):
			document.ServeHTTP(w, r)
		}
	})
}

// readOnly reports whether the request is a GET or HEAD, and answers others
// with 405.
func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	writeJSON(w, http.StatusMethodNotAllowed, notAllowed)
	return false
}

var notAllowed = []byte(`{"error":"invalid_request","error_description":"Only GET and HEAD are allowed here."}`)
