// Package storagetest checks that a store keeps the contract of package storage.
// No part is optional: a store that passes [Run] with a working [Fixture] is a
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

// Fixture is a fresh, empty store and the functions that a check needs to drive
// it. All fields are required. The open function of [Run] releases its resources
// with t.Cleanup; checks never close the store.
type Fixture struct {
	Store storage.Store

	// Now is the clock that the store uses. Only Advance moves it. It is safe for
	// concurrent use. [Clock] is such a clock.
	Now func() time.Time

	// Advance moves the clock forward.
	Advance func(d time.Duration)

	// Residue does what the store does in the background from time to time. It
	// returns how many rows, keys or index entries are left that don't belong to
	// users, clients, deployment keys, receipts, epochs, floors or the audit trail.
	// Entries that the database itself drops at an instant don't count once Now
	// has reached it, even if the database's own clock hasn't.
	Residue func() int

	// Break makes the store's database unreachable for good: it kills the
	// server or closes the file.
	Break func()
}

// check is one requirement. It gets its own fixture.
type check struct {
	name string
	run  func(t *testing.T, f Fixture)
}

// Run runs every check as a subtest, one after another. open makes a fixture for
// each.
func Run(t *testing.T, open func(*testing.T) Fixture) {
	topics := slices.Concat(
		grantChecks, swapChecks, retryChecks, expiryChecks, listChecks,
		revokeChecks, beforeChecks, sweepChecks, sweptChecks, raceChecks, receiptChecks,
		userChecks, clientChecks, keyChecks, auditChecks, guessChecks,
		modelChecks, outageChecks,
	)
	for _, c := range topics {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}
