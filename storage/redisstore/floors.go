package redisstore

import (
	"encoding/binary"
	"iter"

	"github.com/grantd/grantd/storage"
)

// floors is the value of a partition's floors key; empty while nothing was ever
// revoked in the partition. All integers are big-endian:
//
//	epoch  4 bytes  the current epoch of the partition
//	base   4 bytes  every grant of an earlier epoch is dead, whosever it is
//	then for each floor whose sweep has not finished
//	epoch  4 bytes  every grant of the target of an earlier epoch is dead
//	kind   1 byte   of the target: u user, c client, a all
//	len    2 bytes  of the id
//	id              of the user or client
//
// The key has no expiry and is never deleted: an epoch that began again at 0
// would let a floor miss the grants of the epochs before.
//
// base makes the end of a sweep of all grants safe: they are found by SCAN,
// which may miss what a Cluster moves meanwhile, but what it misses stays dead.
type floors string

const headerLen = 8

// The kinds of target. A grant is compared with every floor of its partition.
const (
	floorUser   = "u"
	floorClient = "c"
	floorAll    = "a"
)

// floor is one entry of floors.
type floor struct {
	epoch  uint32
	target storage.Target
}

// parseFloors takes what GET or MGET gave. Anything that this package didn't
// write is storage.ErrEncoding: better no answer than one that overlooks a
// revocation.
func parseFloors(reply any) (floors, error) {
	text, _ := reply.(string)
	f := floors(text)
	at := min(len(f), headerLen)
	for range f.each() {
		at += floorLen(f[at:])
	}
	if at != len(f) || at > 0 && at < headerLen {
		return "", storage.ErrEncoding
	}
	return f, nil
}

func (f floors) epoch() uint32 { return f.number(0) }
func (f floors) base() uint32  { return f.number(4) }

func (f floors) number(at int) uint32 {
	if len(f) < headerLen {
		return 0
	}
	return binary.BigEndian.Uint32([]byte(f[at : at+4]))
}

// covers reports whether the grant is dead.
func (f floors) covers(g storage.Grant) bool {
	if g.Epoch < f.base() {
		return true
	}
	for e := range f.each() {
		if g.Epoch < e.epoch && meant(e.target, g) {
			return true
		}
	}
	return false
}

// meant reports whether the grant is one of the target's.
func meant(t storage.Target, g storage.Grant) bool {
	switch {
	case t.All:
		return true
	case t.UserID != "":
		return t.UserID == g.UserID
	}
	return t.ClientID == g.ClientID
}

const floorHeader = 4 + 1 + 2

// floorLen is the length of the entry that text begins with, 0 if it is cut.
func floorLen(text floors) int {
	if len(text) < floorHeader {
		return 0
	}
	n := floorHeader + int(binary.BigEndian.Uint16([]byte(text[5:floorHeader])))
	if n > len(text) {
		return 0
	}
	return n
}

// each yields the entries.
func (f floors) each() iter.Seq[floor] {
	return func(yield func(floor) bool) {
		rest := f[min(len(f), headerLen):]
		for n := floorLen(rest); n > 0; n = floorLen(rest) {
			e := floor{epoch: binary.BigEndian.Uint32([]byte(rest[:4]))}
			id := string(rest[floorHeader:n])
			switch string(rest[4:5]) {
			case floorUser:
				e.target.UserID = id
			case floorClient:
				e.target.ClientID = id
			default:
				e.target.All = true
			}
			if !yield(e) {
				return
			}
			rest = rest[n:]
		}
	}
}

// floorArgs names the target to a script: its kind and id.
func floorArgs(t storage.Target) (kind, id string) {
	switch {
	case t.All:
		return floorAll, ""
	case t.UserID != "":
		return floorUser, t.UserID
	}
	return floorClient, t.ClientID
}
