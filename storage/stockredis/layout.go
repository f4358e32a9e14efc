package stockredis

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// The bounds of tokens and records, in bytes: enough for tokens that are JWTs.
const (
	maxText   = 4 << 10
	maxRecord = 64 << 10
)

// Shaped reports whether the text may be a token of the stock store: a b64token
// (RFC 6750 section 2.1) that isn't one of grantd's own. The stock generators
// make b64tokens, and other servers should. No key of grantd has this form, so
// no token can address one.
func Shaped(text string) bool {
	if text == "" || len(text) > maxText || strings.HasPrefix(text, "gat_") || strings.HasPrefix(text, "grt_") {
		return false
	}
	return !strings.ContainsFunc(text, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune("-._~+/=", r)
	})
}

// isID reports whether the text is the id of a record, a UUID as google/uuid
// writes it.
func isID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i, r := range text {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		digit := '0' <= r && r <= '9' || 'a' <= r && r <= 'f'
		if dash != (r == '-') || !dash && !digit {
			return false
		}
	}
	return true
}

// record is the stock store's record: the fields of models.Token of go-oauth2
// v4 that matter. Durations are nanoseconds; 0 is for ever.
type record struct {
	ClientID         string
	UserID           string // the name that the stock server's handlers gave the user
	Scope            string
	Code             string // an authorization code; its record is no sign-in
	Access           string
	AccessCreateAt   time.Time
	AccessExpiresIn  time.Duration
	Refresh          string // empty: none was issued
	RefreshCreateAt  time.Time
	RefreshExpiresIn time.Duration
}

// parseRecord reads the record of a sign-in. It checks that all that the record
// names are tokens, so that no other key is ever read or deleted because of it.
func parseRecord(text string) (record, bool) {
	var r record
	ok := len(text) <= maxRecord && json.Unmarshal([]byte(text), &r) == nil &&
		Shaped(r.Access) && (r.Refresh == "" || Shaped(r.Refresh) && r.Refresh != r.Access) &&
		r.ClientID != "" && r.AccessCreateAt.Unix() > 0 && r.AccessExpiresIn >= 0 &&
		(r.Refresh == "" || r.RefreshCreateAt.Unix() > 0 && r.RefreshExpiresIn >= 0)
	return r, ok
}

// sibling returns the other token of the record.
func (r record) sibling(text string) string {
	if text == r.Access {
		return r.Refresh
	}
	return r.Access
}

// The names of keys: see the package comment.
const (
	ownPrefix   = "grantd:stock:"
	movedPrefix = ownPrefix + "moved:"
	endedKey    = ownPrefix + "ended"
)

func (s *Store) key(name string) string { return s.prefix + name }

// movedKey returns the key of the token's marker. It shows nothing of the
// token.
func (s *Store) movedKey(text string) string {
	sum := sha256.Sum256([]byte("grantd stock token\x00" + text))
	return s.prefix + movedPrefix + base64.RawURLEncoding.EncodeToString(sum[:20])
}

// marker returns the value at movedKey: the id of the grant and, once the refresh token
// was spent, the digest of the access token that it gave. An access token has its own
// digest there, so that it never passes for a refresh token.
func marker(id storage.GrantID, access storage.Digest) string {
	if access == (storage.Digest{}) {
		return string(id[:])
	}
	return string(id[:]) + string(access[:])
}

// accessMarker returns the marker of an access token.
func accessMarker(id storage.GrantID, text string) string {
	return marker(id, opaque.Adopt(opaque.Access, id, text).Digest())
}

func markerGrant(text string) (storage.GrantID, bool) {
	var id storage.GrantID
	if len(text) != len(id) && len(text) != len(id)+len(storage.Digest{}) {
		return id, false
	}
	copy(id[:], text)
	return id, true
}

// grantID returns the id of the record's grant.
func grantID(recordID, userID string) storage.GrantID {
	sum := sha256.Sum256([]byte("grantd stock grant\x00" + recordID))
	id := storage.GrantID(sum[:])
	if userID != "" {
		id[0] = storage.UserPartition(userID)
	}
	return id
}

// isCode reports whether text is the record of the authorization code name.
func isCode(name, text string) bool {
	var r record
	return json.Unmarshal([]byte(text), &r) == nil && r.Code == name
}
