package opaque_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

func listed(t testing.TB, keys *opaque.Keys) []opaque.KeyInfo {
	t.Helper()
	infos, err := keys.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return infos
}

func TestStatesOfAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sealer := &keyStore{}, newSealer(t)
		keys := opaque.NewKeys(store, sealer, nil)
		if infos := listed(t, keys); len(infos) != 0 {
			t.Fatalf("an empty store has %v", infos)
		}
		want := func(when string, states ...opaque.KeyState) {
			t.Helper()
			var got []opaque.KeyState
			for _, info := range listed(t, keys) {
				got = append(got, info.State)
			}
			if len(got) != len(states) {
				t.Fatalf("%s: %q, want %q", when, got, states)
			}
			for i := range got {
				if got[i] != states[i] {
					t.Fatalf("%s: %q, want %q", when, got, states)
				}
			}
		}
		if first := rotate(t, keys); first.State != opaque.KeyMinting || !first.MintsFrom.Equal(first.Created) || first.ID != 1 {
			t.Errorf("the very first key is %+v, want it to mint at once", first)
		}
		time.Sleep(time.Second)
		second := rotate(t, keys)
		if second.ID != 2 || second.State != opaque.KeyPending || second.MintsFrom.Sub(second.Created) != opaque.Activation {
			t.Errorf("the second key is %+v", second)
		}
		want("after a rotation", opaque.KeyPending, opaque.KeyMinting)
		time.Sleep(opaque.Activation - time.Millisecond)
		want("just before the end", opaque.KeyPending, opaque.KeyMinting)
		time.Sleep(time.Millisecond)
		want("after it", opaque.KeyMinting, opaque.KeyAccepted)
		rotate(t, keys)
		want("after another", opaque.KeyPending, opaque.KeyMinting, opaque.KeyAccepted)
	})
}

func TestRotationsDontOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sealer := &keyStore{}, newSealer(t)
		rotate(t, opaque.NewKeys(store, sealer, nil))
		time.Sleep(time.Hour)
		var made atomic.Int32
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				_, err := opaque.NewKeys(store, sealer, nil).Rotate(t.Context())
				if err == nil {
					made.Add(1)
				} else if !errors.Is(err, opaque.ErrRotating) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if made.Load() != 1 || len(store.keys) != 2 {
			t.Errorf("%d of 20 rotations made a key, and there are %d", made.Load(), len(store.keys))
		}
		time.Sleep(opaque.Activation)
		rotate(t, opaque.NewKeys(store, sealer, nil))
	})
}

// The newest key is the one that was made last, whatever clock made it.
func TestARotationBehindAnotherClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sealer := &keyStore{}, newSealer(t)
		first := rotate(t, opaque.NewKeys(store, sealer, func() time.Time { return time.Now().Add(-time.Minute) }))
		second := rotate(t, opaque.NewKeys(store, sealer, nil))
		time.Sleep(opaque.Activation)
		third, err := opaque.NewKeys(store, sealer, func() time.Time { return second.MintsFrom }).Rotate(t.Context())
		if err != nil || !third.Created.After(second.Created) || !second.Created.After(first.Created) {
			t.Errorf("%v, %v, %v, %v", first.Created, second.Created, third.Created, err)
		}
	})
}

func TestKeyIDsGoRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sealer := &keyStore{}, newSealer(t)
		keys := opaque.NewKeys(store, sealer, nil)
		loader := opaque.NewLoader(store, sealer)
		first := mint(t, load(t, loader), opaque.Access)
		for want := 2; want < 300; want++ {
			time.Sleep(2 * opaque.Activation)
			if k := rotate(t, keys); int(k.ID) != want%256 {
				t.Fatalf("key %d was made, want %d", k.ID, want%256)
			}
			if want >= 200 { // begin to delete old keys, but keep many
				if err := keys.Delete(t.Context(), byte(want-199)); err != nil {
					t.Fatal(err)
				}
			}
		}
		r := later(t, loader, 40*time.Second)
		wantMint(t, r, 299%256)
		mustRefuse(t, r, opaque.Access, first.text, "a token of the first key of that id")

		for { // until no id is left
			time.Sleep(2 * opaque.Activation)
			if _, err := keys.Rotate(t.Context()); err != nil {
				if !errors.Is(err, opaque.ErrKeysFull) || len(store.keys) != 256 {
					t.Fatalf("%v with %d keys", err, len(store.keys))
				}
				return
			}
		}
	})
}

// A store whose keys were never rotated has one key, which may have no time of
// creation.
func TestAStoreOfBefore(t *testing.T) {
	sealer, key := newSealer(t), opaque.NewKey(1)
	store := &keyStore{keys: []storage.Key{{ID: 1, Sealed: sealer.Seal(key)}}}
	wantMint(t, load(t, opaque.NewLoader(store, sealer)), 1)
	if infos := listed(t, opaque.NewKeys(store, sealer, nil)); len(infos) != 1 || infos[0].State != opaque.KeyMinting {
		t.Errorf("%+v", infos)
	}
}

// A node doesn't mint under a key that may be deleted, however often or rarely it is asked
// for its keyring.
func TestNoNodeMintsUnderAKeyThatMayBeDeleted(t *testing.T) {
	for longest := 500 * time.Millisecond; longest <= 40*time.Second; longest += 100 * time.Millisecond {
		t.Run(longest.String(), func(t *testing.T) {
			gaps := rand.New(rand.NewPCG(0, uint64(longest)))
			synctest.Test(t, func(t *testing.T) {
				store, sealer := &keyStore{}, newSealer(t)
				node, keys := opaque.NewLoader(store, sealer), opaque.NewKeys(store, sealer, nil)
				load(t, node)
				rotate(t, keys)
				for deletable, began := false, time.Now(); !deletable || time.Since(began) < 2*time.Minute; {
					time.Sleep(time.Duration(gaps.Int64N(int64(longest))))
					deletable = keys.MayDelete(t.Context(), 1) == nil
					if id := load(t, node).MintID(); deletable && id != 2 {
						t.Fatalf("key %d mints after %v", id, time.Since(began))
					}
					synctest.Wait()
				}
			})
		})
	}
}

// A key may be deleted once no node mints under it any more, not even one that
// is a bit behind.
func TestDeletingAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sealer := &keyStore{}, newSealer(t)
		keys, loader := opaque.NewKeys(store, sealer, nil), opaque.NewLoader(store, sealer)
		old := mint(t, load(t, loader), opaque.Access)
		inUse := func(when string, ids ...byte) {
			t.Helper()
			for _, id := range ids {
				if err := keys.Delete(t.Context(), id); !errors.Is(err, opaque.ErrKeyInUse) {
					t.Errorf("%s: deleting key %d: %v", when, id, err)
				}
			}
		}
		inUse("the only one", 1)
		rotate(t, keys)
		inUse("pending", 1, 2)
		later(t, loader, opaque.Activation)
		inUse("minting a moment ago", 1, 2)
		r := later(t, loader, opaque.Activation+time.Second)
		wantMint(t, r, 2)
		inUse("minting", 2)
		wantParsed(t, r, old)

		before := listed(t, keys)[0]
		for range 2 { // a repetition is no error
			if err := keys.Delete(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		if after := listed(t, keys); len(after) != 1 || after[0] != before {
			t.Errorf("with the old key %+v, without it %+v", before, after)
		}
		mustRefuse(t, later(t, loader, opaque.MaxAge), opaque.Access, old.text, "its key is deleted")
		time.Sleep(opaque.MaxAge) // idle
		mustRefuse(t, load(t, loader), opaque.Access, old.text, "its key is deleted")
	})
}

// A key that the nodes can't open would keep them from loading any other new
// key.
func TestOnlyTheDeploymentSecretMakesKeys(t *testing.T) {
	store, sealer := &keyStore{}, newSealer(t)
	rotate(t, opaque.NewKeys(store, sealer, nil))
	for want, wrong := range map[error]*opaque.Sealer{opaque.ErrSealed: newSealer(t), opaque.ErrNoSecret: nil} {
		keys := opaque.NewKeys(store, wrong, func() time.Time { return time.Now().Add(time.Hour) })
		_, errNext := keys.Next(t.Context())
		_, errRotate := keys.Rotate(t.Context())
		if !errors.Is(errNext, want) || !errors.Is(errRotate, want) {
			t.Errorf("%v and %v, want %v", errNext, errRotate, want)
		}
		if infos := listed(t, keys); len(infos) != 1 {
			t.Errorf("the keys are %+v", infos)
		}
	}
}

func TestKeysAreNotChangedInAnOutage(t *testing.T) {
	store := &keyStore{fault: storage.ErrUnavailable}
	keys := opaque.NewKeys(store, newSealer(t), nil)
	_, errList := keys.List(t.Context())
	_, errRotate := keys.Rotate(t.Context())
	for _, err := range []error{errList, errRotate, keys.Delete(t.Context(), 1)} {
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
	}
}

// cluster is several nodes on one store, each with a clock of its own.
type cluster struct {
	store  *keyStore
	sealer *opaque.Sealer
	nodes  []*opaque.Loader
}

func newCluster(t *testing.T, skews ...time.Duration) *cluster {
	c := &cluster{store: &keyStore{}, sealer: newSealer(t)}
	for _, skew := range skews {
		node := opaque.NewLoader(c.store, c.sealer, opaque.WithClock(func() time.Time { return time.Now().Add(skew) }))
		load(t, node)
		c.nodes = append(c.nodes, node)
	}
	return c
}

// cross mints a token at every node, and lets every node parse it.
func (c *cluster) cross(t *testing.T) {
	t.Helper()
	for i, a := range c.nodes {
		m := mint(t, load(t, a), opaque.Access)
		for j, b := range c.nodes {
			if _, err := load(t, b).Parse(opaque.Access, m.text); err != nil {
				t.Fatalf("node %d doesn't take a token that node %d made under key %d", j, i, m.KeyID)
			}
		}
	}
}

// A node mints under a key only when all others know the key, whatever the
// clocks say.
func TestNodesAgreeThroughoutARotation(t *testing.T) {
	for name, skews := range map[string][]time.Duration{
		"two clocks 2 s apart":  {0, 2 * time.Second},
		"three, an hour apart":  {0, time.Hour, -time.Hour},
		"made by one far ahead": {time.Minute, 0},
		"made by one far back":  {-time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, skews...)
				time.Sleep(time.Hour)
				c.cross(t)
				keys := opaque.NewKeys(c.store, c.sealer, func() time.Time { return time.Now().Add(skews[0]) })
				rotate(t, keys)
				for range 1000 {
					time.Sleep(137 * time.Millisecond)
					c.cross(t)
					synctest.Wait()
				}
				for i, n := range c.nodes {
					if skew := skews[0] - skews[i]; skew < time.Minute && load(t, n).MintID() != 2 {
						t.Errorf("node %d doesn't mint under the new key yet", i)
					}
				}
			})
		})
	}
}

// The store may write a key long after the call.
func TestAKeyThatIsWrittenLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 0, 0)
		elsewhere := &keyStore{keys: c.store.keys}
		rotate(t, opaque.NewKeys(elsewhere, c.sealer, nil))
		for range 1000 {
			time.Sleep(137 * time.Millisecond)
			c.cross(t)
			synctest.Wait()
			if len(c.store.keys) == 1 && time.Since(elsewhere.keys[1].Created) > time.Minute {
				c.store.set(func(s *keyStore) { s.keys = elsewhere.keys })
			}
		}
		wantMint(t, load(t, c.nodes[0]), 2)
	})
}

// A client that lost an answer may repeat its refresh at another node, which
// still mints under the old key when the first node already uses the new one.
// It gets the same pair.
func TestARetryAcrossARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 0, 0)
		spent := mint(t, load(t, c.nodes[0]), opaque.Refresh)
		time.Sleep(time.Hour)
		load(t, c.nodes[0])
		time.Sleep(3 * time.Second) // node 1 learns of a new key this much later
		load(t, c.nodes[1])
		rotate(t, opaque.NewKeys(c.store, c.sealer, nil))
		met := map[byte]bool{} // the keys of node 0 while node 1 minted under key 1
		for range 400 {
			time.Sleep(100 * time.Millisecond)
			a, b := load(t, c.nodes[0]), load(t, c.nodes[1])
			if b.MintID() == 1 {
				met[a.MintID()] = true
			}
			for _, kind := range kinds {
				one := successor(t, a, spent.Token, kind, a.MintID(), [16]byte{7})
				two := successor(t, b, spent.Token, kind, a.MintID(), [16]byte{7})
				if one.text != two.text {
					t.Fatalf("two successors: %s and %s", one.text, two.text)
				}
			}
			synctest.Wait()
		}
		if !met[2] || load(t, c.nodes[1]).MintID() != 2 {
			t.Errorf("the nodes never minted under different keys: %v", met)
		}
	})
}

func TestWaitingForKeysEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &keyStore{hang: time.Hour}
		loader := opaque.NewLoader(store, newSealer(t))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := loader.Keyring(ctx); !errors.Is(err, storage.ErrUnavailable) {
					t.Errorf("%v, want ErrUnavailable", err)
				}
			})
		}
		began := time.Now()
		wg.Wait()
		if took := time.Since(began); took > time.Second {
			t.Errorf("waited %s", took)
		}
		if ctx.Err() == nil || loader.Wait(ctx) == nil {
			t.Error("nobody loads any more, or the request goes on")
		}
		if err := loader.Wait(t.Context()); err != nil {
			t.Errorf("waiting for whoever loads: %v", err)
		}
	})
}

// The keyring is loaded even if the store takes longer to answer than a request
// waits.
func TestTheFirstLoadOutlivesItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &keyStore{hang: 500 * time.Millisecond} // three calls: it makes its first key
		loader := opaque.NewLoader(store, newSealer(t))
		if _, err := loader.Keyring(storage.WithBudget(t.Context(), new(storage.Budget))); !errors.Is(err, storage.ErrSpent) {
			t.Errorf("%v, want ErrSpent", err)
		}
		if err := loader.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		store.set(func(s *keyStore) { s.hang = time.Hour })
		load(t, loader)
	})
}

// deletions notes which ids are deleted.
type deletions struct {
	*keyStore
	ids []byte
}

func (d *deletions) DeleteKey(ctx context.Context, id byte) error {
	d.ids = append(d.ids, id)
	return d.keyStore.DeleteKey(ctx, id)
}

// Confirming a deletion deletes no existing key, and doesn't use the id of the
// next key.
func TestConfirmingADeletionDeletesNoKey(t *testing.T) {
	all := func(but ...byte) (ids []byte) { // from the oldest on
		for id := range 256 {
			if !slices.Contains(but, byte(id)) {
				ids = append(ids, byte(id))
			}
		}
		return ids
	}
	for _, tt := range []struct {
		name string
		have []byte // from the oldest on
		want []byte
	}{
		{"no key", nil, []byte{0}},
		{"the first", []byte{1}, []byte{0}},
		{"some", []byte{1, 2, 3}, []byte{0}},
		{"begun anew", []byte{254, 255, 0}, []byte{253}},
		{"the next and another are free", all(7, 0), []byte{7}},
		{"only the next is free", all(7), nil},
		{"all", all(), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := &deletions{keyStore: &keyStore{}}
			for i, id := range tt.have {
				store.keys = append(store.keys, storage.Key{ID: id, Created: time.Unix(int64(i), 0)})
			}
			if err := opaque.NewKeys(store, nil, nil).Deleted(t.Context()); err != nil || !slices.Equal(store.ids, tt.want) {
				t.Errorf("deleted %v, want %v: %v", store.ids, tt.want, err)
			}
			if len(store.keys) != len(tt.have) {
				t.Errorf("%d keys are left of %d", len(store.keys), len(tt.have))
			}
			store.fault = storage.ErrUnavailable
			if err := opaque.NewKeys(store, nil, nil).Deleted(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("of a store that is down: %v", err)
			}
		})
	}
}
