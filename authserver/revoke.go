package authserver

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// revoke answers POST /revoke, RFC 7009. Whichever token of a grant is
// presented, the whole grant ends, so a logout leaves nothing behind.
//
// A token that would end a grant, but was issued to another client, is refused
// with invalid_grant, because section 2.1 wants the client to be informed. Any
// other token is a 200 without effect (section 2.2), whoever presents it: so
// nobody learns more of a grant than who could have used its token.
//
// token_type_hint is not read: the token itself tells its kind, so no hint can
// be wrong or multiply the look-ups (section 5).
func (s *Server) revoke(w http.ResponseWriter, r *http.Request, ev *Event) error {
	form, err := parseParams(w, r)
	if err != nil {
		return err
	}
	r, done := s.withoutClient(r)
	defer done()
	ctx := r.Context()
	client, err := s.authenticateClient(r, form)
	if err != nil {
		return err
	}
	allowOrigin(w, r, client)
	ev.ClientID = client.ID
	if form["token"] == "" {
		return ErrInvalidRequest.telling("token is missing")
	}
	g, err := s.revocable(ctx, form["token"])
	switch {
	case errors.Is(err, storage.ErrNotFound):
		w.WriteHeader(http.StatusOK)
		return nil
	case err != nil:
		return err
	}
	ev.concern(storage.ActRevoke, g)
	if g.ClientID != client.ID {
		return ErrInvalidGrant.reason("the token was issued to another client")
	}
	// By its id, whatever its generation is by now: a refresh that runs beside
	// this ends with the grant.
	if err := s.endGrant(ctx, g.ID, form["token"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// revocable returns the grant that the token may end, or ErrNotFound. That is
// the grant of a current token, and that of a refresh token which was spent,
// but may still be retried: a client that lost the answer to its refresh has no
// other token to log out with.
func (s *Server) revocable(ctx context.Context, text string) (storage.Grant, error) {
	keys, err := s.cfg.Keys.Keyring(ctx)
	if err != nil {
		return storage.Grant{}, err
	}
	token, err := keys.ParseAny(text)
	switch {
	case errors.Is(err, opaque.ErrInvalid):
		return s.legacyRevocable(ctx, text) // or made up: the store isn't asked
	case err != nil:
		return storage.Grant{}, err // nobody can tell now
	}
	return s.endedBy(ctx, token)
}

// endedBy returns the grant that the token ends.
func (s *Server) endedBy(ctx context.Context, token opaque.Token) (storage.Grant, error) {
	g, err := s.cfg.Store.LoadGrant(ctx, token.Grant)
	if errors.Is(err, storage.ErrNotFound) {
		// The 200 says that it stays so. A call before may have ended the grant
		// without replicas that confirmed it; LoadRetry waits for them.
		_, err = s.cfg.Store.LoadRetry(ctx, token.Grant)
		return g, cmp.Or(err, storage.ErrNotFound)
	}
	if err != nil || token.Current(g, s.now()) {
		return g, err
	}
	if token.Kind != opaque.Refresh {
		return storage.Grant{}, storage.ErrNotFound
	}
	kept, err := s.cfg.Store.LoadRetry(ctx, token.Grant)
	if err == nil && !kept.Refresh.Equal(token.Digest()) {
		err = storage.ErrNotFound
	}
	return g, err
}
