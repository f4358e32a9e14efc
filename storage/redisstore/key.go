package redisstore

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/grantd/grantd/storage"
)

// The names of keys: see the package comment.

const (
	keysKey = "grantd:keys"

	guessPrefix = "grantd:guess:"

	tagPrefix = "grantd:{"
	kindAt    = len(tagPrefix) + len("ab}")
	idAt      = kindAt + 1
	memberLen = len(storage.GrantID{}) - 1 // the partition is in the hash tag

	kindGrant  = 'g'
	kindRetry  = 'r'
	kindFloors = 'f'
	kindUser   = 'u'
	kindClient = 'c'
	kindSwept  = 's'
)

// Patterns for SCAN.
const (
	grantPattern = tagPrefix + "??}g*"
	indexPattern = tagPrefix + "??}[uc]*"
)

func partitionKey[T []byte | string](partition byte, kind byte, rest T) string {
	b := make([]byte, 0, idAt+len(rest))
	b = append(b, tagPrefix...)
	b = hex.AppendEncode(b, []byte{partition})
	b = append(b, '}', kind)
	return string(append(b, rest...))
}

func grantKey(id storage.GrantID) string { return partitionKey(id.Partition(), kindGrant, id[1:]) }
func retryKey(id storage.GrantID) string { return partitionKey(id.Partition(), kindRetry, id[1:]) }
func floorsKey(partition byte) string    { return partitionKey(partition, kindFloors, "") }

// floorsKeys are the floors keys of all partitions, as arguments of a command.
// They are made once, because every load of a grant needs one.
var floorsKeys = func() (keys [storage.Partitions]any) {
	for p := range keys {
		keys[p] = floorsKey(byte(p))
	}
	return keys
}()

func guessKey(key storage.GuessKey) string { return guessPrefix + string(key[:]) }

// sweptKey is the key of the count of the sweeps, for the revocation that
// raised that epoch.
func sweptKey(partition byte, epoch uint32) string {
	return partitionKey(partition, kindSwept, binary.BigEndian.AppendUint32(nil, epoch))
}

// indexKey is the key of the index of a user or of a client in the partition.
func indexKey(partition byte, t storage.Target) string {
	if t.UserID != "" {
		return partitionKey(partition, kindUser, t.UserID)
	}
	return partitionKey(partition, kindClient, t.ClientID)
}

// indexKeys are the keys of the indexes that the grant is in.
func indexKeys(g storage.Grant) []string {
	byClient := indexKey(g.ID.Partition(), storage.Target{ClientID: g.ClientID})
	if g.UserID == "" {
		return []string{byClient}
	}
	return []string{indexKey(g.ID.Partition(), storage.Target{UserID: g.UserID}), byClient}
}

// member is the grant's name in an index.
func member(id storage.GrantID) string { return string(id[1:]) }

func memberID(partition byte, member string) (storage.GrantID, bool) {
	id := storage.GrantID{partition}
	return id, len(member) == memberLen && copy(id[1:], member) == memberLen
}

// grantKeyID reads what grantKey wrote.
func grantKeyID(key string) (storage.GrantID, bool) {
	partition, ok := keyPartition(key)
	if !ok || key[kindAt] != kindGrant {
		return storage.GrantID{}, false
	}
	return memberID(partition, key[idAt:])
}

// keyPartition reads the partition from a key of any kind.
func keyPartition(key string) (byte, bool) {
	if len(key) < idAt {
		return 0, false
	}
	b, err := hex.DecodeString(key[len(tagPrefix) : len(tagPrefix)+2])
	if err != nil {
		return 0, false
	}
	return b[0], true
}
