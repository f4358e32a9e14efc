package storagetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

var guessChecks = []check{
	{"guesses are kept byte for byte, replaced and forgotten", guessSwap},
	{"guesses of another state are left alone and shown", guessConflict},
	{"swapping guesses may be repeated", guessRepeat},
	{"of concurrent swaps of guesses one succeeds", guessRace},
	{"concurrent counts of guesses lose none", guessCount},
	{"guesses are kept until they expire, and then leave nothing", guessExpiry},
}

func guessKey(n byte) storage.GuessKey { return storage.GuessKey{0, n, '}', '\n', 255} }

// swapped swaps guesses that expire in an hour.
func swapped(t *testing.T, f Fixture, key storage.GuessKey, old, next []byte) {
	t.Helper()
	now, err := f.Store.SwapGuesses(t.Context(), key, old, next, f.Now().Add(time.Hour))
	wantErr(t, "SwapGuesses", err, nil)
	if !bytes.Equal(now, next) {
		t.Fatalf("SwapGuesses returned %q, want %q", now, next)
	}
	wantGuesses(t, f, key, next)
}

func wantGuesses(t *testing.T, f Fixture, key storage.GuessKey, want []byte) {
	t.Helper()
	got, err := f.Store.LoadGuesses(t.Context(), key)
	wantErr(t, "LoadGuesses", err, nil)
	if !bytes.Equal(got, want) || (got == nil) != (want == nil) {
		t.Fatalf("guesses are %q, want %q", got, want)
	}
}

func guessSwap(t *testing.T, f Fixture) {
	odd := []byte{0, 255, '\n', 0}
	wantGuesses(t, f, guessKey(1), nil)
	swapped(t, f, guessKey(1), nil, odd)
	swapped(t, f, guessKey(2), nil, []byte("other"))
	swapped(t, f, guessKey(1), odd, bytes.Repeat(odd, 4000))
	swapped(t, f, guessKey(1), bytes.Repeat(odd, 4000), nil)
	swapped(t, f, guessKey(1), nil, odd)
	wantGuesses(t, f, guessKey(2), []byte("other"))
}

func guessConflict(t *testing.T, f Fixture) {
	kept := []byte("kept")
	swapped(t, f, guessKey(1), nil, kept)
	for name, c := range map[string]struct {
		key       storage.GuessKey
		old, next []byte
		there     []byte
	}{
		"another record":     {guessKey(1), []byte("old"), []byte("next"), kept},
		"a record, not none": {guessKey(1), nil, []byte("next"), kept},
		"no longer that one": {guessKey(1), []byte("old"), nil, kept},
		"none, not a record": {guessKey(2), []byte("old"), []byte("next"), nil},
	} {
		now, err := f.Store.SwapGuesses(t.Context(), c.key, c.old, c.next, f.Now().Add(time.Hour))
		wantErr(t, name, err, storage.ErrConflict)
		if !bytes.Equal(now, c.there) || (now == nil) != (c.there == nil) {
			t.Errorf("%s: SwapGuesses returned %q, want %q", name, now, c.there)
		}
		wantGuesses(t, f, c.key, c.there)
	}
}

func guessRepeat(t *testing.T, f Fixture) {
	first, second := []byte("first"), []byte("second")
	for range 3 {
		swapped(t, f, guessKey(1), nil, first)
	}
	for range 3 {
		swapped(t, f, guessKey(1), first, second)
	}
	for range 3 {
		swapped(t, f, guessKey(1), second, nil)
	}
}

func guessRace(t *testing.T, f Fixture) {
	old := []byte("old")
	swapped(t, f, guessKey(1), nil, old)
	next := func(i int) []byte { return []byte{byte(i), 1} }
	errs := concurrently(20, func(i int) error {
		now, err := f.Store.SwapGuesses(t.Context(), guessKey(1), old, next(i), f.Now().Add(time.Hour))
		if err == nil && !bytes.Equal(now, next(i)) {
			err = errors.New("succeeded and returned another's")
		}
		return err
	})
	wantGuesses(t, f, guessKey(1), next(wantOneWinner(t, errs, storage.ErrConflict)))
}

func guessCount(t *testing.T, f Fixture) {
	const workers, times = 8, 25
	errs := concurrently(workers, func(i int) error {
		var now []byte
		for range times {
			err := storage.ErrConflict
			for errors.Is(err, storage.ErrConflict) {
				var n uint32
				if now != nil {
					n = binary.BigEndian.Uint32(now)
				}
				next := append(binary.BigEndian.AppendUint32(nil, n+1), byte(i)) // all records differ
				now, err = f.Store.SwapGuesses(t.Context(), guessKey(1), now, next, f.Now().Add(time.Hour))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	for _, err := range errs {
		wantErr(t, "counting", err, nil)
	}
	now, err := f.Store.LoadGuesses(t.Context(), guessKey(1))
	wantErr(t, "LoadGuesses", err, nil)
	if n := binary.BigEndian.Uint32(now); n != workers*times {
		t.Errorf("counted %d of %d", n, workers*times)
	}
}

func guessExpiry(t *testing.T, f Fixture) {
	record := []byte("record")
	swapped(t, f, guessKey(1), nil, record)
	f.Advance(time.Hour - time.Millisecond)
	f.Residue()
	wantGuesses(t, f, guessKey(1), record)
	swapped(t, f, guessKey(1), record, []byte("prolonged"))
	f.Advance(time.Hour - time.Millisecond)
	f.Residue() // cleaning in the background must not delete it either
	wantGuesses(t, f, guessKey(1), []byte("prolonged"))
	f.Advance(time.Millisecond)
	wantNoResidue(t, f)
	wantGuesses(t, f, guessKey(1), nil)
}
