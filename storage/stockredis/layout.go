package stockredis

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/grantd/grantd/storage"
)

// Bounds of what is read: enough for tokens that are JWTs.
const (
	maxText   = 4 << 10
	maxRecord = 64 << 10
)

// Shaped reports whether the text may be a token of the stock store: a b64token
// (RFC 6750 section 2.1), which the stock generators make and other servers should,
// but none of grantd's own. No key of grantd's fits it, so none can be addressed.
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

// record is the stock store's record: models.Token of go-oauth2 v4, as far as it
// matters. Durations are nanoseconds; 0 is for ever.
type record struct {
	ClientID         string
	UserID           string // as the stock server's handlers named the user
	Scope            string
	Code             string // of an authorization code, whose record is another
	Access           string
	AccessCreateAt   time.Time
	AccessExpiresIn  time.Duration
	Refresh          string // empty: none was issued
	RefreshCreateAt  time.Time
	RefreshExpiresIn time.Duration
}

// parseRecord reads the record of a sign-in. Whatever it names is a token, so
// nothing else is ever looked at or deleted because of it.
func parseRecord(text string) (record, bool) {
	var r record
	ok := len(text) <= maxRecord && json.Unmarshal([]byte(text), &r) == nil &&
		Shaped(r.Access) && (r.Refresh == "" || Shaped(r.Refresh) && r.Refresh != r.Access) &&
		r.ClientID != "" && r.AccessCreateAt.Unix() > 0 && r.AccessExpiresIn >= 0 &&
		(r.Refresh == "" || r.RefreshCreateAt.Unix() > 0 && r.RefreshExpiresIn >= 0)
	return r, ok
}

// sibling is the other token of the record.
func (r record) sibling(text string) string {
	if text == r.Access {
		return r.Refresh
	}
	return r.Access
}

// The names of keys, see the package comment.
const (
	ownPrefix   = "grantd:stock:"
	movedPrefix = ownPrefix + "moved:"
	endedKey    = ownPrefix + "ended"
)

func (s *Store) key(name string) string { return s.prefix + name }

// movedKey is the marker of the token. The key name shows nothing of it.
func (s *Store) movedKey(text string) string {
	sum := sha256.Sum256([]byte("grantd stock token\x00" + text))
	return s.prefix + movedPrefix + base64.RawURLEncoding.EncodeToString(sum[:20])
}

// marker is what stands at movedKey: the id of the grant and, once the refresh
// token was spent, the digest of the access token that came of it.
func marker(id storage.GrantID, pair storage.Digest) string {
	if pair == (storage.Digest{}) {
		return string(id[:])
	}
	return string(id[:]) + string(pair[:])
}

func markerGrant(text string) (storage.GrantID, bool) {
	var id storage.GrantID
	if len(text) != len(id) && len(text) != len(id)+len(storage.Digest{}) {
		return id, false
	}
	copy(id[:], text)
	return id, true
}

// grantID is the id that the record's grant has.
func grantID(recordID, userID string) storage.GrantID {
	sum := sha256.Sum256([]byte("grantd stock grant\x00" + recordID))
	id := storage.GrantID(sum[:])
	if userID != "" {
		id[0] = storage.UserPartition(userID)
	}
	return id
}

// isCode reports whether that is the record of the authorization code.
func isCode(name, text string) bool {
	var r record
	return json.Unmarshal([]byte(text), &r) == nil && r.Code == name
}
