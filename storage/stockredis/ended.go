package stockredis

import (
	"context"

	"github.com/grantd/grantd/storage"
)

// Cover returns inner, whose revocations end stock tokens too. There is no index
// of stock tokens, so the end is written down: whose tokens are all dead, for
// good, whenever they were made. It is told before the grants in inner are ended.
// So of a token that is moved over meanwhile the grant was either kept before, and
// is dead by the floor, or its epoch was read before and it isn't kept, or its
// owner is found among the ended.
//
// A user's name is among the ended once the user was deleted: stock tokens name
// users by it, and another may get it. Closing the store closes s as well.
func (s *Store) Cover(inner storage.Store) storage.Store { return covering{inner, s} }

type covering struct {
	storage.Store
	stock *Store
}

// Revoke implements storage.Revocations.
func (c covering) Revoke(ctx context.Context, t storage.Target) (storage.Revocation, error) {
	field := endedAll
	switch {
	case t.UserID != "":
		field = endedUser + t.UserID
	case t.ClientID != "":
		field = endedClient + t.ClientID
	}
	if err := c.stock.end(ctx, field); err != nil {
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

// Close closes both.
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
)

func (s *Store) end(ctx context.Context, field string) error {
	return unavailable(ctx, s.client.HSet(ctx, s.key(endedKey), field, s.now().Unix()).Err())
}

// notEnded returns errEnded when the stock tokens of the user or the client are
// dead.
func (s *Store) notEnded(ctx context.Context, u storage.User, c storage.Client) error {
	found, err := s.client.HMGet(ctx, s.key(endedKey),
		endedAll, endedClient+c.ID, endedUser+u.ID, endedName+u.Name).Result()
	if err != nil {
		return unavailable(ctx, err)
	}
	for _, field := range found {
		if field != nil {
			return errEnded
		}
	}
	return nil
}
