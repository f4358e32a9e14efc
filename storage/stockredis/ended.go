package stockredis

import (
	"context"
	"strconv"
	"time"

	"github.com/grantd/grantd/storage"
)

// Cover returns inner, whose revocations end stock tokens too. There is no index
// of stock tokens, so the end is written down: whose tokens are all dead, for
// good, whenever they were made. It is told before the grants in inner are ended.
// So of a token that is moved over meanwhile the grant was either kept before, and
// is dead by the floor, or its epoch was read before and it isn't kept, or its
// owner is found among the ended.
//
// A revocation of the grants before an instant ends the stock tokens whose records
// date from before it.
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
	endedGrant  = "grant:"  // and its id, in base64url

	// endedBefore and one of those above: whose tokens are dead that were made
	// before an instant, in milliseconds since 1970.
	endedBefore = "before:"
)

func (s *Store) end(ctx context.Context, field string) error {
	return unavailable(ctx, endScript.Run(ctx, s.client, []string{s.key(endedKey)}, field, s.now().Unix()).Err())
}

func (s *Store) endBefore(ctx context.Context, field string, before time.Time) error {
	return unavailable(ctx, endScript.Run(ctx, s.client, []string{s.key(endedKey)}, endedBefore+field, before.UnixMilli()).Err())
}

// EndGrant makes sure that no stock token becomes the grant, or becomes it again.
// Whoever ends a single grant and has no token of it tells so before the grant is
// deleted.
func (s *Store) EndGrant(ctx context.Context, id storage.GrantID) error {
	return s.end(ctx, endedGrant+id.String())
}

// notEnded returns errEnded when the stock tokens of the user or the client that
// were made then are dead, or those that stand for the grant.
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
