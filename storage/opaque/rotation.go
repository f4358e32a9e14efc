package opaque

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/grantd/grantd/storage"
)

// The reasons why keys can't be changed now. Compare with errors.Is.
var (
	// ErrRotating: a key was made already and doesn't mint yet.
	ErrRotating = errors.New("opaque: another new key is already waiting to mint")

	// ErrKeysFull: every id is taken.
	ErrKeysFull = errors.New("opaque: there is no free id for a key")

	// ErrKeyInUse: tokens are, will be, or a moment ago were minted under the key.
	ErrKeyInUse = errors.New("opaque: the key is minting, minted a moment ago or is going to mint")

	// ErrNoSecret: keys can't be made without the deployment secret.
	ErrNoSecret = errors.New("opaque: a key can't be made without the deployment secret")
)

// KeyState is the stage in the life of a deployment key.
type KeyState string

// The states of a deployment key, in the order in which it passes through them.
const (
	KeyPending  KeyState = "pending"  // the nodes learn to accept it
	KeyMinting  KeyState = "minting"  // new tokens are minted under it
	KeyAccepted KeyState = "accepted" // its tokens are recognised until it is deleted
)

// KeyInfo describes a deployment key without its secret.
type KeyInfo struct {
	ID        byte
	Created   time.Time
	MintsFrom time.Time // some seconds later at nodes that learn of it later
	State     KeyState
}

// Keys rotates the deployment keys of a store while servers run. Several processes
// may do so at once. Keys is safe for concurrent use.
//
// The newest key mints from Activation after it was made, when every node has loaded
// it. The very first key mints at once. All other keys are accepted until somebody
// deletes them.
type Keys struct {
	store  storage.Keys
	sealer *Sealer
	now    func() time.Time
}

// NewKeys returns the keys of a store. A nil now means time.Now. Without a sealer no key
// can be made.
func NewKeys(store storage.Keys, sealer *Sealer, now func() time.Time) *Keys {
	if now == nil {
		now = time.Now
	}
	return &Keys{store: store, sealer: sealer, now: now}
}

// List returns all keys, the newest first.
func (k *Keys) List(ctx context.Context) ([]KeyInfo, error) {
	stored, err := k.store.ListKeys(ctx)
	if err != nil {
		return nil, err
	}
	infos := describe(stored, k.now())
	slices.Reverse(infos)
	return infos, nil
}

// Rotate makes a key that takes over minting. It returns ErrRotating while a key
// doesn't mint yet, and when another rotation is faster; ErrKeysFull; ErrNoSecret;
// and ErrSealed when the deployment secret isn't the one of the store, since its
// nodes couldn't open the key.
//
// The id of the key is the next free one. Two rotations at once want the same id, and
// only one gets it. After 255 comes 0: an id is used again only after its key was
// deleted and 255 rotations later.
func (k *Keys) Rotate(ctx context.Context) (KeyInfo, error) {
	stored, made, err := k.next(ctx)
	if err != nil {
		return KeyInfo{}, err
	}
	made.Sealed = k.sealer.Seal(NewKey(made.ID))
	err = k.store.CreateKey(ctx, made)
	if errors.Is(err, storage.ErrExists) {
		return KeyInfo{}, ErrRotating
	}
	if err != nil {
		return KeyInfo{}, err
	}
	infos := describe(append(stored, made), made.Created)
	return infos[len(infos)-1], nil
}

// Next returns the id of the key that Rotate would make now, or the error that Rotate
// would return.
func (k *Keys) Next(ctx context.Context) (byte, error) {
	_, made, err := k.next(ctx)
	return made.ID, err
}

// next returns the keys of the store, and the key to make without its secret.
func (k *Keys) next(ctx context.Context) (stored []storage.Key, made storage.Key, err error) {
	if k.sealer == nil {
		return nil, made, ErrNoSecret
	}
	if stored, err = k.store.ListKeys(ctx); err != nil {
		return nil, made, err
	}
	for _, have := range stored {
		if _, err := k.sealer.Unseal(have.ID, have.Sealed); err != nil {
			return nil, made, err
		}
	}
	made = storage.Key{Created: k.now().UTC(), ID: firstID}
	infos := describe(stored, made.Created)
	if len(infos) == 0 {
		return stored, made, nil
	}
	newest := infos[len(infos)-1]
	if newest.State == KeyPending {
		return nil, made, ErrRotating
	}
	made.Created = latest(made.Created, newest.Created.Add(time.Millisecond)) // the clock of the newest key's maker may be ahead
	made.ID, err = nextID(stored, newest.ID)
	return stored, made, err
}

func nextID(stored []storage.Key, newest byte) (byte, error) {
	for id := newest + 1; id != newest; id++ {
		if !slices.ContainsFunc(stored, func(k storage.Key) bool { return k.ID == id }) {
			return id, nil
		}
	}
	return 0, ErrKeysFull
}

// Delete deletes a key: within MaxAge no node recognises its tokens any more. It returns
// ErrKeyInUse for a key that mints or is going to mint, and as long as a node may still
// mint under the key: a node sees a new key within MaxAge, and mints under the new one
// from Activation after that. An unknown id is no error.
func (k *Keys) Delete(ctx context.Context, id byte) error {
	err := k.MayDelete(ctx, id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return k.store.DeleteKey(ctx, id)
}

// Deleted returns nil once all earlier deletions are sure to last. A store that confirms
// deletions (redisstore.WithReplicas) confirms all earlier ones with each. So Deleted
// deletes an id that has no key, and takes the one that rotations reach last, since the
// next one may have a key by now. With 255 keys there is no such id, and nothing is
// confirmed.
func (k *Keys) Deleted(ctx context.Context) error {
	stored, err := k.store.ListKeys(ctx)
	if err != nil || len(stored) >= 255 {
		return err
	}
	last := byte(0) // without any key rotations begin with 1
	if len(stored) > 0 {
		last = oldestFirst(stored)[len(stored)-1].ID
		for slices.ContainsFunc(stored, func(k storage.Key) bool { return k.ID == last }) {
			last--
		}
	}
	return k.store.DeleteKey(ctx, last)
}

// KeyInUseError is an ErrKeyInUse that will end, since a newer key was made.
type KeyInUseError struct {
	Wait time.Duration // until the key may be deleted; more than zero
}

// Error returns the text of ErrKeyInUse.
func (e *KeyInUseError) Error() string { return ErrKeyInUse.Error() }

// Unwrap returns ErrKeyInUse.
func (e *KeyInUseError) Unwrap() error { return ErrKeyInUse }

// MayDelete returns nil if Delete would delete the key now, else the error of Delete, and
// storage.ErrNotFound for an unknown id.
func (k *Keys) MayDelete(ctx context.Context, id byte) error {
	stored, err := k.store.ListKeys(ctx)
	if err != nil {
		return err
	}
	now := k.now()
	infos := describe(stored, now)
	i := slices.IndexFunc(infos, func(info KeyInfo) bool { return info.ID == id })
	if i < 0 {
		return storage.ErrNotFound
	}
	if i == len(infos)-1 {
		return ErrKeyInUse
	}
	if wait := infos[i+1].MintsFrom.Add(Activation).Sub(now); wait > 0 {
		return &KeyInUseError{wait}
	}
	return nil
}

// describe returns the infos of the keys, the oldest first.
func describe(stored []storage.Key, now time.Time) []KeyInfo {
	var infos []KeyInfo
	minting := 0
	for i, k := range oldestFirst(stored) {
		info := KeyInfo{ID: k.ID, Created: k.Created, MintsFrom: k.Created, State: KeyAccepted}
		if i > 0 || k.ID != firstID { // an older key can mint meanwhile, or could until it was deleted
			info.MintsFrom = k.Created.Add(Activation)
		}
		if now.Before(info.MintsFrom) {
			info.State = KeyPending
		} else {
			minting = i
		}
		infos = append(infos, info)
	}
	if len(infos) > 0 {
		infos[minting].State = KeyMinting
	}
	return infos
}

func oldestFirst(stored []storage.Key) []storage.Key {
	return slices.SortedFunc(slices.Values(stored), func(a, b storage.Key) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
}
