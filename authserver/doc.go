// Package authserver is an OAuth 2.0 authorization server: it issues opaque
// tokens at POST /token by the password, refresh_token and client_credentials
// grants of RFC 6749, ends them at POST /revoke (RFC 7009) and tells resource
// servers of them at POST /introspect (RFC 7662). Its metadata says where all
// that is (RFC 8414).
//
// Start with [New] and [Server.Handler]. The story of a request is told in
// token.go, from top to bottom; each grant has a file of its own, and
// manager.go is the one place that knows the go-oauth2 toolkit.
package authserver
