// Package storage holds the records that an authorization server keeps and the
// small interfaces through which it keeps them.
//
// Everything that one sign-in leaves behind is one record, the [Grant]. Access
// tokens and refresh tokens are only proofs that address it, so that issuing,
// refreshing and revoking are each one step on one record. Start reading at
// [Grants]; [Revocations] ends many grants at once; [Users], [Clients] and
// [Keys] hold what a grant refers to.
//
// The package imports no database, no HTTP and no other module. Stores live in
// packages beside it; each is tested with storagetest.Run.
package storage
