// Package authserver is an OAuth 2.0 authorization server: it issues opaque
// tokens at POST /token by the password, refresh_token and client_credentials
// grants of RFC 6749, ends them at POST /revoke (RFC 7009) and describes them
// to resource servers at POST /introspect (RFC 7662). Its metadata lists these
// endpoints (RFC 8414).
//
// Start with [New] and [Server.Handler]. To follow a request, read token.go
// from top to bottom. Each grant type has a file of its own, and only
// manager.go imports the go-oauth2 toolkit.
package authserver
