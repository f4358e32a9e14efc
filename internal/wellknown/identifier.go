// Package wellknown has the common parts of the metadata documents of RFC 8414
// and RFC 9728: their identifiers, their place (RFC 8615), and how they are
// served. It knows nothing about their contents.
package wellknown

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
)

// Identifier is an issuer, or the identifier of a protected resource, taken
// apart. Compare identifiers as they were given: by code point and without
// normalisation (RFC 8414 section 4, RFC 9728 section 6).
type Identifier struct {
	Scheme string // "https" or "http"
	Host   string // without a port
	Base   string // the text without a terminating slash, to append paths to
	Path   string // of Base: empty, or "/tenant"
}

// The faults of an identifier. The texts complete "The issuer …".
var (
	errURL   = errors.New("must be an absolute https URL, or for tests an http URL of a loopback host")
	errParts = errors.New("must have no user, query or fragment (RFC 8414 section 2, RFC 9728 section 1.2)")
	errPath  = errors.New("must have a path without empty, . and .. segments and without characters that need escaping")
)

// Parse takes an identifier apart. It refuses some that the RFCs allow: those
// whose path has another spelling too. Every path that it accepts can be
// served, compared and quoted unchanged.
func Parse(text string) (Identifier, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil, !strings.HasPrefix(text, "https://") && !strings.HasPrefix(text, "http://"), !plainHost(u):
		return Identifier{}, errURL
	case u.User != nil, strings.ContainsAny(text, "?#"): // also empty ones, which url.URL forgets
		return Identifier{}, errParts
	}
	below := strings.TrimSuffix(u.Path, "/")
	if u.RawPath != "" || u.EscapedPath() != u.Path || path.Clean(u.Path+"/x") != below+"/x" {
		return Identifier{}, errPath
	}
	return Identifier{Scheme: u.Scheme, Host: u.Hostname(), Base: strings.TrimSuffix(text, "/"), Path: below}, nil
}

const hostCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:[]"

// plainHost reports whether the host has only characters of names and
// addresses; url.Parse allows others.
func plainHost(u *url.URL) bool {
	return u.Hostname() != "" && strings.Trim(u.Host, hostCharacters) == ""
}

// Place returns the path of the document called name: the well-known part, and
// then the identifier's own path without its terminating slash (RFC 8414
// section 3.1, RFC 9728 section 3.1).
func (i Identifier) Place(name string) string { return "/.well-known/" + name + i.Path }

// URL returns the URL of the document called name.
func (i Identifier) URL(name string) string {
	return strings.TrimSuffix(i.Base, i.Path) + i.Place(name)
}

// Loopback reports whether the host is this machine. The only name that it
// accepts is localhost: a resolver may lie.
func Loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// Proxy is http.ProxyFromEnvironment for clients that speak plain http to this machine
// only, which no proxy is the way to. That one takes LOCALHOST for another machine.
func Proxy(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme == "http" {
		return nil, nil //nolint:nilnil // as http.Transport has it
	}
	return http.ProxyFromEnvironment(r)
}
