package stockredis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// The reasons why a token isn't honoured. Callers see them all as
// storage.ErrNotFound.
var (
	errNoUser   = refusal("its user doesn't exist here, or is disabled")
	errNoClient = refusal("its client doesn't exist here")
	errNoScope  = refusal("nothing is left of its scope")
	errEnded    = refusal("all of its user or client were ended")
	errExpired  = refusal("expired")
	errFuture   = refusal("made in the future")
)

// clockSkew is how far the stock server's clock may be ahead of this one.
const clockSkew = 5 * time.Minute

func refusal(why string) error {
	return fmt.Errorf("%w: a stock token: %s", storage.ErrNotFound, why)
}

// grantOf returns the grant that the record stands for. It has the first
// generation, and is always the same for a record. It may have expired. Its
// epoch isn't set.
func (s *Store) grantOf(ctx context.Context, recordID string, r record) (storage.Grant, error) {
	if r.AccessCreateAt.After(s.now().Add(clockSkew)) || r.RefreshCreateAt.After(s.now().Add(clockSkew)) {
		return storage.Grant{}, errFuture // its life would begin in the future
	}
	client, err := s.cfg.Store.LoadClient(ctx, r.ClientID)
	if errors.Is(err, storage.ErrNotFound) {
		return storage.Grant{}, errNoClient
	}
	if err != nil {
		return storage.Grant{}, err
	}
	user, err := s.user(ctx, client, r)
	if err != nil {
		return storage.Grant{}, err
	}
	kept := storage.Grant{ID: grantID(recordID, user.ID), Created: r.created()}
	if err := s.notEnded(ctx, user, client, kept); err != nil {
		return storage.Grant{}, err
	}
	scope := s.scope(r, client, user)
	if scope == "" {
		return storage.Grant{}, errNoScope
	}
	audience := strings.Join(client.Audiences, " ")
	if audience == "" {
		audience = strings.Join(s.cfg.Audiences, " ")
	}
	g := storage.Grant{
		ID:       kept.ID,
		Type:     storage.ClientCredentials,
		UserID:   user.ID,
		Username: user.Name,
		ClientID: client.ID,
		Scope:    scope, AccessScope: scope,
		Audience: audience, AccessAudience: audience,
		Generation: 1,
	}
	g.Access = opaque.Adopt(opaque.Access, g.ID, r.Access).Digest()
	s.setTimes(&g, r)
	if user.ID != "" {
		g.Type = storage.Password
		s.setRefresh(&g, r)
	}
	return g, nil
}

// user returns the user of the record, or the zero User if the record is the
// client's own. Then the client has to be confidential (RFC 6749 section 4.4).
func (s *Store) user(ctx context.Context, client storage.Client, r record) (storage.User, error) {
	if r.UserID == "" {
		if client.Public {
			return storage.User{}, errNoUser
		}
		return storage.User{}, nil
	}
	name, err := s.cfg.Username(r.UserID)
	if err != nil {
		return storage.User{}, errNoUser
	}
	user, err := s.cfg.Store.LoadUser(ctx, name)
	if errors.Is(err, storage.ErrNotFound) || err == nil && user.Disabled {
		return storage.User{}, errNoUser
	}
	return user, err
}

// scope returns the part of the record's scope that the client and the user may
// have.
func (s *Store) scope(r record, client storage.Client, user storage.User) string {
	named := strings.Fields(r.Scope)
	if len(named) == 0 {
		named = s.cfg.DefaultScopes
	}
	var kept []string
	for _, token := range named {
		admin := token == s.cfg.AdminScope && user.ID != "" && !user.Admin
		if slices.Contains(client.Scopes, token) && slices.Contains(s.cfg.Scopes, token) && !admin && !slices.Contains(kept, token) {
			kept = append(kept, token)
		}
	}
	return strings.Join(kept, " ")
}

// setTimes sets the times of the grant. The stock manager counts the life of
// the access token from its creation, and that of the sign-in from the creation
// of the refresh token.
func (s *Store) setTimes(g *storage.Grant, r record) {
	g.Issued = milli(r.AccessCreateAt)
	g.Created = r.created()
	g.End = g.Created.Add(s.cfg.RefreshAbsolute)
	g.AccessExpiry = expiry(g.Issued, r.AccessExpiresIn, g.End)
	if r.Refresh != "" { // in the stock manager its end ends the access token too
		g.AccessExpiry = expiry(milli(r.RefreshCreateAt), r.RefreshExpiresIn, g.AccessExpiry)
	}
	g.AccessExpiry = latest(g.AccessExpiry, g.Issued) // a grant's times are in order
}

// created returns the time of the sign-in, as far as the record tells it: the
// stock manager may give both tokens new dates when it refreshes them.
func (r record) created() time.Time {
	created := milli(r.AccessCreateAt)
	if refresh := milli(r.RefreshCreateAt); r.Refresh != "" && refresh.Before(created) {
		return refresh
	}
	return created
}

func (s *Store) setRefresh(g *storage.Grant, r record) {
	if r.Refresh == "" {
		return
	}
	g.Refresh = opaque.Adopt(opaque.Refresh, g.ID, r.Refresh).Digest()
	g.RefreshExpiry = latest(expiry(milli(r.RefreshCreateAt), r.RefreshExpiresIn, g.End), g.Issued)
}

// expiry returns the end of a life that began at that time, but no later than
// last. A life of 0, which is for ever in the stock store, ends at last.
func expiry(began time.Time, life time.Duration, last time.Time) time.Time {
	if end := began.Add(life); life > 0 && end.Before(last) {
		return end
	}
	return last
}

func milli(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
