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
// That layout is read with grantd's own driver, so TLS, ACLs and Sentinel work,
// and the stock store and its driver, which are no longer maintained, stay out
// of the program. The tests prove the layout against the real thing.
//
// Texts in this package are tokens; its own keys never hold one:
//
//	grantd:stock:moved:DIGEST    the grant that the token of that digest became
//	grantd:stock:ended           hash: whose stock tokens are all dead
//
// # What holds
//
// A stock token stands for a grant of the first generation, which [Store] makes
// up from the record, always the same one. It has its id from the record's, so
// whoever makes it, it is one grant: storage.Grants.CreateGrant sees to that, and
// nothing has to be atomic across two databases.
//
// Spending a refresh token keeps that grant, swaps it for its next generation, and
// then settles the token: one script deletes the three keys and leaves the marker
// of the new pair. Only then is the request answered. What is interrupted before
// can be repeated, and gives the same pair within the retry window, as any refresh
// does; afterwards it counts as reuse and ends the grant, as with any refresh.
//
// Settling also finds out who came too late: a request that was under way while
// others moved the token over and revoked its grant finds the marker of another
// pair, or neither marker nor keys. Then its grant is deleted again.
//
// Ending all grants of a user or client ends the stock tokens too, see
// [Store.Cover].
package stockredis
