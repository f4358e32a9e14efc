// Package passhash hashes passwords with argon2id, verifies hashes that it or
// another system made, and prepares passwords and usernames for comparison (RFC
// 8265).
//
// Start at [New]. A [Hasher] bounds how many hashes run at once, so that a
// flood of sign-ins can't take all memory or all processors. Further calls wait
// in a short queue; a call that finds the queue full fails at once with
// [ErrBusy].
//
// An unknown user must cost as much time as a known one, or the time would tell
// them apart. So [Hasher.Verify] takes "" as the hash of nobody, and works as
// hard on it. One difference remains: an account whose hash was made by another
// system, or by argon2id with other parameters, can be told by time until its
// next sign-in replaces the hash (see [Result]).
//
// Only this package imports golang.org/x/crypto and precis.
package passhash
