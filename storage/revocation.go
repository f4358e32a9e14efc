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

	// Before limits a revocation to the grants that were created before it, in
	// whole milliseconds; zero: no limit. Not for ListGrants.
	Before time.Time `json:"before,omitzero"`
}

// Whose returns the target without its Before.
func (t Target) Whose() Target {
	t.Before = time.Time{}
	return t
}

// Rounded returns the target with Before as stores keep it: rounded up to whole
// milliseconds, so that it covers the grants of the millisecond that Before is
// in. If Before isn't before now, the target is all grants, because the clock
// that dated a grant may be ahead of this one.
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

// Since reports whether the target's Before leaves out grants that were created
// at that time.
func (t Target) Since(created time.Time) bool {
	return !t.Before.IsZero() && !created.Before(t.Before)
}

// Revocation is a floor under the grants of a target. A grant of the target is
// dead if its epoch is below the epoch of its partition in Epochs, and if it
// was created before the target's Before, if that is set.
type Revocation struct {
	Target Target
	// Epochs holds the epochs that the revocation raised, by partition. A store
	// without partitions uses only partition 0.
	Epochs map[byte]uint32
}

// Swept counts the grants that the sweeps of a revocation deleted. Every grant
// counts in one Swept only, even if several revocations ended it.
type Swept struct {
	Grants int       `json:"grants"`
	Oldest time.Time `json:"oldest,omitzero"` // when the oldest of them was created; zero if there are none
	Newest time.Time `json:"newest,omitzero"` // when the newest of them was created
}

// And returns the sum of both.
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
// A Before is compared with Grant.Created. It only limits what the epoch ends:
// it never ends a grant that the epoch doesn't.
type Revocations interface {
	// Epoch returns an epoch of the id's partition that was current at some
	// moment before it returns. It needn't be the latest: an older epoch only
	// makes CreateGrant fail more often. After CreateGrant failed with
	// ErrRevoked, Epoch returns a newer epoch.
	Epoch(ctx context.Context, id GrantID) (uint32, error)

	// Revoke ends all grants of the target that exist when it is called. When
	// it returns, the grants are dead for every later call of any node,
	// whatever their number. Repeating the call is harmless. The returned
	// revocation has the target as Rounded returns it.
	Revoke(ctx context.Context, t Target) (Revocation, error)

	// Unswept returns the revocations whose sweep has not finished, because it
	// is under way or because its process died. A revocation may be missing if
	// a later one covers its grants.
	Unswept(ctx context.Context) ([]Revocation, error)

	Sweeper

	// CountGrants counts the target's grants, whatever its Before, in the indexes.
	// The number may be too high, because indexes may name grants that have ended.
	// CountGrants returns -1 if counting would take long, which is never so for a
	// user or a client.
	CountGrants(ctx context.Context, t Target) (int, error)

	// ListGrants returns up to limit live grants of the user or the client, in
	// an order that doesn't change while a grant lives, and the cursor of the
	// next page, "" when there is none. A grant that lives throughout is listed
	// exactly once. A page may hold fewer than limit, even none, and have a next
	// page: a call reads a bounded number of grants, of which some may be dead.
	// A bad cursor is ErrNotFound.
	ListGrants(ctx context.Context, t Target, cursor string, limit int) ([]Grant, string, error)
}

// Sweeper clears away grants that revocations ended. Its methods work in small
// steps and rest in between, so as not to hold up others. They take as long as
// that needs.
type Sweeper interface {
	// Sweep deletes the grants that r ended and their index entries, and then
	// removes the floor. It may be repeated, and several may run at once.
	//
	// Now and then and at the end, Sweep calls report, unless that is nil, with
	// what the sweeps of r have deleted so far. The store counts a grant in the
	// step that deletes it, so the count is right even if processes died
	// half-way. The floor and the count are removed only after the last report.
	// If report returns an error, Sweep returns it and leaves floor and count,
	// and may be repeated. Sweep returns the last count.
	Sweep(ctx context.Context, r Revocation, report func(Swept) error) (Swept, error)

	// Survivors counts the grants that r ended and that the store still has,
	// although no call finds them. After a sweep there are none. It may be called
	// at any time.
	Survivors(ctx context.Context, r Revocation) (int, error)
}
