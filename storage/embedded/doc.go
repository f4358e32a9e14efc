// Package embedded is a store in one SQLite file, or in memory: nothing to
// install, nothing to administer. grantd uses it when there is no Redis.
//
// Several processes of one machine may have the file open at once; each sees
// what the others wrote as soon as their calls returned. A write is
// acknowledged when it is on disk (write-ahead log, synchronous=FULL), so
// neither a killed process nor a power cut takes an acknowledged revocation
// back. Writes that wait at the same time share one transaction and one fsync.
//
// Start reading at [Open]. A call takes a connection (pool.go) and runs its statements
// on it (conn.go). Writes go through the only writer of the process (writer.go).
// Grants that were read stay in memory until the next commit of any process
// (recent.go).
package embedded
