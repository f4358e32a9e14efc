package storage

import (
	"crypto/rand"
	"encoding/base64"
)

// UserIDPrefix begins the id of every user and of no client, so that the sub of
// a token can't be mistaken (RFC 9700 section 4.15).
const UserIDPrefix = "usr_"

// CanAdmin reports whether the user is an admin who can sign in.
func (u User) CanAdmin() bool { return u.Admin && !u.Disabled && u.Password != "" }

// NewUserID draws a fresh id for a user from crypto/rand.
func NewUserID() string {
	var id [12]byte
	rand.Read(id[:]) // never fails since Go 1.24
	return UserIDPrefix + base64.RawURLEncoding.EncodeToString(id[:])
}
