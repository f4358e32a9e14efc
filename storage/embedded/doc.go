// Package embedded is a store in one SQLite file, or in memory: nothing to
// install, nothing to administer. It is what grantd uses without Redis.
//
// Several processes of one machine may have the file open at once; each sees
// what the others wrote as soon as their calls returned. A write is
// acknowledged when it is on disk (write-ahead log, synchronous=FULL), so
// neither a killed process nor a power cut takes an acknowledged revocation
// back. Writes that wait at the same time share one transaction and one fsync.
//
// Begin at [Open]. A call takes a connection (pool.go) and runs its statements
// on it (conn.go); writes first pass the one writer of the process (writer.go). Grants
// are kept in memory until the next commit of any process (recent.go).
package embedded
