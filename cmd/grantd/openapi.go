package main

import (
	"bytes"
	"cmp"
	_ "embed" // for openAPISource
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/internal/wellknown"
)

// openAPISource describes everything that a process can offer, with paths at the root
// of its listener.
//
//go:embed openapi.yaml
var openAPISource []byte

// openAPIPath is the path of the document.
const openAPIPath = "/openapi.json"

// describe adds an OpenAPI document to the main listener, which is reached at the URL
// base, and to the listener for admins if there is one; the URL of the latter isn't
// known. All URLs in the documents come from the configuration, never from the Host
// of a request.
func (p *process) describe(base string, h handlers) error {
	at, err := wellknown.Parse(base)
	if err != nil {
		return usagef("issuer or resource %w", err)
	}
	if err := p.describeListener(at, h.oauth, h.metrics != nil); err != nil || h.admin == nil {
		return err
	}
	at.Base = "/"
	return p.describeListener(at, h.admin, false)
}

// describeListener adds a document about the offered paths to them, both at the root and
// below the path of at. measured says whether the listener has GET /metrics.
func (p *process) describeListener(at wellknown.Identifier, offered map[string]http.Handler, measured bool) error {
	served := map[string]bool{openAPIPath: true, "/livez": true, "/readyz": true, metricsPath: measured}
	for path := range offered {
		served[path] = true
	}
	source, err := p.openAPI(at, served)
	if err != nil {
		return fmt.Errorf("the OpenAPI document: %w", err)
	}
	get := readOnly(wellknown.NewDocument(source).ServeHTTP)
	document := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !wellknown.AnyOrigin(w, r) {
			get.ServeHTTP(w, r)
		}
	})
	offered[openAPIPath] = document
	offered[at.Path+openAPIPath] = document
	return nil
}

// openAPI returns the document as JSON.
func (p *process) openAPI(at wellknown.Identifier, served map[string]bool) (json.RawMessage, error) {
	var source yaml.Node
	if err := yaml.Unmarshal(openAPISource, &source); err != nil {
		return nil, err
	}
	root := source.Content[0]
	put(root, "servers", servers(at.Base))
	if err := p.tellPaths(child(root, "paths"), at, served); err != nil {
		return nil, err
	}
	p.tellScopes(root)
	if p.config.strict() {
		hidePasswordGrant(root)
	}
	var b bytes.Buffer
	err := writeNode(&b, root)
	return b.Bytes(), err
}

// tellPaths removes the paths that aren't served. It sets the URL of those that aren't
// below the URL of the rest: well-known documents (RFC 8615), a resource server with a
// URL of its own, and the probes.
func (p *process) tellPaths(paths *yaml.Node, at wellknown.Identifier, served map[string]bool) error {
	base, usersMe := p.config.resources()
	for path, place := range map[string]struct{ of, name string }{
		"/.well-known/oauth-authorization-server":        {of: p.config.Issuer, name: "oauth-authorization-server"},
		"/.well-known/oauth-protected-resource":          {of: base, name: "oauth-protected-resource"},
		"/.well-known/oauth-protected-resource/users/me": {of: usersMe, name: "oauth-protected-resource"},
	} {
		id, err := wellknown.Parse(place.of)
		if err != nil {
			return err
		}
		rename(paths, path, id.Place(place.name))
		moved(paths, id.Place(place.name), strings.TrimSuffix(id.URL(place.name), id.Place(place.name)), at)
	}
	for _, path := range []string{"/users/me", "/users/me/password"} {
		moved(paths, path, base, at)
	}
	if at.Path != "" {
		for _, path := range []string{"/livez", "/readyz", metricsPath} {
			put(child(paths, path), "servers", servers("/"))
		}
	}
	for _, path := range keys(paths) {
		if !served[path] {
			remove(paths, path)
		}
	}
	return nil
}

// moved sets the URL base for the path, unless all paths have it.
func moved(paths *yaml.Node, path, base string, at wellknown.Identifier) {
	if base != at.Base {
		put(child(paths, path), "servers", servers(base))
	}
}

// tellScopes sets the configured scopes and the URL of the token endpoint. It takes the
// descriptions of scopes from the source, which describes those that have a meaning in
// grantd.
func (p *process) tellScopes(root *yaml.Node) {
	tokenURL := strings.TrimSuffix(p.config.Issuer, "/") + "/token"
	flows := child(root, "components", "securitySchemes", "oauth2", "flows")
	for _, name := range keys(flows) {
		flow, scopes := child(flows, name), &yaml.Node{Kind: yaml.MappingNode}
		described := child(flow, "scopes")
		for _, s := range p.config.Scopes {
			put(scopes, s, cmp.Or(child(described, s), text("")))
		}
		put(flow, "scopes", scopes)
		for _, key := range keys(flow) {
			if strings.HasSuffix(key, "Url") {
				put(flow, key, text(tokenURL))
			}
		}
	}
	introspect := child(root, "paths", "/introspect", "post", "security")
	if introspect != nil && !slices.Contains(p.config.Scopes, authserver.IntrospectScope) {
		drop(introspect, func(n *yaml.Node) bool { return child(n, "oauth2") != nil })
	}
}

// hidePasswordGrant removes the password grant, which the strict profile doesn't offer.
func hidePasswordGrant(root *yaml.Node) {
	const name = "PasswordGrant"
	schemas := child(root, "components", "schemas")
	remove(schemas, name)
	remove(child(schemas, "TokenRequest", "discriminator", "mapping"), "password")
	drop(child(schemas, "TokenRequest", "oneOf"), func(n *yaml.Node) bool {
		return strings.HasSuffix(child(n, "$ref").Value, "/"+name)
	})
	remove(child(root, "components", "securitySchemes", "oauth2", "flows"), "password")
	if form := child(root, "paths", "/token", "post", "requestBody", "content", "application/x-www-form-urlencoded"); form != nil {
		remove(child(form, "examples"), "password")
	}
}

// The nodes of the source are mappings, sequences and scalars. The Content of a mapping
// alternates keys and values. A missing node is nil, and has no members.

func text(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

// servers returns the value of a member "servers" with one URL.
func servers(url string) *yaml.Node {
	server := &yaml.Node{Kind: yaml.MappingNode}
	put(server, "url", text(url))
	return &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{server}}
}

// keys returns the names of the members, in their order.
func keys(n *yaml.Node) []string {
	var names []string
	for i := 0; n != nil && i < len(n.Content); i += 2 {
		names = append(names, n.Content[i].Value)
	}
	return names
}

// child follows the names down and returns the node there, or nil.
func child(n *yaml.Node, names ...string) *yaml.Node {
	for _, name := range names {
		if n != nil && n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		i := slices.Index(keys(n), name)
		if i < 0 {
			return nil
		}
		n = n.Content[2*i+1]
	}
	return n
}

// put sets the member.
func put(n *yaml.Node, name string, value *yaml.Node) {
	if n == nil {
		return
	}
	if i := slices.Index(keys(n), name); i >= 0 {
		n.Content[2*i+1] = value
		return
	}
	n.Content = append(n.Content, text(name), value)
}

func rename(n *yaml.Node, from, to string) {
	if i := slices.Index(keys(n), from); i >= 0 {
		n.Content[2*i].Value = to
	}
}

func remove(n *yaml.Node, name string) {
	if i := slices.Index(keys(n), name); i >= 0 {
		n.Content = slices.Delete(n.Content, 2*i, 2*i+2)
	}
}

// drop removes from a sequence the elements that which selects.
func drop(n *yaml.Node, which func(*yaml.Node) bool) {
	n.Content = slices.DeleteFunc(n.Content, which)
}

// writeNode writes the node as JSON, its members in their order.
func writeNode(b *bytes.Buffer, n *yaml.Node) error {
	switch n.Kind {
	case yaml.AliasNode:
		return writeNode(b, n.Alias)
	case yaml.MappingNode:
		return writeList(b, "{}", len(n.Content)/2, func(i int) error {
			if err := writeText(b, n.Content[2*i].Value); err != nil {
				return err
			}
			b.WriteByte(':')
			return writeNode(b, n.Content[2*i+1])
		})
	case yaml.SequenceNode:
		return writeList(b, "[]", len(n.Content), func(i int) error { return writeNode(b, n.Content[i]) })
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!str":
			return writeText(b, n.Value)
		case "!!int", "!!bool":
			b.WriteString(n.Value)
			return nil
		}
	}
	return fmt.Errorf("line %d: %s can't be written as JSON", n.Line, n.ShortTag())
}

func writeList(b *bytes.Buffer, brackets string, n int, element func(i int) error) error {
	b.WriteByte(brackets[0])
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := element(i); err != nil {
			return err
		}
	}
	b.WriteByte(brackets[1])
	return nil
}

func writeText(b *bytes.Buffer, s string) error {
	quoted, err := json.Marshal(s)
	b.Write(quoted)
	return err
}
