package opaque_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// keyStore keeps keys in memory and fails or hangs on demand.
type keyStore struct {
	mu    sync.Mutex
	keys  []storage.Key
	lists int
	fault error
	hang  time.Duration
}

func (s *keyStore) CreateKey(_ context.Context, k storage.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.keys, func(have storage.Key) bool { return have.ID == k.ID }) {
		return storage.ErrExists
	}
	s.keys = append(s.keys, k)
	return s.fault
}

func (s *keyStore) ListKeys(ctx context.Context) ([]storage.Key, error) {
	s.mu.Lock()
	hang := s.hang
	s.mu.Unlock()
	select {
	case <-time.After(hang):
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", storage.ErrUnavailable, ctx.Err())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	return slices.Clone(s.keys), s.fault
}

func (s *keyStore) DeleteKey(_ context.Context, id byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = slices.DeleteFunc(s.keys, func(k storage.Key) bool { return k.ID == id })
	return s.fault
}

func (s *keyStore) set(change func(*keyStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *keyStore) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists
}

func load(t testing.TB, s opaque.Source) *opaque.Keyring {
	t.Helper()
	r, err := s.Keyring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// later lets that much time pass, with a request every second, and returns the
// keyring that one gets then.
func later(t testing.TB, s opaque.Source, d time.Duration) *opaque.Keyring {
	t.Helper()
	for range d / time.Second {
		time.Sleep(time.Second)
		load(t, s)
		synctest.Wait()
	}
	return load(t, s)
}

func rotate(t testing.TB, keys *opaque.Keys) opaque.KeyInfo {
	t.Helper()
	k, err := keys.Rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func wantMint(t testing.TB, r *opaque.Keyring, id byte) {
	t.Helper()
	if got := r.MintID(); got != id {
		t.Fatalf("key %d mints, want %d", got, id)
	}
}

func wantParsed(t testing.TB, r *opaque.Keyring, m minted) {
	t.Helper()
	if _, err := r.Parse(m.Kind, m.text); err != nil {
		t.Fatalf("a token of key %d: %v", m.KeyID, err)
	}
}

func TestKeyringIsASourceOfItself(t *testing.T) {
	if r := newKeyring(t, 1); load(t, r) != r {
		t.Error("another keyring came back")
	}
}

func TestLoaderMakesTheFirstKey(t *testing.T) {
	store, sealer := &keyStore{}, newSealer(t)
	text := mint(t, load(t, opaque.NewLoader(store, sealer)), opaque.Access).text
	if len(store.keys) != 1 || store.keys[0].Created.IsZero() {
		t.Fatalf("the store keeps %d keys, want 1 with its time", len(store.keys))
	}
	// A later process recognises what the first one minted.
	if _, err := load(t, opaque.NewLoader(store, sealer)).Parse(opaque.Access, text); err != nil {
		t.Error(err)
	}
}

// The first key is the authorization server's, whoever asks first; so is putting back
// what the store lost.
func TestAReadOnlyLoaderMakesNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sealer := &keyStore{}, newSealer(t)
		reader := opaque.NewLoader(store, newSealer(t), opaque.ReadOnly())
		if _, err := reader.Keyring(t.Context()); !errors.Is(err, opaque.ErrNoKey) || !errors.Is(err, storage.ErrUnavailable) || len(store.keys) != 0 {
			t.Fatalf("an empty store: %v, and it has %d keys", err, len(store.keys))
		}
		var told []error
		reader = opaque.NewLoader(store, sealer, opaque.ReadOnly(), opaque.WithNote(func(err error) { told = append(told, err) }))
		issued := mint(t, load(t, opaque.NewLoader(store, sealer)), opaque.Access)
		wantParsed(t, load(t, reader), issued)

		store.set(func(s *keyStore) { s.keys = nil })
		wantParsed(t, later(t, reader, 10*time.Second), issued)
		if len(store.keys) != 0 || len(told) != 1 || !errors.Is(told[0], opaque.ErrLost) {
			t.Errorf("a store that lost its keys has %d, and it was told %v", len(store.keys), told)
		}
	})
}

func TestProcessesThatRaceForTheFirstKeyAgree(t *testing.T) {
	store, sealer := &keyStore{}, newSealer(t)
	rings := make([]*opaque.Keyring, 20)
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() { rings[i], _ = opaque.NewLoader(store, sealer).Keyring(t.Context()) })
	}
	wg.Wait()
	text := mint(t, rings[0], opaque.Access).text
	for i, r := range rings {
		if _, err := r.Parse(opaque.Access, text); err != nil {
			t.Errorf("process %d: %v", i, err)
		}
	}
}

func TestLoaderAsksTheStoreUntilItAnswersAndThenNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &keyStore{fault: storage.ErrUnavailable}
		loader := opaque.NewLoader(store, newSealer(t))
		if _, err := loader.Keyring(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("%v, want ErrUnavailable", err)
		}
		store.set(func(s *keyStore) { s.fault = nil })
		first, before := load(t, loader), store.asked()
		if later(t, loader, 4*time.Second) != first || store.asked() != before {
			t.Error("a keyring of 4 s was loaded anew")
		}
		if later(t, loader, 26*time.Second) != first {
			t.Error("the keys are the same, but another keyring came back")
		}
		if n := store.asked() - before; n < 5 || n > 6 {
			t.Errorf("asked %d times within 30 s, want every 5 s", n)
		}
	})
}

func TestLoaderRefusesKeysOfAnotherDeploymentSecret(t *testing.T) {
	store := &keyStore{}
	load(t, opaque.NewLoader(store, newSealer(t)))
	if _, err := opaque.NewLoader(store, newSealer(t)).Keyring(t.Context()); !errors.Is(err, opaque.ErrSealed) {
		t.Errorf("%v, want ErrSealed", err)
	}
}

func TestWithoutASealerNoKeyringIsLoaded(t *testing.T) {
	empty, full := &keyStore{}, &keyStore{}
	rotate(t, opaque.NewKeys(full, newSealer(t), nil))
	for name, store := range map[string]*keyStore{"an empty store": empty, "a store with a key": full} {
		if _, err := opaque.NewLoader(store, nil).Keyring(t.Context()); !errors.Is(err, opaque.ErrNoSecret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A reload keeps nobody waiting, however slow the store is, and asks it once.
func TestRequestsDontWaitForAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &keyStore{}
		loader := opaque.NewLoader(store, newSealer(t))
		first, before := load(t, loader), store.asked()
		store.set(func(s *keyStore) { s.hang = 900 * time.Millisecond })
		time.Sleep(6 * time.Second)
		began := time.Now()
		for range 100 {
			if load(t, loader) != first {
				t.Fatal("another keyring came back")
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("100 requests waited %s", took)
		}
		time.Sleep(time.Second)
		if n := store.asked() - before; n != 1 {
			t.Errorf("the store was asked %d times, want once", n)
		}
	})
}

// The request that begins a reload may be gone before it ends.
func TestAReloadOutlivesItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sealer := &keyStore{}, newSealer(t)
		loader := opaque.NewLoader(store, sealer)
		load(t, loader)
		rotate(t, opaque.NewKeys(store, sealer, nil))
		store.set(func(s *keyStore) { s.hang = 500 * time.Millisecond })
		time.Sleep(6 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := loader.Keyring(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		time.Sleep(time.Second)
		if r := load(t, loader); !knows(r, 2) {
			t.Error("the new key isn't there")
		}
	})
}

// A store that hangs isn't asked forever: the next reload would never come, nor the end
// of the process.
func TestAReloadIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &keyStore{}
		loader := opaque.NewLoader(store, newSealer(t))
		load(t, loader)
		time.Sleep(6 * time.Second)
		store.set(func(s *keyStore) { s.hang = time.Hour })
		began := time.Now()
		load(t, loader)
		if err := loader.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took == 0 || took > 3*time.Second {
			t.Errorf("it was given up after %v", took)
		}
	})
}

// knows reports whether the keyring has a key of that id.
func knows(r *opaque.Keyring, id byte) bool {
	_, _, err := r.Successor(opaque.Token{}, opaque.Access, id, [16]byte{})
	return err == nil
}

func TestANodeThatWasIdleLoadsBeforeItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sealer := &keyStore{}, newSealer(t)
		idle, busy := opaque.NewLoader(store, sealer), opaque.NewLoader(store, sealer)
		load(t, idle)
		rotate(t, opaque.NewKeys(store, sealer, nil))
		r := later(t, busy, 40*time.Second)
		wantMint(t, r, 2)
		wantParsed(t, load(t, idle), mint(t, r, opaque.Access))
	})
}

// Its keyring is as old as any when the store had a fault the last time it was asked.
func TestANodeThatWasIdleSinceAFaultLoadsBeforeItAnswers(t *testing.T) {
	for failing, again := range map[time.Duration]time.Duration{
		6 * time.Second:                      time.Hour,
		opaque.MaxAge - 100*time.Millisecond: opaque.Activation + time.Second, // the last that doesn't know it to be old, and the first that may need the new key
	} {
		t.Run(failing.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, sealer := &keyStore{}, newSealer(t)
				idle, busy := opaque.NewLoader(store, sealer), opaque.NewLoader(store, sealer)
				load(t, idle)
				rotate(t, opaque.NewKeys(store, sealer, nil))
				time.Sleep(failing)
				store.set(func(s *keyStore) { s.fault = storage.ErrUnavailable })
				load(t, idle)
				synctest.Wait()
				store.set(func(s *keyStore) { s.fault = nil })
				r := later(t, busy, again-failing)
				wantMint(t, r, 2)
				now := load(t, idle)
				wantParsed(t, now, mint(t, r, opaque.Access))
				wantMint(t, now, 2)
			})
		})
	}
}

// Whoever loads the keyring waits for the store, and so does who waits for that.
func TestWaitingForKeysIsAWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &keyStore{}
		l := opaque.NewLoader(store, newSealer(t))
		load(t, l)
		time.Sleep(opaque.MaxAge)
		const takes, whole = 400 * time.Millisecond, 950 * time.Millisecond
		store.set(func(s *keyStore) { s.hang = takes })
		var all sync.WaitGroup
		for _, before := range []time.Duration{whole - takes - 10*time.Millisecond, 0, whole - takes/4} { // spent; the first is the one that loads
			all.Go(func() {
				b, began := new(storage.Budget), time.Now()
				b.Spend(before)
				_, err := l.Keyring(storage.WithBudget(t.Context(), b))
				took := time.Since(began)
				if enough := before+takes <= whole; enough && (err != nil || took != takes) {
					t.Errorf("after %v: %v in %v", before, err, took)
				} else if !enough && (!errors.Is(err, storage.ErrSpent) || took != whole-before) {
					t.Errorf("after %v: %v in %v, want %v in %v", before, err, took, storage.ErrSpent, whole-before)
				}
				if b.Spend(whole - before - took - 1); b.Spent() && took < whole-before {
					t.Errorf("after %v: more was counted than %v", before, took)
				}
				if b.Spend(1); !b.Spent() {
					t.Errorf("after %v: less was counted than %v", before, took)
				}
			})
			synctest.Wait()
		}
		all.Wait()
	})
}

func TestAnOutageKeepsTheKeyring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		store, sealer := &keyStore{}, newSealer(t)
		loader := opaque.NewLoader(store, sealer, opaque.WithNote(func(err error) { told = append(told, err) }))
		old := mint(t, load(t, loader), opaque.Access)
		keys := opaque.NewKeys(store, sealer, nil)
		store.set(func(s *keyStore) { s.fault = storage.ErrUnavailable })
		r := later(t, loader, time.Minute)
		synctest.Wait()
		wantParsed(t, r, old)
		mustRefuse(t, r, opaque.Access, mint(t, newKeyring(t, 1), opaque.Access).text, "a wrong tag")
		if len(told) != 1 || !errors.Is(told[0], storage.ErrUnavailable) {
			t.Errorf("told %v, want the outage, once", told)
		}

		store.set(func(s *keyStore) { s.fault = nil })
		rotate(t, keys)
		fresh := mint(t, later(t, opaque.NewLoader(store, sealer), 40*time.Second), opaque.Access)
		if fresh.KeyID != 2 {
			t.Fatalf("minted under key %d, want 2", fresh.KeyID)
		}
		store.set(func(s *keyStore) { s.fault = storage.ErrUnavailable })
		// Nobody may say of it that it is no good.
		if _, err := later(t, loader, 15*time.Second).Parse(opaque.Access, fresh.text); err == nil {
			t.Fatal("the loader loaded nothing since the outage, but knows the key")
		} else if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, opaque.ErrInvalid) {
			t.Errorf("a token of a key that was made meanwhile: %v, want ErrUnavailable", err)
		}
		store.set(func(s *keyStore) { s.fault = nil })
		r = later(t, loader, 2*time.Second)
		wantParsed(t, r, fresh)
		mustRefuse(t, r, opaque.Access, mint(t, newKeyring(t, 9), opaque.Access).text, "a key that isn't there")
	})
}

// A flushed store: the grants may live, on another shard or after a slip, and the
// processes have the keys that they were made under.
func TestLostKeysArePutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		store, sealer := &keyStore{}, newSealer(t)
		note := opaque.WithNote(func(err error) { told = append(told, err) })
		a, b := opaque.NewLoader(store, sealer, note), opaque.NewLoader(store, sealer)
		rotated := opaque.NewKeys(store, sealer, nil)
		first := mint(t, load(t, a), opaque.Refresh)
		load(t, b)
		rotate(t, rotated)
		second := mint(t, later(t, a, 30*time.Second), opaque.Refresh)
		later(t, b, time.Second)
		kept := slices.Clone(store.keys)

		store.set(func(s *keyStore) { s.keys = nil })
		for _, node := range []*opaque.Loader{a, b, opaque.NewLoader(store, sealer)} {
			r := later(t, node, 10*time.Second)
			wantParsed(t, r, first)
			wantParsed(t, r, second)
			wantMint(t, r, 2)
		}
		if !slices.EqualFunc(store.keys, kept, func(a, b storage.Key) bool { return a.ID == b.ID && string(a.Sealed) == string(b.Sealed) }) {
			t.Errorf("the store has other keys than before")
		}
		if len(told) != 1 || !errors.Is(told[0], opaque.ErrLost) {
			t.Errorf("told %v, want ErrLost once", told)
		}
	})
}

// A node with a wrong secret that came first to a flushed store, or a store of
// another deployment in the place of ours.
func TestKeysThatCantBeOpenedAreNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		store, sealer := &keyStore{}, newSealer(t)
		loader := opaque.NewLoader(store, sealer, opaque.WithNote(func(err error) { told = append(told, err) }))
		ours := mint(t, load(t, loader), opaque.Access)
		kept := store.keys
		store.set(func(s *keyStore) { s.keys = nil })
		load(t, opaque.NewLoader(store, newSealer(t)))
		wantParsed(t, later(t, loader, time.Minute), ours)
		if len(told) != 1 || !errors.Is(told[0], opaque.ErrSealed) {
			t.Errorf("told %v, want ErrSealed once", told)
		}
		store.set(func(s *keyStore) { s.keys = kept })
		wantParsed(t, later(t, loader, 2*time.Second), ours)
		mustRefuse(t, load(t, loader), opaque.Access, mint(t, newKeyring(t, 7), opaque.Access).text, "once more it is known which keys there are")
	})
}

// After a backup was restored, keys that were made since are gone, and so is
// what they minted.
func TestARestoredStoreCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sealer := &keyStore{}, newSealer(t)
		loader := opaque.NewLoader(store, sealer)
		load(t, loader)
		backup := slices.Clone(store.keys)
		rotate(t, opaque.NewKeys(store, sealer, nil))
		wantMint(t, later(t, loader, 30*time.Second), 2)
		store.set(func(s *keyStore) { s.keys = backup })
		r := later(t, loader, 10*time.Second)
		wantMint(t, r, 1)
		if knows(r, 2) {
			t.Error("a key that the store doesn't have is recognised")
		}
	})
}

// The request that loads the keys for all waits no longer than the others.
func TestWhoLoadsTheKeysWaitsWithinItsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &keyStore{}
		l := opaque.NewLoader(store, newSealer(t))
		load(t, l)
		time.Sleep(opaque.MaxAge)
		store.set(func(s *keyStore) { s.hang = 780 * time.Millisecond })
		b, began := new(storage.Budget), time.Now()
		b.Spend(900 * time.Millisecond)
		if _, err := l.Keyring(storage.WithBudget(t.Context(), b)); !errors.Is(err, storage.ErrSpent) || time.Since(began) != 50*time.Millisecond {
			t.Errorf("with 50ms left: %v after %v", err, time.Since(began))
		}
		time.Sleep(time.Second)
		store.set(func(s *keyStore) { s.hang = time.Hour })
		if _, err := l.Keyring(t.Context()); err != nil {
			t.Errorf("what it loaded isn't there: %v", err)
		}
	})
}
