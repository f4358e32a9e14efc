package storage

import (
	"context"
	"time"
)

// Target says whose grants to list or to revoke: exactly one of UserID, ClientID
// and All is set.
type Target struct {
	UserID   string `json:"user_id,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	All      bool   `json:"all,omitempty"` // not for ListGrants

	// Before narrows a revocation down to the grants that were created before
	// it, whole milliseconds; zero: all of them. Not for ListGrants.
	Before time.Time `json:"before,omitzero"`
}

// Whose is the target without its Before.
func (t Target) Whose() Target {
	t.Before = time.Time{}
	return t
}

// Rounded is the target with a Before as stores keep it: in whole milliseconds,
// rounded up, so that a grant of the millisecond that Before is in is covered. One
// that isn't before now means all grants: grants are dated by clocks that may be
// ahead of this one.
func (t Target) Rounded(now time.Time) Target {
	if t.Before.IsZero() {
		return t
	}
	if !t.Before.Before(now) {
		return t.Whose()
	}
	ms := t.Before.Add(time.Millisecond - time.Nanosecond).UnixMilli()
	t.Before = time.UnixMilli(max(ms, 0)).UTC()
	return t
}

// Since reports whether the target leaves out the grants that were created then,
// because of its Before.
func (t Target) Since(created time.Time) bool {
	return !t.Before.IsZero() && !created.Before(t.Before)
}

// Revocation is a floor under the grants of a target: every grant of the
// target, created before its Before if it has one, whose epoch is below
// that of its partition in Epochs is dead.
type Revocation struct {
	Target Target
	// Epochs holds the epoch of each partition that the revocation raised, by
	// partition. A store without partitions uses partition 0 alone.
	Epochs map[byte]uint32
}

// Swept is what the sweeps of a revocation deleted. Every grant counts in one
// Swept only, whichever revocations ended it.
type Swept struct {
	Grants int       `json:"grants"`
	Oldest time.Time `json:"oldest,omitzero"` // when the first of them was created; zero if there are none
	Newest time.Time `json:"newest,omitzero"` // when the last of them was created
}

// And is both together.
func (s Swept) And(other Swept) Swept {
	switch {
	case other.Grants == 0:
		return s
	case s.Grants == 0:
		return other
	}
	s.Grants += other.Grants
	if other.Oldest.Before(s.Oldest) {
		s.Oldest = other.Oldest
	}
	if other.Newest.After(s.Newest) {
		s.Newest = other.Newest
	}
	return s
}

// Revocations ends many grants at once.
//
// Revoking works by a logical clock, the epoch, and not by wall clocks, which
// differ between nodes. A sign-in reads the epoch before it reads the user's
// and the client's records and verifies anything; Revoke raises it; CreateGrant
// succeeds only in the epoch that the sign-in began in. So when Revoke returns,
// a grant of the target was either created before the epoch was raised, and is
// dead by the floor, or its sign-in began after it. No third case exists.
//
// A Before is compared with what Grant.Created says, and narrows down what the
// epoch ends. It never ends a grant that the epoch doesn't.
type Revocations interface {
	// Epoch returns an epoch of the id's partition that was current at some
	// moment before it returns (not necessarily the latest: an older one only
	// makes CreateGrant fail more often). After CreateGrant failed with
	// ErrRevoked it returns a newer one.
	Epoch(ctx context.Context, id GrantID) (uint32, error)

	// Revoke ends all grants of the target that exist when it is called. It is
	// effective when it returns, whatever their number, for every later call
	// of any node. Repeating it is harmless. The revocation that it returns has
	// the target as Rounded has it.
	Revoke(ctx context.Context, t Target) (Revocation, error)

	// Unswept returns the revocations whose sweep has not finished, because
	// it is under way or because the process that ran it died. One whose grants
	// a later one ends as well may be missing.
	Unswept(ctx context.Context) ([]Revocation, error)

	Sweeper

	// CountGrants returns at least how many grants the target has, whatever its
	// Before, from the indexes, which may name some that have ended. It returns -1
	// when counting would take long, which it never does for a user or a client.
	CountGrants(ctx context.Context, t Target) (int, error)

	// ListGrants returns up to limit live grants of the user or the client, in
	// an order that doesn't change while a grant lives, and the cursor of the
	// next page, "" when there is none. A grant that lives throughout is
	// listed exactly once. A page may hold fewer than limit, even none, and have
	// a next one: it looks at a bounded number of grants, of which some may be
	// dead. A bad cursor is ErrNotFound.
	ListGrants(ctx context.Context, t Target, cursor string, limit int) ([]Grant, string, error)
}

// Sweeper clears away what revocations ended. Its methods work in small steps and
// rest in between, so that they hold up nobody, and take as long as that needs.
type Sweeper interface {
	// Sweep deletes the grants that r ended and their index entries, and takes
	// the floor away. It may be repeated or run by several at once.
	//
	// It tells report, unless that is nil, now and then and at the end what the
	// sweeps of r deleted as yet. The store counts what it deletes in the same
	// step, so the number is right even when processes died half-way. The floor
	// and the count go after report took the last number: when report returns an
	// error, Sweep returns it and leaves them, and may be repeated. Sweep
	// returns what it told last.
	Sweep(ctx context.Context, r Revocation, report func(Swept) error) (Swept, error)

	// Survivors counts the grants that r ended and that the store still has,
	// though no call finds them: none after a sweep. It may be asked at any time.
	Survivors(ctx context.Context, r Revocation) (int, error)
}
