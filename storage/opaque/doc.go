// Package opaque is the format of grantd's tokens: how they are minted, parsed,
// derived and digested. It does no I/O.
//
// A token is a prefix that names its kind, then base64url of 57 bytes:
//
//	key id       1   the deployment key that made the tag
//	grant id    16   the record that the token addresses
//	generation   4   big-endian; which token pair of the grant
//	secret      24   random, or derived from random: 192 bits
//	tag         12   HMAC-SHA-256 over kind and all before it, cut to 96 bits
//
// The tag lets a server refuse mistyped and invented tokens without asking the
// store, and tell a genuine old token from a forgery (RFC 9700 section
// 4.14.2). The tag alone doesn't make a token valid: the store holds a digest
// of the only valid one. So neither the deployment keys alone nor the store
// alone is enough to make a token that is accepted.
//
// 57 is a multiple of 3, so no character of the text has unused bits, and no
// two texts stand for the same token.
package opaque
