package redisstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
)

// trimSlack is how long an index keeps a grant after its end. Trimming goes by
// the clock of whoever writes; without slack one that runs ahead would take
// grants that still live from their index, and a sweep would miss them.
const trimSlack = time.Hour

// What createScript answers when it doesn't answer an epoch.
const (
	created = -1
	taken   = -2
)

// What swapScript answers.
const (
	swapped   = 1
	gone      = 0
	otherPair = -1
	tooLate   = -2
)

// maxLateness is how much later than it was sent a swap may run, if its retry
// window isn't longer. It is also how far the clocks of grantd and Redis may
// differ.
const maxLateness = 10 * time.Second

var errLate = errors.New("redisstore: Redis came to the swap too late")

// CreateGrant implements storage.Grants in one round trip.
//
// No grant of an earlier epoch can appear once an epoch is raised: the script
// compares the epoch and keeps the grant in one step, and raising is another
// such step on the same key. So what a floor must cover was in its index before
// the floor was there, and the sweep that walks the index finds it.
func (s *Store) CreateGrant(ctx context.Context, g storage.Grant) error {
	record, err := storage.AppendGrant(nil, g)
	if err != nil {
		return err
	}
	keys := append([]string{grantKey(g.ID), floorsKey(g.ID.Partition())}, indexKeys(g)...)
	answer, err := s.shared.run(ctx, createScript, keys,
		record, g.Expiry().UnixMilli(), binary.BigEndian.AppendUint32(nil, g.Epoch),
		member(g.ID), g.End.UnixMilli(), s.now().Add(-trimSlack).UnixMilli()).Int64()
	switch {
	case err != nil:
		return unavailable(ctx, err)
	case answer == created:
		return nil
	case answer == taken:
		return storage.ErrExists
	}
	s.relearn(g.ID.Partition(), uint32(answer))
	return storage.ErrRevoked
}

// LoadGrant implements storage.Grants in one round trip, which concurrent calls
// may share.
func (s *Store) LoadGrant(ctx context.Context, id storage.GrantID) (storage.Grant, error) {
	key := grantKey(id)
	cmd := redis.NewSliceCmd(ctx, "mget", key, floorsKeys[id.Partition()])
	if err := s.shared.share(ctx, key, cmd); err != nil {
		return storage.Grant{}, unavailable(ctx, err)
	}
	replies, err := cmd.Result()
	if err != nil {
		return storage.Grant{}, unavailable(ctx, err)
	}
	return s.liveGrant(id, replies[0], replies[1])
}

// liveGrant takes what MGET gave for the grant and for its partition's floors.
func (s *Store) liveGrant(id storage.GrantID, record, revoked any) (storage.Grant, error) {
	f, err := s.floors(id.Partition(), revoked)
	if err != nil {
		return storage.Grant{}, err
	}
	g, err := decodeGrant(id, record)
	if err != nil {
		return storage.Grant{}, err
	}
	if !s.live(g, f) {
		return storage.Grant{}, storage.ErrNotFound
	}
	return g, nil
}

// live reports whether the grant is neither expired nor revoked.
func (s *Store) live(g storage.Grant, f floors) bool {
	return s.now().Before(g.Expiry()) && !f.covers(g)
}

// decodeGrant takes what GET or MGET gave.
func decodeGrant(id storage.GrantID, reply any) (storage.Grant, error) {
	text, ok := reply.(string)
	if !ok {
		return storage.Grant{}, storage.ErrNotFound
	}
	g, err := storage.DecodeGrant(id, []byte(text))
	if err != nil {
		return storage.Grant{}, fmt.Errorf("redisstore: grant: %w", err)
	}
	return g, nil
}

// SwapGrant implements storage.Grants in one round trip, and two where replicas are
// waited for. The script looks at the floors again: a grant that was revoked since old
// was loaded stays dead.
func (s *Store) SwapGrant(ctx context.Context, old, next storage.Grant, r storage.Retry) error {
	if err := old.CheckSuccessor(next); err != nil {
		return err
	}
	if !s.now().Before(old.Expiry()) {
		return s.notSwapped(ctx, next)
	}
	began := time.Now()
	// A swap that no replica confirms has spent the token all the same, and its
	// client has the answer only while the retry window is open. So none is begun
	// while replicas are missing, which may last longer.
	if s.replicas > 0 {
		bound, done := storage.BudgetOf(ctx).BoundLong(ctx, began)
		defer done()
		ctx = bound
		if err := s.confirm(ctx, grantKey(old.ID)); err != nil {
			return err
		}
	}
	answer, err := s.swap(ctx, old, next, r)
	if err != nil {
		return err
	}
	switch answer {
	case swapped:
		return nil
	case otherPair:
		ctx, done := storage.BudgetOf(ctx).BoundLong(ctx, began)
		defer done()
		return s.notSwapped(ctx, next)
	case tooLate:
		return unavailable(ctx, errLate)
	}
	return storage.ErrNotFound
}

// swap returns what swapScript answers.
func (s *Store) swap(ctx context.Context, old, next storage.Grant, r storage.Retry) (int64, error) {
	record, err := storage.AppendGrant(nil, next)
	if err != nil {
		return 0, err
	}
	var retry []byte
	if !r.Until.IsZero() {
		retry = storage.AppendRetry(nil, r)
	}
	expiry := next.Expiry().UnixMilli()
	keys := []string{grantKey(old.ID), floorsKey(old.ID.Partition()), retryKey(old.ID)}
	answer, err := s.shared.run(s.confirmed(ctx), swapScript, keys,
		record, expiry, old.Access[:],
		old.Epoch, old.UserID, old.ClientID, retry, min(r.Until.UnixMilli(), expiry),
		max(r.Until.UnixMilli(), s.now().Add(maxLateness).UnixMilli()), old.Created.UnixMilli()).Int64()
	return answer, unavailable(ctx, err)
}

// notSwapped tells what is there instead of the predecessor of next: an earlier
// swap may have prolonged the grant, or Redis may still keep an expired one.
func (s *Store) notSwapped(ctx context.Context, next storage.Grant) error {
	g, err := s.LoadGrant(s.confirmed(ctx), next.ID)
	if err != nil {
		return err
	}
	if g.Generation == next.Generation && g.Access == next.Access {
		return nil // a repeated call
	}
	return storage.ErrConflict
}

// LoadRetry implements storage.Grants in one round trip. The retry of a grant
// that has ended is not found, whatever its window.
//
// Whoever asks while replicas are missing hasn't got the answer of the swap, and can't
// get it: the window is open for maxLateness more, so that he has it once they are back.
func (s *Store) LoadRetry(ctx context.Context, id storage.GrantID) (storage.Retry, error) {
	keys := []string{grantKey(id), floorsKey(id.Partition()), retryKey(id)}
	replies, err := s.client.MGet(s.confirmed(ctx), keys...).Result()
	if errors.Is(err, errCrowded) { // so many wait for replicas that it wasn't even asked
		replies, _ = s.client.MGet(ctx, keys...).Result()
	}
	if len(replies) == 0 {
		return storage.Retry{}, unavailable(ctx, err)
	}
	r, invalid := s.openRetry(id, replies)
	switch {
	case err == nil:
		return r, invalid
	case invalid == nil:
		s.prolong(ctx, id, r)
	}
	return storage.Retry{}, unavailable(ctx, err)
}

// openRetry takes what MGET gave for the grant, its floors and its retry.
func (s *Store) openRetry(id storage.GrantID, replies []any) (storage.Retry, error) {
	if _, err := s.liveGrant(id, replies[0], replies[1]); err != nil {
		return storage.Retry{}, err
	}
	text, ok := replies[2].(string)
	if !ok {
		return storage.Retry{}, storage.ErrNotFound
	}
	r, err := storage.DecodeRetry([]byte(text))
	if err != nil {
		return storage.Retry{}, fmt.Errorf("redisstore: retry: %w", err)
	}
	if !s.now().Before(r.Until) {
		return storage.Retry{}, storage.ErrNotFound
	}
	return r, nil
}

// prolong keeps the retry for maxLateness from now at least. Where that fails the window
// ends as it would have.
func (s *Store) prolong(ctx context.Context, id storage.GrantID, r storage.Retry) {
	until := s.now().Add(maxLateness)
	if !r.Until.Before(until) {
		return
	}
	longer := r
	longer.Until = until
	_ = prolongScript.Run(ctx, s.client, []string{retryKey(id)},
		storage.AppendRetry(nil, r), storage.AppendRetry(nil, longer), until.UnixMilli()).Err()
}

// DeleteGrant implements storage.Grants. It reads the grant first, to know the
// indexes that it is in; a record that can't be decoded is deleted as well, and
// the indexes shed it by themselves.
func (s *Store) DeleteGrant(ctx context.Context, id storage.GrantID) error {
	text, err := s.client.Get(ctx, grantKey(id)).Result()
	if isNil(err) {
		return s.confirm(ctx, grantKey(id)) // a call before may not have been
	}
	if err != nil {
		return unavailable(ctx, err)
	}
	g, err := decodeGrant(id, text)
	if err != nil { // which indexes it is in can't be told
		return unavailable(ctx, s.client.Del(s.confirmed(ctx), grantKey(id), retryKey(id)).Err())
	}
	c := forget([]storage.Grant{g}, nil)
	return unavailable(ctx, forgetScript.Run(s.confirmed(ctx), s.client, c.keys, c.args...).Err())
}

// forget is the run of forgetScript that ends the grants, which have to share a
// slot. epochs are those of the revocation whose sweep it is, nil if it is none.
func forget(grants []storage.Grant, epochs map[byte]uint32) call {
	c := call{keys: make([]string, 0, 5*len(grants)), args: make([]any, 0, 1+2*len(grants))}
	if epochs == nil {
		c.args = append(c.args, "")
	} else {
		c.args = append(c.args, keepSwept.Milliseconds())
	}
	for _, g := range grants {
		indexes := indexKeys(g)
		c.keys = append(c.keys, grantKey(g.ID), retryKey(g.ID), indexes[0], indexes[len(indexes)-1], sweptKey(g.ID.Partition(), epochs[g.ID.Partition()]))
		c.args = append(c.args, member(g.ID), g.Created.UnixMilli())
	}
	return c
}
