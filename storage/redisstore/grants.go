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

// trimSlack is how long an index keeps a grant after its end. The writer trims
// by its own clock. Without slack, a writer whose clock runs ahead would take
// living grants out of their index, and a sweep would miss them.
const trimSlack = time.Hour

// The answers of createScript that aren't an epoch.
const (
	created = -1
	taken   = -2
)

// The answers of swapScript.
const (
	swapped   = 1
	gone      = 0
	otherPair = -1
	tooLate   = -2
)

// maxLateness is how long after it was sent a swap may still run, if its retry
// window isn't longer. It is also how far the clocks of grantd and Redis may
// differ.
const maxLateness = 10 * time.Second

var errLate = errors.New("redisstore: Redis executed the swap too late")

// CreateGrant implements storage.Grants in one round trip.
//
// Once an epoch is raised, no grant of an earlier epoch can appear: the script
// compares the epoch and keeps the grant in one step, and raising the epoch is
// another such step on the same key. So every grant that a floor covers was in
// its index before the floor was set, and the sweep that walks the index finds
// it.
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

// liveGrant reads the replies of MGET for the grant and for its partition's
// floors.
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

// decodeGrant reads a reply of GET or MGET.
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

// SwapGrant implements storage.Grants in one round trip, or in two if it waits for
// replicas. The script checks the floors again: a grant that was revoked since old was
// loaded stays dead.
func (s *Store) SwapGrant(ctx context.Context, old, next storage.Grant, r storage.Retry) error {
	if err := old.CheckSuccessor(next); err != nil {
		return err
	}
	if !s.now().Before(old.Expiry()) {
		return s.notSwapped(ctx, next)
	}
	began := time.Now()
	// A swap that replicas don't confirm has spent the token all the same, and
	// its client can get the answer only while the retry window is open. Replicas
	// may be missing for longer, so no swap begins while they are.
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

// swap returns the answer of swapScript.
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

// notSwapped returns the result of a swap that didn't find the predecessor of
// next. It loads the grant: an earlier swap may have prolonged it, or Redis may
// still keep an expired grant.
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

// LoadRetry implements storage.Grants in one round trip. The retry of an ended
// grant is not found, even if its window is open.
//
// A caller that asks while replicas are missing lost the answer of the swap, and can't
// get it now. So LoadRetry keeps the window open for maxLateness from now, for a
// repetition when the replicas are back.
func (s *Store) LoadRetry(ctx context.Context, id storage.GrantID) (storage.Retry, error) {
	keys := []string{grantKey(id), floorsKey(id.Partition()), retryKey(id)}
	replies, err := s.client.MGet(s.confirmed(ctx), keys...).Result()
	if errors.Is(err, errCrowded) { // too many calls wait for replicas: this one wasn't sent
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

// openRetry reads the replies of MGET for the grant, its floors and its retry.
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

// prolong keeps the retry for at least maxLateness from now. If that fails, the window
// ends as before.
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

// DeleteGrant implements storage.Grants. It reads the grant first, to know its
// indexes. It also deletes a record that can't be decoded; the indexes drop
// that grant later.
func (s *Store) DeleteGrant(ctx context.Context, id storage.GrantID) error {
	text, err := s.client.Get(ctx, grantKey(id)).Result()
	if isNil(err) {
		return s.confirm(ctx, grantKey(id)) // an earlier call may not have been confirmed
	}
	if err != nil {
		return unavailable(ctx, err)
	}
	g, err := decodeGrant(id, text)
	if err != nil { // its indexes aren't known
		return unavailable(ctx, s.client.Del(s.confirmed(ctx), grantKey(id), retryKey(id)).Err())
	}
	c := forget([]storage.Grant{g}, nil)
	return unavailable(ctx, forgetScript.Run(s.confirmed(ctx), s.client, c.keys, c.args...).Err())
}

// forget returns the run of forgetScript that ends the grants, which have to
// share a slot. epochs are those of the revocation that is being swept, nil if
// this is no sweep.
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
