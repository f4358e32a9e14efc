package redisstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
)

// errTarget is a fault of the caller.
var errTarget = errors.New("redisstore: exactly one of user, client and all must be the target")

func checkTarget(t storage.Target) error {
	named := 0
	for _, is := range []bool{t.UserID != "", t.ClientID != "", t.All} {
		if is {
			named++
		}
	}
	if named != 1 {
		return errTarget
	}
	return nil
}

// partitionsOf returns the partitions that grants of the target may be in.
func partitionsOf(t storage.Target) []byte {
	if t.UserID != "" {
		return []byte{storage.UserPartition(t.UserID)}
	}
	all := make([]byte, storage.Partitions)
	for p := range all {
		all[p] = byte(p)
	}
	return all
}

// Epoch implements storage.Revocations. It costs a round trip only for the
// first sign-in of the process in that partition.
func (s *Store) Epoch(ctx context.Context, id storage.GrantID) (uint32, error) {
	if err := ctx.Err(); err != nil {
		return 0, unavailable(ctx, err)
	}
	if known := s.epochs[id.Partition()].Load(); known > 0 {
		return uint32(known - 1), nil
	}
	text, err := s.client.Get(ctx, floorsKey(id.Partition())).Result()
	if err != nil && !isNil(err) {
		return 0, unavailable(ctx, err)
	}
	f, err := s.floors(id.Partition(), text)
	return f.epoch(), err
}

// floors reads a reply of GET or MGET for the partition, and learns its epoch.
func (s *Store) floors(partition byte, reply any) (floors, error) {
	f, err := parseFloors(reply)
	if err != nil {
		return "", fmt.Errorf("redisstore: floors: %w", err)
	}
	s.learn(partition, f.epoch())
	return f, nil
}

// learn remembers the epoch, unless a later one is known.
func (s *Store) learn(partition byte, epoch uint32) {
	known := &s.epochs[partition]
	for {
		was := known.Load()
		if was > uint64(epoch) || known.CompareAndSwap(was, uint64(epoch)+1) {
			return
		}
	}
}

// relearn remembers the epoch even if a later one is known: Redis may have lost
// writes, and sign-ins must go on.
func (s *Store) relearn(partition byte, epoch uint32) {
	s.epochs[partition].Store(uint64(epoch) + 1)
}

// Revoke implements storage.Revocations: one round trip for a user, one to
// every node for a client or for all.
func (s *Store) Revoke(ctx context.Context, t storage.Target) (storage.Revocation, error) {
	if err := checkTarget(t); err != nil {
		return storage.Revocation{}, err
	}
	t = t.Rounded(s.now())
	partitions := partitionsOf(t)
	var calls []call
	for _, p := range partitions {
		calls = append(calls, call{keys: []string{floorsKey(p)}, args: floorArgs(t)})
	}
	epochs, err := s.runAll(s.confirmed(ctx), revokeScript, calls)
	if err != nil {
		return storage.Revocation{}, err
	}
	r := storage.Revocation{Target: t, Epochs: make(map[byte]uint32, len(partitions))}
	for i, p := range partitions {
		r.Epochs[p] = uint32(epochs[i])
		s.learn(p, uint32(epochs[i]))
	}
	return r, nil
}

// CountGrants implements storage.Revocations in one round trip to every node,
// and more for all grants.
func (s *Store) CountGrants(ctx context.Context, t storage.Target) (int, error) {
	if err := checkTarget(t); err != nil {
		return 0, err
	}
	if !t.All {
		return s.count(ctx, t)
	}
	clients, err := s.clients.names(ctx, "", fewClients+1)
	if err != nil {
		return 0, err
	}
	if len(clients) > fewClients {
		return -1, nil
	}
	n := 0
	for _, id := range clients {
		some, err := s.count(ctx, storage.Target{ClientID: id})
		if err != nil {
			return 0, err
		}
		n += some
	}
	return n, nil
}

// fewClients is the greatest number of clients whose indexes are counted, in
// each partition: that takes Redis some ten milliseconds.
const fewClients = 32

// count counts the entries of the target's indexes.
func (s *Store) count(ctx context.Context, t storage.Target) (int, error) {
	cmds, err := pipeline(ctx, s.client, func(p redis.Pipeliner) {
		for _, partition := range partitionsOf(t) {
			p.ZCard(ctx, indexKey(partition, t))
		}
	})
	if err != nil {
		return 0, err
	}
	total := 0
	for _, cmd := range cmds {
		n, err := cmd.(*redis.IntCmd).Result()
		if err != nil {
			return 0, unavailable(ctx, err)
		}
		total += int(n)
	}
	return total, nil
}

// Unswept implements storage.Revocations. It returns the revocations of one
// target as one.
func (s *Store) Unswept(ctx context.Context) ([]storage.Revocation, error) {
	cmds, err := pipeline(ctx, s.client, func(p redis.Pipeliner) {
		for partition := range storage.Partitions {
			p.Get(ctx, floorsKey(byte(partition)))
		}
	})
	if err != nil {
		return nil, err
	}
	var all []storage.Revocation
	known := map[storage.Target]int{} // index in all
	for partition, cmd := range cmds {
		text, err := cmd.(*redis.StringCmd).Result()
		if err != nil && !isNil(err) {
			return nil, unavailable(ctx, err)
		}
		f, err := s.floors(byte(partition), text)
		if err != nil {
			return nil, err
		}
		for e := range f.each() {
			i, ok := known[e.target]
			if !ok {
				i = len(all)
				known[e.target] = i
				all = append(all, storage.Revocation{Target: e.target, Epochs: map[byte]uint32{}})
			}
			all[i].Epochs[byte(partition)] = e.epoch
		}
	}
	return all, nil
}
