package opaque

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"github.com/grantd/grantd/storage"
)

// Kind is the kind of a token. A token of one kind never parses as another.
type Kind byte

// The kinds of token.
const (
	Access  Kind = 1 // RFC 6749 section 1.4
	Refresh Kind = 2 // RFC 6749 section 1.5
)

// The prefix of each kind; secret scanners can look for them.
const (
	accessPrefix  = "gat_"
	refreshPrefix = "grt_"
	prefixLen     = 4
)

func (k Kind) prefix() string {
	if k == Refresh {
		return refreshPrefix
	}
	return accessPrefix
}

const (
	grantAt      = 1
	generationAt = grantAt + 16
	secretAt     = generationAt + 4
	tagAt        = secretAt + secretLen
	rawLen       = tagAt + tagLen

	secretLen = 24
	tagLen    = 12
)

// TextLen is the length of every token, in bytes.
const TextLen = prefixLen + rawLen/3*4

// ErrInvalid is returned for a text that isn't a token of the wanted kind made
// under a known deployment key. It doesn't tell what was wrong with it.
var ErrInvalid = errors.New("opaque: not a token of this kind")

// Token is a token whose tag was checked: some deployment key made it.
type Token struct {
	Kind       Kind
	KeyID      byte
	Grant      storage.GrantID
	Generation uint32
	secret     [secretLen]byte
}

// String returns the kind and the grant, never the secret, so that no output of
// a Token shows it.
func (t Token) String() string { return t.Kind.prefix() + "[redacted] of grant " + t.Grant.String() }

// GoString is String.
func (t Token) GoString() string { return t.String() }

// Digest returns the digest that a store keeps of the token.
func (t Token) Digest() storage.Digest {
	var in [1 + rawLen]byte
	in[0] = byte(t.Kind)
	t.put((*[rawLen]byte)(in[1:]))
	sum := sha256.Sum256(in[:1+tagAt])
	return storage.Digest(sum[:len(storage.Digest{})])
}

func (t Token) put(raw *[rawLen]byte) {
	raw[0] = t.KeyID
	copy(raw[grantAt:], t.Grant[:])
	binary.BigEndian.PutUint32(raw[generationAt:], t.Generation)
	copy(raw[secretAt:], t.secret[:])
}

// Parse reads a token of that kind. It asks no store: a nil error means that
// the token is genuine, not that it is valid. For anything else Parse returns
// ErrInvalid. If the keyring is out of date and lacks the key of the token,
// Parse can't judge it, and the error wraps storage.ErrUnavailable (see
// Loader).
func (r *Keyring) Parse(kind Kind, text string) (Token, error) {
	if len(text) != TextLen || text[:prefixLen] != kind.prefix() {
		return Token{}, ErrInvalid
	}
	var raw [rawLen]byte
	if !decode(&raw, text[prefixLen:]) {
		return Token{}, ErrInvalid
	}
	k := r.keys[raw[0]]
	if k == nil {
		return Token{}, r.unknown()
	}
	if !k.tagged(kind, &raw) {
		return Token{}, ErrInvalid
	}
	return Token{
		Kind:       kind,
		KeyID:      raw[0],
		Grant:      storage.GrantID(raw[grantAt:generationAt]),
		Generation: binary.BigEndian.Uint32(raw[generationAt:]),
		secret:     [secretLen]byte(raw[secretAt:tagAt]),
	}, nil
}

// ParseAny is Parse for tokens of either kind.
func (r *Keyring) ParseAny(text string) (Token, error) {
	t, err := r.Parse(Access, text)
	if errors.Is(err, ErrInvalid) {
		t, err = r.Parse(Refresh, text)
	}
	return t, err
}

// Current reports whether the token is the grant's current token of its kind
// and hasn't expired. It doesn't tell whether the grant lives: the store does.
func (t Token) Current(g storage.Grant, now time.Time) bool {
	digest, expiry := g.Access, g.AccessExpiry
	if t.Kind == Refresh {
		digest, expiry = g.Refresh, g.RefreshExpiry
	}
	return digest.Equal(t.Digest()) && now.Before(expiry)
}

// decode reads the base64url text. Package base64 skips line breaks, so decode
// checks the count: a text with a line break gives fewer bytes.
func decode(raw *[rawLen]byte, text string) bool {
	var src [TextLen - prefixLen]byte
	copy(src[:], text)
	n, err := base64.RawURLEncoding.Decode(raw[:], src[:])
	return err == nil && n == rawLen
}

// text returns the text of the token, with the tag of k.
func (t Token) text(k *key) string {
	var raw [rawLen]byte
	t.put(&raw)
	tag := k.tag(t.Kind, &raw)
	copy(raw[tagAt:], tag[:])
	text := make([]byte, TextLen)
	copy(text, t.Kind.prefix())
	base64.RawURLEncoding.Encode(text[prefixLen:], raw[:])
	return string(text)
}
