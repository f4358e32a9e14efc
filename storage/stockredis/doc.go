// Package stockredis honours the tokens that a stock go-oauth2 server left in
// Redis through go-oauth2/redis v4, so that a deployment moves over to grantd
// and nobody has to sign in again. Start reading at [Open].
//
// The stock store has three keys for a sign-in, all behind an optional prefix:
//
//	access token     the id of the record, a UUID
//	refresh token    the same
//	id               the record, JSON: see record
//
// This package reads that layout with grantd's own driver, so TLS, ACLs and
// Sentinel work. The stock store and its driver are no longer maintained, and
// stay out of the program. The tests check the layout against the real stock
// store.
//
// A text in this package is a token. The names of its own keys never hold one:
//
//	grantd:stock:moved:DIGEST    the grant that the token of that digest became
//	grantd:stock:ended           hash: whose stock tokens are all dead
//
// # What holds
//
// A stock token stands for a grant of the first generation, which [Store]
// derives from the record. The same record always gives the same grant, with an
// id derived from the record's. So storage.Grants.CreateGrant makes sure that
// there is only one grant, whoever creates it, and nothing has to be atomic
// across two databases.
//
// To spend a refresh token is to create that grant, to swap it for its next
// generation, and then to settle the token: one script deletes the three keys
// and leaves a marker of the new pair. Only then is the request answered. As
// with any refresh, a request that was interrupted before that can be repeated
// and gives the same pair within the retry window; after the window it counts
// as reuse and ends the grant.
//
// Settling also finds requests that came too late. A request that was under way
// while others moved the token over and revoked its grant finds the marker of
// another pair, or neither marker nor keys. Then its grant is deleted again.
//
// Ending all grants of a user or client ends the stock tokens too: see
// [Store.Cover].
package stockredis
