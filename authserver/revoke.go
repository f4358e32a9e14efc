package authserver

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// revoke answers POST /revoke, RFC 7009. Any token of a grant ends the whole
// grant, so a logout leaves nothing behind.
//
// A token that would end a grant, but was issued to another client, is refused
// with invalid_grant, because section 2.1 wants the client to be informed. Any
// other token gets a 200 without effect (section 2.2), whoever presents it. So
// nobody learns anything about a grant without a token that could end it.
//
// revoke ignores token_type_hint. The token itself tells its kind, so no hint
// can be wrong or multiply the look-ups (section 5).
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
	// The grant ends by its id, whatever its generation is by now: the result
	// of a concurrent refresh ends with it.
	if err := s.endGrant(ctx, g.ID, form["token"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// revocable returns the grant that the token ends, or ErrNotFound.
func (s *Server) revocable(ctx context.Context, text string) (storage.Grant, error) {
	keys, err := s.cfg.Keys.Keyring(ctx)
	if err != nil {
		return storage.Grant{}, err
	}
	token, err := keys.ParseAny(text)
	switch {
	case errors.Is(err, opaque.ErrInvalid):
		return s.legacyRevocable(ctx, text) // a legacy token, or an invented one
	case err != nil:
		return storage.Grant{}, err // the token can't be judged now
	}
	return s.endedBy(ctx, token)
}

// replacedWithin is how long after a refresh the access token that it replaced still
// ends the grant: a logout that runs beside a refresh must end its result too.
const replacedWithin = 10 * time.Second

// endedBy returns the grant that the token ends, or ErrNotFound. That is the grant of a
// current token, of an access token that was just replaced, and of a spent refresh token:
// a client that lost the answer to its refresh has no other, and at the token endpoint a
// spent refresh token ends the grant too.
func (s *Server) endedBy(ctx context.Context, token opaque.Token) (storage.Grant, error) {
	g, err := s.cfg.Store.LoadGrant(ctx, token.Grant)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		// The 200 promises that the grant stays ended. An earlier call may have
		// ended it before replicas confirmed that; LoadRetry waits for them.
		_, err = s.cfg.Store.LoadRetry(ctx, token.Grant)
		return g, cmp.Or(err, storage.ErrNotFound)
	case err != nil || token.Current(g, s.now()):
		return g, err
	case token.Generation >= g.Generation:
		return g, storage.ErrNotFound // expired, or never issued
	case token.Kind == opaque.Refresh:
		return g, s.spent(ctx, token)
	case token.Generation+1 == g.Generation && s.now().Sub(g.Issued) < replacedWithin:
		return g, nil
	}
	return g, storage.ErrNotFound
}

// spent returns ErrNotFound for a refresh token that was never issued, as far as the
// store can tell: it keeps the digest of the last one, within the retry window.
func (s *Server) spent(ctx context.Context, token opaque.Token) error {
	kept, err := s.cfg.Store.LoadRetry(ctx, token.Grant)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil
	case err == nil && token.Generation+1 == kept.Generation && !kept.Refresh.Equal(token.Digest()):
		return storage.ErrNotFound
	}
	return err
}
