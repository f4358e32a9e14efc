// Package faults holds only tests: whether grantd keeps its promises when something
// dies under load. They build the program and start it as processes on real Redis
// servers, or on an SQLite file. Many clients sign in, refresh, read /users/me,
// introspect and revoke, while
//
//   - Redis is killed and comes back with its append-only file, stops for seconds, is
//     full, or answers slowly;
//   - the master that Sentinel watches dies, a Cluster loses a master, its slots move;
//   - grantd itself is killed, or two nodes have clocks that differ;
//   - the disk below the SQLite file is full.
//
// The tests judge every answer: a good token is never refused, a revoked one is never
// honoured, and a request that can't be answered gets a 503 with Retry-After in time.
// Afterwards every client can sign in again, every acknowledged revocation holds, no
// refresh token has two successors, and once all grants were ended their indexes are
// gone.
//
// go test runs a short form, whose time limits leave room for a busy machine. With
// -long, which make faults passes, there are more clients, longer faults, tight limits
// and a table of figures.
package faults
