package opaque

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"

	"github.com/grantd/grantd/storage"
)

// KeyLen is the length of a deployment key, in bytes.
const KeyLen = 32

// Key is an unsealed deployment key.
type Key struct {
	ID   byte
	Data [KeyLen]byte
}

// Keyring makes and recognises tokens. It is immutable and safe for concurrent
// use.
type Keyring struct {
	keys   [256]*key
	mintID byte
	blinds *prf // of the key with the lowest id
	old    bool // there may be keys that aren't among these
}

// key holds what is derived from a deployment key: one sub-key for each use.
type key struct {
	tags       *prf
	successors *prf
}

// prf is HMAC-SHA-256 under one key.
type prf struct{ macs sync.Pool } // of *mac

// mac is an HMAC and the memory that it works on, kept together so that
// checking a token allocates nothing.
type mac struct {
	hash.Hash
	in  []byte
	out [sha256.Size]byte
}

func newPRF(key []byte) *prf {
	return &prf{sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, key)} }}}
}

// sum is the HMAC of the parts, joined.
func (p *prf) sum(parts ...[]byte) [sha256.Size]byte {
	m := p.macs.Get().(*mac)
	defer p.macs.Put(m)
	m.in = m.in[:0]
	for _, part := range parts {
		m.in = append(m.in, part...)
	}
	m.Reset()
	m.Write(m.in)
	clear(m.in) // it may hold a token's secret
	return [sha256.Size]byte(m.Sum(m.out[:0]))
}

// NewKeyring returns a keyring that mints under the first key and recognises
// tokens of all of them. No two may have the same id.
func NewKeyring(mint Key, more ...Key) (*Keyring, error) {
	r := &Keyring{mintID: mint.ID}
	lowest := mint
	for _, k := range append([]Key{mint}, more...) {
		if r.keys[k.ID] != nil {
			return nil, errors.New("opaque: two keys have the same id")
		}
		sub, err := newKey(k)
		if err != nil {
			return nil, err
		}
		r.keys[k.ID] = sub
		if k.ID < lowest.ID {
			lowest = k
		}
	}
	blind, err := hkdf.Key(sha256.New, lowest.Data[:], nil, "grantd blind name", sha256.Size)
	if err != nil {
		return nil, err
	}
	r.blinds = newPRF(blind)
	return r, nil
}

func newKey(k Key) (*key, error) {
	tag, errTag := hkdf.Key(sha256.New, k.Data[:], nil, "grantd token tag", sha256.Size)
	successor, errSuccessor := hkdf.Key(sha256.New, k.Data[:], nil, "grantd token successor", sha256.Size)
	if err := errors.Join(errTag, errSuccessor); err != nil {
		return nil, err
	}
	return &key{tags: newPRF(tag), successors: newPRF(successor)}, nil
}

func (k *key) tag(kind Kind, raw *[rawLen]byte) [tagLen]byte {
	sum := k.tags.sum([]byte{byte(kind)}, raw[:tagAt])
	return [tagLen]byte(sum[:])
}

func (k *key) tagged(kind Kind, raw *[rawLen]byte) bool {
	want := k.tag(kind, raw)
	return subtle.ConstantTimeCompare(want[:], raw[tagAt:]) == 1
}

// errOutdated: there may be a new key that made the token.
var errOutdated = fmt.Errorf("%w: the deployment keys are out of date, and the token's isn't among them", storage.ErrUnavailable)

// outdated is r when nobody knows which keys there are now.
func (r *Keyring) outdated() *Keyring {
	again := *r
	again.old = true
	return &again
}

// unknown is what to say of a token under a key that isn't there.
func (r *Keyring) unknown() error {
	if r.old {
		return errOutdated
	}
	return ErrInvalid
}

// MintID is the id of the key that new tokens are made under.
func (r *Keyring) MintID() byte { return r.mintID }

// Blind is a digest of a text that must not be found in the store, such as a name
// that somebody typed: without the deployment keys nobody can tell which text it
// is of, nor try some. Each kind has digests of its own. All nodes make the
// same one, until the key with the lowest id is another.
func (r *Keyring) Blind(kind byte, text string) [sha256.Size]byte {
	return r.blinds.sum([]byte{kind}, []byte(text))
}

// Mint makes a token with a random secret, and the digest to keep of it.
func (r *Keyring) Mint(kind Kind, grant storage.GrantID, generation uint32) (string, storage.Digest) {
	t := Token{Kind: kind, KeyID: r.mintID, Grant: grant, Generation: generation}
	rand.Read(t.secret[:]) // never fails since Go 1.24
	return t.text(r.keys[r.mintID]), t.Digest()
}

// Successor makes the token of that kind which follows the spent refresh token:
// always the same one for the same key and mix, and not to be foreseen by who
// lacks the spent token, the mix or the deployment key. So a client that lost
// the answer to a refresh can be given the same pair again, while the store
// keeps only digests. When the keyring has no such key it returns what Parse does.
func (r *Keyring) Successor(spent Token, kind Kind, keyID byte, mix [16]byte) (string, storage.Digest, error) {
	k := r.keys[keyID]
	if k == nil {
		return "", storage.Digest{}, r.unknown()
	}
	t := Token{Kind: kind, KeyID: keyID, Grant: spent.Grant, Generation: spent.Generation + 1}

	// HKDF-Expand (RFC 5869 section 2.3), of which one block is enough.
	var generation [4]byte
	binary.BigEndian.PutUint32(generation[:], t.Generation)
	block := k.successors.sum([]byte{byte(kind)}, spent.Grant[:], generation[:], spent.secret[:], mix[:], []byte{1})
	t.secret = [secretLen]byte(block[:])
	return t.text(k), t.Digest(), nil
}
