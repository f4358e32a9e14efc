package authserver

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// errReuse is the cause when a refresh token that was spent before is refused,
// and its grant ended (RFC 9700 section 4.14.2).
const errReuse = fixed("a spent refresh token was used again: the grant is ended")

func mayRefresh(c storage.Client) bool {
	return slices.Contains(c.Grants, grantRefreshToken)
}

// refresh answers the refresh grant, RFC 6749 section 6: it loads or remembers
// the grant, checks the client, and swaps the grant. Unless it fails because of
// reuse, a failing request spends nothing and ends nothing.
func (s *Server) refresh(ctx context.Context, req tokenRequest) (tokenResponse, error) {
	if req.params["refresh_token"] == "" {
		return tokenResponse{}, ErrInvalidRequest.telling("refresh_token is missing")
	}
	keys, err := s.cfg.Keys.Keyring(ctx)
	if err != nil {
		return tokenResponse{}, err
	}
	token, err := keys.Parse(opaque.Refresh, req.params["refresh_token"])
	switch {
	case err == nil:
		return refreshing{Server: s, req: req, keys: keys, token: token}.run(ctx)
	case !errors.Is(err, opaque.ErrInvalid):
		return tokenResponse{}, err // the token can't be judged now
	case s.cfg.Legacy != nil:
		return s.refreshLegacy(ctx, req, keys)
	}
	return tokenResponse{}, ErrInvalidGrant.because(err)
}

// refreshing is one refresh token on its way to its successor.
type refreshing struct {
	*Server
	req    tokenRequest
	keys   *opaque.Keyring
	token  opaque.Token
	legacy string // the text of the token, if it is a legacy one
}

// run refreshes, and tries again when concurrent requests are faster. If this
// server remembers the grant, run doesn't load it first, because the swap
// compares. If that attempt fails, run loads the grant, unless the store can't
// answer.
func (r refreshing) run(ctx context.Context) (tokenResponse, error) {
	if g, known := r.grants.take(r.token.Grant); known && g.Generation == r.token.Generation && g.ClientID == r.req.client.ID {
		r.req.event.concern(storage.ActRefresh, g)
		pair, err := r.attempt(ctx, g)
		if err == nil || errors.Is(err, storage.ErrUnavailable) {
			return pair, err
		}
	}
	for range maxAttempts {
		g, err := r.load(ctx)
		if err != nil {
			return tokenResponse{}, err
		}
		pair, err := r.attempt(ctx, g)
		if !errors.Is(err, storage.ErrConflict) {
			return pair, err
		}
	}
	return tokenResponse{}, errUnavailable.reason("the grant keeps changing")
}

// retryWindow returns how long the client may repeat a refresh; see
// Config.Strict.
func (s *Server) retryWindow(c storage.Client) time.Duration {
	if s.cfg.Strict && c.Public {
		return 0
	}
	return s.cfg.RetryWindow
}

// attempt refreshes the grant, or repeats the answer of its last refresh. It
// returns ErrConflict when a concurrent refresh of the same token was faster;
// the next attempt then finds the retry window open.
func (r refreshing) attempt(ctx context.Context, g storage.Grant) (tokenResponse, error) {
	scope, err := refreshScope(g.Scope, r.req.params["scope"])
	if err != nil {
		return tokenResponse{}, err
	}
	audience, err := r.refreshAudience(r.req.client, g.Audience, r.req.params)
	if err != nil {
		return tokenResponse{}, err
	}
	switch {
	case r.token.Generation == g.Generation:
		return r.rotate(ctx, g, scope, audience)
	case r.token.Generation < g.Generation:
		return r.retry(ctx, g, scope, audience)
	}
	return tokenResponse{}, ErrInvalidGrant.reason("a generation that was never issued")
}

// load returns the grant of the token, if it belongs to the client.
func (r refreshing) load(ctx context.Context) (storage.Grant, error) {
	g, err := r.cfg.Store.LoadGrant(ctx, r.token.Grant)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		r.req.event.concern(storage.ActRefresh, storage.Grant{ID: r.token.Grant})
		return g, ErrInvalidGrant.reason("the grant has ended")
	case err != nil:
		return g, err
	}
	r.req.event.concern(storage.ActRefresh, g)
	if g.ClientID != r.req.client.ID {
		return g, ErrInvalidGrant.reason("the token was issued to another client")
	}
	return g, nil
}

// rotate spends the current refresh token. Of any number of concurrent calls,
// one succeeds.
func (r refreshing) rotate(ctx context.Context, g storage.Grant, scope, audience string) (tokenResponse, error) {
	now := latest(r.now(), g.Issued) // another node's clock may be ahead
	if !g.Refresh.Equal(r.token.Digest()) || !now.Before(g.RefreshExpiry) {
		return tokenResponse{}, ErrInvalidGrant.reason("not the current refresh token, or expired")
	}
	kept := storage.Retry{Generation: g.Generation + 1, Refresh: g.Refresh, KeyID: r.keys.MintID()}
	rand.Read(kept.Mix[:]) // never fails since Go 1.24
	if window := r.retryWindow(r.req.client); window > 0 {
		kept.Until = now.Add(window)
	}
	pair, err := r.derive(kept)
	if err != nil {
		return tokenResponse{}, err
	}

	next := g
	next.Generation++
	next.Access, next.Refresh = pair.accessDigest, pair.refreshDigest
	next.AccessScope, next.AccessAudience = scope, audience
	next.Issued = now
	next.AccessExpiry = earlier(now.Add(r.accessLifetime(r.req.client)), g.End)
	next.RefreshExpiry = earlier(now.Add(r.cfg.RefreshIdle), g.End)
	if err := r.cfg.Store.SwapGrant(ctx, g, next, kept); err != nil {
		if errors.Is(err, storage.ErrNotFound) {
			return tokenResponse{}, ErrInvalidGrant.because(err)
		}
		return tokenResponse{}, err
	}
	r.grants.remember(next)
	return respond(next, now, pair.access, pair.refresh), nil
}

// retry answers a refresh token that was spent before. If the answer to it may
// have been lost, retry gives the same pair again. Otherwise two parties hold
// the token, and retry ends the grant (RFC 9700 section 4.14.2).
func (r refreshing) retry(ctx context.Context, g storage.Grant, scope, audience string) (tokenResponse, error) {
	kept, err := r.cfg.Store.LoadRetry(ctx, g.ID)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return tokenResponse{}, r.reused(ctx, g)
	case err != nil:
		return tokenResponse{}, err
	case kept.Generation != g.Generation:
		return tokenResponse{}, storage.ErrConflict // swapped between the two loads: look again
	case r.token.Generation+1 != g.Generation:
		return tokenResponse{}, r.reused(ctx, g)
	case !kept.Refresh.Equal(r.token.Digest()):
		return tokenResponse{}, ErrInvalidGrant.reason("never issued: a forgery ends no grant")
	case scope != g.AccessScope:
		return tokenResponse{}, ErrInvalidScope.reason("not the scope of the request that is repeated")
	case audience != g.AccessAudience:
		return tokenResponse{}, ErrInvalidTarget.reason("not the resource of the request that is repeated")
	}
	pair, err := r.derive(kept)
	switch {
	case errors.Is(err, opaque.ErrInvalid):
		return tokenResponse{}, ErrInvalidGrant.reason("the key of its successor was deleted")
	case err != nil:
		return tokenResponse{}, err
	case !pair.refreshDigest.Equal(g.Refresh):
		return tokenResponse{}, errUnavailable.reason("this version derives another pair than the one that is stored")
	}
	r.req.event.Act = storage.ActRetry
	return respond(g, r.now(), pair.access, pair.refresh), nil
}

func (r refreshing) reused(ctx context.Context, g storage.Grant) error {
	r.req.event.Act = storage.ActReuse
	if err := r.endGrant(ctx, g.ID, r.legacy); err != nil {
		return err
	}
	return ErrInvalidGrant.because(errReuse)
}

// pair is a token pair with the digests that the store keeps of it.
type pair struct {
	access, refresh             string
	accessDigest, refreshDigest storage.Digest
}

// derive makes the pair that follows the token. The same key and mix always
// give the same pair.
func (r refreshing) derive(kept storage.Retry) (pair, error) {
	var p pair
	var errAccess, errRefresh error
	p.access, p.accessDigest, errAccess = r.keys.Successor(r.token, opaque.Access, kept.KeyID, kept.Mix)
	p.refresh, p.refreshDigest, errRefresh = r.keys.Successor(r.token, opaque.Refresh, kept.KeyID, kept.Mix)
	return p, errors.Join(errAccess, errRefresh)
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
