// Package redisstore keeps grantd's records in Redis 7 or newer: a single
// server, one behind Sentinel, or a Cluster. Start reading at [Open].
//
// All grants of a partition share a hash tag, so that every change of a grant
// is one script on one node in any deployment:
//
//	grantd:{ab}g + 15 bytes    the grant; ab is the partition in hex, the bytes are the rest of its id
//	grantd:{ab}r + 15 bytes    its retry record, while the retry window is open
//	grantd:{ab}f               epoch and floors of the partition, see floors.go
//	grantd:{ab}u + user id     index: sorted set of the user's grants by end
//	grantd:{ab}c + client id   index: the client's grants in the partition, alike
//	grantd:{ab}s + epoch       count of what the sweeps of that epoch's revocation deleted, while they go on
//	grantd:user:NAME           a user; grantd:users lists the names
//	grantd:client:ID           a client; grantd:clients lists the ids
//	grantd:receipt:ID          a receipt of a revocation; grantd:receipts lists the ids
//	grantd:keys                hash of the sealed deployment keys
//	grantd:guess: + 16 bytes   what a throttle remembers of failed sign-ins
//	grantd:{audit}             stream: the audit trail
//	grantd:{audit} + digest    for two minutes, that those events were appended
//	grantd:{w + number}        nothing: see script/touch.lua
//
// The key of a grant has 27 bytes, and its record usually less than 157. From
// 28 bytes for the key and 157 for the record on, Redis needs the next larger
// block of memory.
//
// Calls to a Redis that doesn't answer fail at once: see circuit.go. Calls that
// a failover must not undo may wait for replicas: see [WithReplicas].
//
// Redis must not evict keys (maxmemory-policy noeviction, the default): an
// evicted grant is only a lost sign-in, but evicted floors bring revoked grants
// back to life.
package redisstore
