// Package throttle slows down the guessing of passwords and client secrets. Start
// reading at [Limiter.Begin].
//
// A password is judged only when three limits allow it:
//
//   - of the user and the network that the guess comes from, an IPv4 address or an
//     IPv6 /64: three failures are free, after each further one there is a delay, 5 s
//     at first, then twice as long, up to 15 minutes: ten guesses in 15 minutes,
//     and then four an hour. They are forgotten an hour after the last delay, and
//     at a good sign-in from there;
//   - of the network, whoever is guessed at: 100 failures, one more every 10 s;
//   - of the user, over all networks that the user hasn't signed in from within 90
//     days: 50 failures, one more a minute. A network that the user is known at
//     is exempt, so that no stranger elsewhere can keep the user out.
//
// Successes cost nothing. The same wrong password again, within a quarter of an
// hour, counts once: client libraries try twice. Guesses at a user that are under way
// count as if they had failed, and what they leave no room for waits for them, so
// that many sign-ins at once all succeed, and as many guesses don't.
//
// What is counted for a user is a record in the store that all nodes share, whose
// name is a keyed digest: see storage.Guesses. It is the same for a name that
// nobody has. What is counted for a network, and for the clients that authenticate
// from it, each node looks up in its own memory, so that it costs nothing, and
// shares through the store whenever it counts a failure. Many that are judged at once
// don't wait for each other: the limit is looked at before, and once more before
// any outcome is told, while failures are counted one by one. So of wrong ones no
// more are told than in turn, and a right one that comes after the last is refused.
//
// A node can't know what others counted since its own last failure. When it took a
// network for one that may still guess, and the store knows better, the wrong guess by
// which it learns that is refused, but a right one in its place would have been let
// in: on each further node it is one guess more, whenever one comes back.
//
// A request waits for others only within its budget of waiting for the store
// (storage.Budget), as far as it is the store that they wait for, and never while one of
// their passwords is hashed. What it had no time left to tell of its guess is told in the
// background, and so is what the store couldn't be told while it was gone, as long as the
// guess counts as one under way: 10 s. A node that died leaves its guesses to that time. One that
// is judged for longer is told its outcome only if it could be judged anew then.
//
// Times are those of the node that writes them: clocks that differ by seconds make
// delays longer or shorter by as much.
package throttle
