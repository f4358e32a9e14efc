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
	old    bool // newer keys may be missing
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

// sum returns the HMAC of the joined parts.
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
// tokens of all the keys. No two keys may have the same id.
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

// errOutdated: a newer key may have made the token.
var errOutdated = fmt.Errorf("%w: this process has outdated deployment keys, and the token's key isn't among them", storage.ErrUnavailable)

// outdated returns a copy of r for when the current keys aren't known.
func (r *Keyring) outdated() *Keyring {
	again := *r
	again.old = true
	return &again
}

// unknown returns the error for a token under a key that r lacks.
func (r *Keyring) unknown() error {
	if r.old {
		return errOutdated
	}
	return ErrInvalid
}

// MintID returns the id of the key under which new tokens are made.
func (r *Keyring) MintID() byte { return r.mintID }

// Blind returns a digest of a text that must not be in the store, such as a
// name that somebody typed. Without the deployment keys nobody can find the
// text, not even by trying texts. The same text has a different digest in each
// kind. All nodes make the same digest as long as the key with the lowest id
// stays the same.
func (r *Keyring) Blind(kind byte, text string) [sha256.Size]byte {
	return r.blinds.sum([]byte{kind}, []byte(text))
}

// Mint makes a token with a random secret. It returns the token's text and the
// digest to keep.
func (r *Keyring) Mint(kind Kind, grant storage.GrantID, generation uint32) (string, storage.Digest) {
	t := Token{Kind: kind, KeyID: r.mintID, Grant: grant, Generation: generation}
	rand.Read(t.secret[:]) // never fails since Go 1.24
	return t.text(r.keys[r.mintID]), t.Digest()
}

// Successor makes the token of that kind that follows the spent refresh token.
// The same key and mix always give the same token, and nobody can compute it
// without the spent token, the mix and the deployment key. So a client that
// lost the answer to a refresh can get the same pair again, while the store
// keeps only digests. If the keyring has no such key, Successor returns the
// error of Parse.
func (r *Keyring) Successor(spent Token, kind Kind, keyID byte, mix [16]byte) (string, storage.Digest, error) {
	k := r.keys[keyID]
	if k == nil {
		return "", storage.Digest{}, r.unknown()
	}
	t := Token{Kind: kind, KeyID: keyID, Grant: spent.Grant, Generation: spent.Generation + 1}

	// HKDF-Expand (RFC 5869 section 2.3); one block is enough.
	var generation [4]byte
	binary.BigEndian.PutUint32(generation[:], t.Generation)
	block := k.successors.sum([]byte{byte(kind)}, spent.Grant[:], generation[:], spent.secret[:], mix[:], []byte{1})
	t.secret = [secretLen]byte(block[:])
	return t.text(k), t.Digest(), nil
}
