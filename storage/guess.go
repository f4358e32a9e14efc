package storage

import (
	"context"
	"time"
)

// GuessKey names a record of a throttle. It is a keyed digest of what the
// record is about. The name itself is never part of a key, even if no user has
// it: people sometimes type a password in the place of the name.
type GuessKey [16]byte

// Guesses keeps a throttle's records of failed sign-ins, so that all nodes
// share them and they survive a restart. Only the throttle reads the records: a
// store just compares their bytes.
type Guesses interface {
	// LoadGuesses returns the record of that key, nil when there is none. A store
	// may keep a record for a while after its expiry.
	LoadGuesses(ctx context.Context, key GuessKey) ([]byte, error)

	// SwapGuesses replaces old by next in one step and returns the current record.
	// A nil old stands for no record, a nil next leaves none. The store forgets
	// next some time after expiry. Of any number of concurrent calls with the same
	// old and different next exactly one succeeds; the others get ErrConflict and
	// the current record. Repeating a call that succeeded succeeds, as long as
	// nobody swapped after it.
	SwapGuesses(ctx context.Context, key GuessKey, old, next []byte, expiry time.Time) ([]byte, error)
}
