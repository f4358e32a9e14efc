// Package storagetest is the contract that every store passes. It has no
// optional parts: a store whose tests call [Run] with a working [Fixture] is a
// storage.Store, and one that fails any check is not.
//
// Checks are ordered by topic, one file each. Expected values come from the
// comments of package storage, never from what a store answers.
package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

// Fixture is a fresh, empty store and the handles that a check needs to drive
// it. All fields are required. What open must release, it registers with
// t.Cleanup; checks never close the store.
type Fixture struct {
	Store storage.Store

	// Now is the clock that the store goes by. It stands still but for
	// Advance, and is safe for concurrent use. [Clock] is such a clock.
	Now func() time.Time

	// Advance moves the clock forward.
	Advance func(d time.Duration)

	// Residue does what the store does in the background from time to time,
	// and returns how many rows, keys or index entries are left which don't
	// belong to users, clients, deployment keys, epochs, floors or the audit trail. What the
	// database itself drops at an instant that has come by Now doesn't count,
	// even when the database's own clock isn't there yet.
	Residue func() int

	// Break makes the store's database unreachable for good: it kills the
	// server or closes the file.
	Break func()
}

// check is one requirement. It gets a fixture of its own.
type check struct {
	name string
	run  func(t *testing.T, f Fixture)
}

// Run runs every check as a subtest, one after the other, each on a fixture
// that open makes for it.
func Run(t *testing.T, open func(*testing.T) Fixture) {
	topics := slices.Concat(
		grantChecks, swapChecks, retryChecks, expiryChecks, listChecks,
		revokeChecks, sweepChecks, raceChecks,
		userChecks, clientChecks, keyChecks, auditChecks, guessChecks,
		modelChecks, outageChecks,
	)
	for _, c := range topics {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}
