package storage

import (
	"context"
	"time"
)

// GuessKey names a record of a throttle. It is a keyed digest of whom or what the
// record is about: names that people type can be passwords, so none is ever
// part of a key, whether somebody has it or not.
type GuessKey [16]byte

// Guesses keeps what a throttle remembers of failed sign-ins, so that all nodes
// share it and a restart doesn't lose it. Records are the throttle's own: a store
// compares their bytes and doesn't look into them.
type Guesses interface {
	// LoadGuesses returns the record of that key, nil when there is none. A store
	// may keep a record for a while after its expiry.
	LoadGuesses(ctx context.Context, key GuessKey) ([]byte, error)

	// SwapGuesses replaces old by next in one step and returns the record that is
	// there now. A nil old stands for no record, a nil next leaves none. The store
	// forgets next some time after expiry. Of any number of concurrent calls with
	// the same old and different next exactly one succeeds; the others get
	// ErrConflict, and the record that is there. Repeating a call that succeeded
	// succeeds, as long as nobody swapped after it.
	SwapGuesses(ctx context.Context, key GuessKey, old, next []byte, expiry time.Time) ([]byte, error)
}
