package opaque

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
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
}

// key holds what is derived from a deployment key: one sub-key for each use.
type key struct {
	derive [sha256.Size]byte
	macs   sync.Pool // of *mac under the tag sub-key
}

// mac is an HMAC and the memory that it works on, kept together so that
// checking a token allocates nothing.
type mac struct {
	hash.Hash
	in  [1 + tagAt]byte
	sum [sha256.Size]byte
}

// NewKeyring returns a keyring that recognises tokens of all the keys and mints
// under the one with the highest id. There must be one at least, and no two of
// the same id.
func NewKeyring(keys ...Key) (*Keyring, error) {
	if len(keys) == 0 {
		return nil, errors.New("opaque: a keyring needs a key")
	}
	r := &Keyring{}
	for _, k := range keys {
		if r.keys[k.ID] != nil {
			return nil, errors.New("opaque: two keys have the same id")
		}
		sub, err := newKey(k)
		if err != nil {
			return nil, err
		}
		r.keys[k.ID] = sub
		r.mintID = max(r.mintID, k.ID)
	}
	return r, nil
}

func newKey(k Key) (*key, error) {
	tag, err := hkdf.Key(sha256.New, k.Data[:], nil, "grantd token tag", sha256.Size)
	if err != nil {
		return nil, err
	}
	derive, err := hkdf.Key(sha256.New, k.Data[:], nil, "grantd token successor", sha256.Size)
	if err != nil {
		return nil, err
	}
	sub := &key{derive: [sha256.Size]byte(derive)}
	sub.macs.New = func() any { return &mac{Hash: hmac.New(sha256.New, tag)} }
	return sub, nil
}

func (k *key) tag(kind Kind, raw *[rawLen]byte) [tagLen]byte {
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	m.in[0] = byte(kind)
	copy(m.in[1:], raw[:tagAt])
	m.Reset()
	m.Write(m.in[:])
	return [tagLen]byte(m.Sum(m.sum[:0]))
}

func (k *key) tagged(kind Kind, raw *[rawLen]byte) bool {
	want := k.tag(kind, raw)
	return subtle.ConstantTimeCompare(want[:], raw[tagAt:]) == 1
}

// MintID is the id of the key that new tokens are made under.
func (r *Keyring) MintID() byte { return r.mintID }

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
// keeps only digests. It returns ErrInvalid when the keyring has no such key.
func (r *Keyring) Successor(spent Token, kind Kind, keyID byte, mix [16]byte) (string, storage.Digest, error) {
	k := r.keys[keyID]
	if k == nil {
		return "", storage.Digest{}, ErrInvalid
	}
	t := Token{Kind: kind, KeyID: keyID, Grant: spent.Grant, Generation: spent.Generation + 1}

	ikm := append(spent.secret[:], mix[:]...)
	info := append([]byte{byte(kind)}, spent.Grant[:]...)
	info = binary.BigEndian.AppendUint32(info, t.Generation)
	secret, err := hkdf.Key(sha256.New, ikm, k.derive[:], string(info), secretLen)
	if err != nil {
		return "", storage.Digest{}, err
	}
	t.secret = [secretLen]byte(secret)
	return t.text(k), t.Digest(), nil
}
