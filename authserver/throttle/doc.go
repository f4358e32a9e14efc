// Package throttle slows down the guessing of passwords and client secrets. Start
// reading at [Limiter.Begin].
//
// A password is judged only when three limits allow it:
//
//   - of the user in one network (the IPv4 address or the IPv6 /64 that the
//     guess comes from): three guesses are free. From the third failure on,
//     each starts a delay, 5 s at first, then twice as long, up to 15 minutes.
//     That allows ten guesses in the first 15 minutes, and then four an hour.
//     The failures are forgotten an hour after the last delay, and at a good
//     sign-in from the network;
//   - of the network, over all users: 100 failures, and one more every 10 s;
//   - of the user, over all networks that the user hasn't signed in from within
//     90 days: 50 failures, and one more a minute. The networks that the user
//     has signed in from are exempt, so that no stranger elsewhere can keep the
//     user out.
//
// Successes cost nothing. The same wrong password counts once within a quarter
// of an hour, because client libraries try twice. Guesses at a user that are
// under way count as failures. If they leave no room for another guess, that
// guess waits for them. Thus many simultaneous sign-ins all succeed, but as
// many wrong guesses don't.
//
// The failures of a user are a record in the store that all nodes share; its
// key is a keyed digest, see storage.Guesses. A name that nobody has gets such
// a record too. The failures of a network, and of the clients that authenticate
// from it, are kept in the memory of each node, so that a look-up costs
// nothing; a node exchanges them with the store whenever it counts a failure.
// Guesses of one network that are judged at the same time don't wait for each
// other. The limit is checked before, and again before any outcome is told, and
// failures are counted one by one. So no more wrong guesses learn their outcome
// than if they had come one after another, and a right one that comes after the
// limit was reached is refused.
//
// A node doesn't know what other nodes counted since it last counted a failure itself.
// So it may judge a guess of a network that has nothing left by the store's count. If
// the guess is wrong, counting it shows the store's record, and the guess is refused;
// but a right one would be let in. So each further node allows the network one more
// guess, each time that it gets one back.
//
// When a guess waits for others, and these wait for a slow store, the time counts against its
// budget of waiting for the store (storage.Budget), except while one of their passwords is being
// hashed. An outcome is told in the background if the request has no time left, or if the store
// can't be reached, for as long as the guess counts as under way: 10 s. The guesses of a node
// that died end after that time too. A guess that takes longer learns its outcome only if a new
// guess would be admitted then.
//
// Each node writes the times of its own clock: if clocks differ by seconds,
// delays are longer or shorter by as much.
package throttle
