package storage

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/netip"
	"time"
)

// GrantID names a grant. Its first byte is the grant's partition; the other 15
// are random. A token carries its grant's id, so an id is no secret, but
// nobody can present a grant by its id alone.
type GrantID [16]byte

// Partitions is the number of partitions that grants are spread over. All
// grants of one user share a partition, so that a store which shards by
// partition (Redis Cluster) can create a grant, index it and check it against
// revocations in one atomic step.
const Partitions = 256

// UserPartition returns the partition of all grants of the user.
func UserPartition(userID string) byte {
	sum := sha256.Sum256([]byte(userID))
	return sum[0]
}

// NewGrantID draws a fresh id from crypto/rand, in the partition of the user.
// A grant without a user (RFC 6749 section 4.4) gets a random partition.
func NewGrantID(userID string) GrantID {
	var id GrantID
	rand.Read(id[:]) // never fails since Go 1.24
	if userID != "" {
		id[0] = UserPartition(userID)
	}
	return id
}

// ParseGrantID reads what [GrantID.String] wrote.
func ParseGrantID(s string) (GrantID, error) {
	b, ok := decodeBase64(s)
	if !ok || len(b) != len(GrantID{}) {
		return GrantID{}, errors.New("storage: not a grant id")
	}
	return GrantID(b), nil
}

// decodeBase64 decodes base64url, and accepts only the one encoding of b.
// Package base64 skips line breaks, strict or not, so the length must fit as
// well.
func decodeBase64(s string) (b []byte, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return b, err == nil && base64.RawURLEncoding.EncodedLen(len(b)) == len(s)
}

// Partition returns the partition of the grant.
func (id GrantID) Partition() byte { return id[0] }

// String returns the id in base64url, 22 characters.
func (id GrantID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// Digest is SHA-256 of a token, cut to 160 bits. A store sees digests, never
// tokens, so whoever reads the store has no token to present (RFC 6749 sections
// 10.3 and 10.4). The zero Digest stands for a token that was not issued.
type Digest [20]byte

// Equal compares in constant time. A zero Digest equals no digest, not even
// another zero Digest.
func (d Digest) Equal(other Digest) bool {
	return d != Digest{} && subtle.ConstantTimeCompare(d[:], other[:]) == 1
}

// GrantType tells how a grant was obtained. Its text is the grant_type
// parameter of RFC 6749.
type GrantType string

// The grant types that create a grant. A refresh changes a grant and creates
// none.
const (
	Password          GrantType = "password"           // RFC 6749 section 4.3
	ClientCredentials GrantType = "client_credentials" // RFC 6749 section 4.4
)

// Grant is the record of one sign-in, until it expires or is revoked. Times are
// UTC with millisecond precision. A Grant is a value: stores copy it.
type Grant struct {
	ID       GrantID
	Type     GrantType
	UserID   string // empty for client_credentials
	Username string // at sign-in; empty for client_credentials
	ClientID string

	Scope       string // granted; space-separated, RFC 6749 section 3.3
	AccessScope string // of the current access token; a subset of Scope

	// Audience lists the resource servers that tokens of the grant are for:
	// space-separated resource identifiers, RFC 8707 section 2. Empty: any.
	Audience       string
	AccessAudience string // of the current access token; a subset of Audience

	// Generation counts the token pairs of the grant; the first pair is 1.
	// Every swap raises it by one, and every token carries the generation that
	// it was minted in.
	Generation uint32
	Access     Digest // of the only valid access token
	Refresh    Digest // of the only refresh token that may be spent; zero when none was issued

	// Epoch is the revocation epoch that the sign-in began in, see
	// [Revocations.Epoch]. It never changes.
	Epoch uint32

	Created       time.Time // when the user or client authenticated
	Issued        time.Time // when the current pair was issued
	AccessExpiry  time.Time // of the current access token
	RefreshExpiry time.Time // of the current refresh token, if it stays idle; zero when none was issued
	End           time.Time // absolute: no token of the grant outlives it. It never changes

	Address   netip.Addr // of the client at sign-in; the zero Addr if unknown
	UserAgent string     // of the client at sign-in, cut to MaxUserAgent bytes
}

// CheckSuccessor returns an error unless next may replace g: it must have the
// same id, epoch and end, the next generation, and another access token.
func (g Grant) CheckSuccessor(next Grant) error {
	if next.Access == g.Access || next.ID != g.ID || next.Epoch != g.Epoch || !next.End.Equal(g.End) || next.Generation != g.Generation+1 {
		return errors.New("storage: not the next generation of the grant")
	}
	return nil
}

// MaxUserAgent is how many bytes of a User-Agent a grant keeps: enough to tell
// devices apart in a list, and little enough for a compact record.
const MaxUserAgent = 48

// Expiry returns the end of the grant's use: from then on no token of the grant
// is valid, and the store may forget the grant.
func (g Grant) Expiry() time.Time {
	last := g.AccessExpiry
	if g.RefreshExpiry.After(last) {
		last = g.RefreshExpiry
	}
	if g.End.Before(last) {
		return g.End
	}
	return last
}

// Retry lets a client that lost the answer to a refresh repeat it and get the
// same pair again. The store keeps it beside the grant, only while the retry
// window is open.
type Retry struct {
	Generation uint32   // of the pair that the refresh produced
	Refresh    Digest   // of the refresh token that was spent
	Mix        [16]byte // random; without it the pair can't be derived again
	KeyID      byte     // of the deployment key under which the pair was minted
	Until      time.Time
}
