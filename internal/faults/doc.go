// Package faults holds tests alone: what becomes of the promises of grantd when
// something dies under load. They build the program, start it as processes on real
// Redis servers, or on an SQLite file, and have many clients sign in, refresh, look
// at /users/me, introspect and revoke, while
//
//   - Redis is killed and comes back with its append-only file, stops for seconds, is
//     full, or answers slowly;
//   - the master that Sentinel watches dies, a Cluster loses a master, its slots move;
//   - grantd itself is killed, or two nodes have clocks that differ;
//   - the disk below the SQLite file is full.
//
// Every answer is judged: a token that is good is never refused, one that was revoked
// is never honoured, and whatever can't be answered is a 503 with Retry-After in time.
// Afterwards every client gets in again, every acknowledged revocation stands, no
// refresh token has two successors, and when all grants were ended their indexes are
// gone.
//
// go test runs a short form, whose bounds on times leave room for a busy machine.
// With -long, as make faults does, there are more clients, longer faults and tight
// bounds, and a table of figures.
package faults
