package stockredis

import (
	"context"
	"strconv"
	"time"

	"github.com/grantd/grantd/storage"
)

// Cover returns a store like inner whose revocations end stock tokens too.
// There is no index of stock tokens, so a revocation records whose tokens are
// dead, for good and whenever they were made. It does so before it ends the
// grants in inner. So if a token is moved over meanwhile, its grant was created
// before, and is dead by the floor; or its epoch was read before, and the grant
// can't be created; or its owner is found among the ended.
//
// A revocation with a Before ends the stock tokens whose records date from
// before it.
//
// When a user is deleted, the name is recorded as ended too: stock tokens name
// users by it, and another user may get the name. Closing the returned store
// closes s as well.
func (s *Store) Cover(inner storage.Store) storage.Store { return covering{inner, s} }

type covering struct {
	storage.Store
	stock *Store
}

// Revoke implements storage.Revocations.
func (c covering) Revoke(ctx context.Context, t storage.Target) (storage.Revocation, error) {
	t = t.Rounded(c.stock.now())
	field := endedAll
	switch {
	case t.UserID != "":
		field = endedUser + t.UserID
	case t.ClientID != "":
		field = endedClient + t.ClientID
	}
	var err error
	if t.Before.IsZero() {
		err = c.stock.end(ctx, field)
	} else {
		err = c.stock.endBefore(ctx, field, t.Before)
	}
	if err != nil {
		return storage.Revocation{}, err
	}
	return c.Store.Revoke(ctx, t)
}

// DeleteUser implements storage.Users.
func (c covering) DeleteUser(ctx context.Context, name string) error {
	if err := c.stock.end(ctx, endedName+name); err != nil {
		return err
	}
	return c.Store.DeleteUser(ctx, name)
}

// Close closes both stores.
func (c covering) Close() error {
	err := c.stock.Close()
	if e := c.Store.Close(); e != nil {
		return e
	}
	return err
}

// The fields of endedKey.
const (
	endedAll    = "all"
	endedUser   = "user:"   // and its id
	endedName   = "name:"   // and the name of a user who was deleted
	endedClient = "client:" // and its id
	endedGrant  = "grant:"  // and its id, in base64url

	// endedBefore, and one of those above: the tokens made before a time, in
	// milliseconds since 1970, are dead.
	endedBefore = "before:"
)

func (s *Store) end(ctx context.Context, field string) error {
	return unavailable(ctx, endScript.Run(ctx, s.client, []string{s.key(endedKey)}, field, s.now().Unix()).Err())
}

func (s *Store) endBefore(ctx context.Context, field string, before time.Time) error {
	return unavailable(ctx, endScript.Run(ctx, s.client, []string{s.key(endedKey)}, endedBefore+field, before.UnixMilli()).Err())
}

// EndGrant makes sure that no stock token creates the grant any more. Call it
// before you delete a single grant without having its token.
func (s *Store) EndGrant(ctx context.Context, id storage.GrantID) error {
	return s.end(ctx, endedGrant+id.String())
}

// notEnded returns errEnded when the stock tokens of that user or client, as
// old as the grant, are dead, or those that stand for the grant.
func (s *Store) notEnded(ctx context.Context, u storage.User, c storage.Client, g storage.Grant) error {
	found, err := s.client.HMGet(ctx, s.key(endedKey),
		endedAll, endedClient+c.ID, endedUser+u.ID, endedName+u.Name, endedGrant+g.ID.String(),
		endedBefore+endedAll, endedBefore+endedClient+c.ID, endedBefore+endedUser+u.ID).Result()
	if err != nil {
		return unavailable(ctx, err)
	}
	for i, field := range found {
		text, ended := field.(string)
		if ended && i >= 5 {
			before, err := strconv.ParseInt(text, 10, 64)
			ended = err != nil || g.Created.UnixMilli() < before
		}
		if ended {
			return errEnded
		}
	}
	return nil
}
