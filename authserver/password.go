package authserver

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/authserver/throttle"
	"github.com/grantd/grantd/storage"
)

// maxAttempts is how often a sign-in is tried when revocations come between its
// beginning and its grant.
const maxAttempts = 3

// password answers the resource owner password credentials grant, RFC 6749
// section 4.3. Faults of the request are refused before the password is hashed,
// and never because of what the password is.
func (s *Server) password(ctx context.Context, req tokenRequest) (tokenResponse, error) {
	if req.params["username"] == "" || req.params["password"] == "" {
		return tokenResponse{}, ErrInvalidRequest.telling("username or password is missing")
	}
	scope, err := s.clientScope(req.client, req.params["scope"])
	if err != nil {
		return tokenResponse{}, err
	}
	if req.audience, err = s.audience(req.client, req.params); err != nil {
		return tokenResponse{}, err
	}
	for range maxAttempts {
		pair, err := s.signInUser(ctx, req, scope)
		if !errors.Is(err, storage.ErrRevoked) {
			return pair, err
		}
	}
	return tokenResponse{}, errUnavailable.reason("revocations keep coming between")
}

// signInUser makes a grant for the user. It reads the epoch first, and then the
// records that the decision rests on. The grant is created only in that epoch,
// so the sign-in can't miss a revocation or a record change that comes with one
// (see storage.Revocations).
func (s *Server) signInUser(ctx context.Context, req tokenRequest, scope []string) (tokenResponse, error) {
	place, err := s.attempt(ctx, req)
	if err != nil {
		return tokenResponse{}, err
	}
	defer place.Leave(ctx)
	name, err := passhash.Username(req.params["username"])
	if err != nil {
		name = "" // no user has such a name: that has to cost as much as a wrong password
	}
	begun, err := s.begin(ctx, req, name)
	if err != nil {
		return tokenResponse{}, err
	}
	req.event.Act, req.event.UserID, req.event.Username = storage.ActSignIn, begun.user.ID, begun.user.Name
	rehash, err := s.verifyUser(ctx, req, begun.user, place)
	if err != nil {
		return tokenResponse{}, err
	}
	if scope, err = userScope(begun.user, scope); err != nil {
		return tokenResponse{}, err
	}
	pair, err := s.issue(ctx, req, begun, strings.Join(scope, " "))
	if err == nil && rehash {
		s.rehash(ctx, begun.user, req.params["password"])
	}
	return pair, err
}

// verifyUser returns nil when the password is right and the user may sign in,
// and whether the hash has to be renewed. It tells the place the outcome.
func (s *Server) verifyUser(ctx context.Context, req tokenRequest, user storage.User, place *throttle.Place) (rehash bool, err error) {
	result, err := s.verifyHash(ctx, user.Password, req.params["password"], place)
	switch {
	case err != nil:
		return false, err
	case user.ID == "":
		return false, s.wrong(ctx, req, place, "no such user")
	case user.Disabled:
		return false, s.wrong(ctx, req, place, "disabled user")
	case !result.OK:
		return false, s.wrong(ctx, req, place, "wrong password")
	}
	return result.Rehash, refused(place.Succeeded(ctx))
}

func (s *Server) verifyHash(ctx context.Context, hash, password string, place *throttle.Place) (passhash.Result, error) {
	defer place.Hashing()()
	return s.cfg.Passwords.Verify(ctx, hash, password)
}

// beginning is what a sign-in rests on: the id of the grant to be, the epoch,
// and the records as read in that epoch.
type beginning struct {
	id     storage.GrantID
	epoch  uint32
	client storage.Client
	user   storage.User // zero for no user
}

// begin reads the epoch of the user's partition, then the user and the client.
// The partition depends on the user's id, so begin reads the user once before
// as well. An unknown user takes the same steps as a known one.
func (s *Server) begin(ctx context.Context, req tokenRequest, name string) (beginning, error) {
	user, err := s.loadUser(ctx, name)
	if err != nil {
		return beginning{}, err
	}
	b := beginning{id: storage.NewGrantID(user.ID)}
	if b.epoch, err = s.cfg.Store.Epoch(ctx, b.id); err != nil {
		return beginning{}, err
	}
	if b.client, err = s.sameClient(ctx, req.client); err != nil {
		return beginning{}, err
	}
	b.user, err = s.loadUser(ctx, name)
	if err == nil && b.user.ID != user.ID {
		err = errUnavailable.reason("the user was replaced meanwhile")
	}
	return b, err
}

// errClientChanged is the cause of a refusal after which the client has to be
// authenticated once more.
var errClientChanged = errors.New("the client was changed meanwhile")

// sameClient reads the authenticated client again and fails if it has changed
// since.
func (s *Server) sameClient(ctx context.Context, client storage.Client) (storage.Client, error) {
	again, err := s.cfg.Store.LoadClient(ctx, client.ID)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return again, ErrInvalidClient.reason("the client was deleted meanwhile")
	case err == nil && !sameRecord(again, client):
		return again, errUnavailable.because(errClientChanged)
	}
	return again, err
}

// sameRecord compares more than revisions: a client that was deleted and made
// again starts at the first revision.
func sameRecord(a, b storage.Client) bool {
	return a.Revision == b.Revision && a.Created.Equal(b.Created) && bytes.Equal(a.Secret.Hash, b.Secret.Hash)
}

// loadUser returns the zero User when there is none of that name.
func (s *Server) loadUser(ctx context.Context, name string) (storage.User, error) {
	user, err := s.cfg.Store.LoadUser(ctx, name)
	if errors.Is(err, storage.ErrNotFound) {
		return storage.User{}, nil
	}
	return user, err
}

// rehash renews a password hash that is weaker than the configured one. Its
// failure must not fail the sign-in: the next sign-in tries again.
func (s *Server) rehash(ctx context.Context, user storage.User, password string) {
	hash, err := s.cfg.Passwords.Hash(ctx, password)
	if err != nil {
		return
	}
	user.Password = hash
	_ = s.cfg.Store.UpdateUser(ctx, user) // a concurrent change wins
}
