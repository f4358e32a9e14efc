package redisstore

import (
	"encoding/binary"
	"iter"
	"time"

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
//	len    2 bytes  of the id, plus timed if there is a before
//	id              of the user or client
//	before 8 bytes  if timed: only grants created before it, in milliseconds
//	                since 1970
//
// A version that doesn't know timed reads it as a length beyond the end of the
// value, and fails rather than overlook a revocation.
//
// The key has no expiry and is never deleted. If an epoch began again at 0, its
// floors would miss the grants of earlier epochs.
//
// base makes the end of a sweep of all grants safe. The sweep finds grants by
// SCAN, which may miss grants that a Cluster moves meanwhile; below base they
// stay dead.
type floors string

const (
	headerLen = 8
	timed     = 1 << 15
)

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

// parseFloors reads a reply of GET or MGET. For anything that this package
// didn't write it returns storage.ErrUnreadable: better no answer than one that
// overlooks a revocation.
func parseFloors(reply any) (floors, error) {
	text, _ := reply.(string)
	f := floors(text)
	at := min(len(f), headerLen)
	for e := range f.each() {
		if e.target == (storage.Target{Before: e.target.Before}) {
			return "", storage.ErrUnreadable // of a kind that a newer version brought
		}
		n, _ := floorLen(f[at:])
		at += n
	}
	if at != len(f) || at > 0 && at < headerLen {
		return "", storage.ErrUnreadable
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

// covers reports whether the floors make the grant dead.
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

// meant reports whether the grant belongs to the target.
func meant(t storage.Target, g storage.Grant) bool {
	switch {
	case t.Since(g.Created):
		return false
	case t.All:
		return true
	case t.UserID != "":
		return t.UserID == g.UserID
	}
	return t.ClientID == g.ClientID
}

const floorHeader = 4 + 1 + 2

// floorLen returns the length of the first entry in text, 0 if it is cut off,
// and the length of its id.
func floorLen(text floors) (n, id int) {
	if len(text) < floorHeader {
		return 0, 0
	}
	size := int(binary.BigEndian.Uint16([]byte(text[5:floorHeader])))
	id = size &^ timed
	n = floorHeader + id
	if size&timed != 0 {
		n += 8
	}
	if n > len(text) {
		return 0, 0
	}
	return n, id
}

// each yields the entries.
func (f floors) each() iter.Seq[floor] {
	return func(yield func(floor) bool) {
		rest := f[min(len(f), headerLen):]
		for n, id := floorLen(rest); n > 0; n, id = floorLen(rest) {
			if !yield(readFloor(rest[:n], id)) {
				return
			}
			rest = rest[n:]
		}
	}
}

// readFloor reads an entry whose id has the length idLen.
func readFloor(text floors, idLen int) floor {
	e := floor{epoch: binary.BigEndian.Uint32([]byte(text[:4]))}
	id, before := string(text[floorHeader:floorHeader+idLen]), []byte(text[floorHeader+idLen:])
	switch string(text[4:5]) {
	case floorUser:
		e.target.UserID = id
	case floorClient:
		e.target.ClientID = id
	case floorAll:
		e.target.All = true
	}
	if len(before) > 0 {
		e.target.Before = time.UnixMilli(int64(binary.BigEndian.Uint64(before))).UTC()
	}
	return e
}

// floorArgs returns the arguments that name the target to a script: its kind,
// its id, and its before or "".
func floorArgs(t storage.Target) []any {
	var before any = ""
	if !t.Before.IsZero() {
		before = t.Before.UnixMilli()
	}
	switch {
	case t.All:
		return []any{floorAll, "", before}
	case t.UserID != "":
		return []any{floorUser, t.UserID, before}
	}
	return []any{floorClient, t.ClientID, before}
}
