// Package passhash keeps passwords: it hashes them with argon2id, verifies what
// it or another system hashed, and prepares passwords and usernames for
// comparison (RFC 8265).
//
// Start at [New]. A [Hasher] bounds how many hashes run at once, so that a flood
// of sign-ins costs neither all memory nor all processors: the surplus waits in
// a short queue, and what doesn't fit there is [ErrBusy] at once.
//
// A user that doesn't exist must cost what a user that does costs, or time would
// tell them apart. So [Hasher.Verify] takes "" for the hash of nobody, and works
// as hard on it. Accounts can still be told from the others by time, until their
// next sign-in replaces their hash (see [Result]), when another system made the
// hash, or argon2id of other parameters did.
//
// It is the only importer of golang.org/x/crypto and of precis.
package passhash
