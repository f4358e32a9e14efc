package authserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-oauth2/oauth2/v4"
	oautherrors "github.com/go-oauth2/oauth2/v4/errors"
	"github.com/go-oauth2/oauth2/v4/manage"
	"github.com/go-oauth2/oauth2/v4/models"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// issuer is the go-oauth2 manager with our generator and our stores behind it.
// The server uses the manager only to issue tokens. The manager's refresh
// checks neither the client nor the scope and isn't atomic, so refresh.go swaps
// the grant itself.
type issuer struct {
	manager *manage.Manager
	tokens  *tokenStore
}

func newIssuer(c Config) issuer {
	tokens := &tokenStore{grants: c.Store, keys: c.Keys, now: c.Now}
	m := manage.NewManager()
	m.SetPasswordTokenCfg(&manage.Config{AccessTokenExp: c.AccessLifetime, RefreshTokenExp: c.RefreshIdle, IsGenerateRefresh: true})
	m.SetClientTokenCfg(&manage.Config{AccessTokenExp: c.AccessLifetime})
	m.MapAccessGenerate(generator{})
	m.MapTokenStorage(tokens)
	m.MapClientStorage(clientStore{})
	return issuer{manager: m, tokens: tokens}
}

// signIn holds what the manager's callbacks need and the toolkit's types have
// no room for. It travels in the context.
type signIn struct {
	client  storage.Client
	keys    *opaque.Keyring
	grant   storage.Grant // completed by tokenStore.Create
	refresh bool          // whether a refresh token is issued
}

type signInKey struct{}

func signInFrom(ctx context.Context) *signIn {
	in, _ := ctx.Value(signInKey{}).(*signIn)
	return in
}

// issue makes the manager issue the first token pair of a grant.
func (s *Server) issue(ctx context.Context, req tokenRequest, b beginning, scope string) (tokenResponse, error) {
	keys, err := s.cfg.Keys.Keyring(ctx)
	if err != nil {
		return tokenResponse{}, err
	}
	kind := storage.GrantType(req.params["grant_type"])
	now := s.now()
	in := &signIn{client: b.client, keys: keys, grant: storage.Grant{
		ID:         b.id,
		Type:       kind,
		UserID:     b.user.ID,
		Username:   b.user.Name,
		Audience:   req.audience,
		Generation: 1,
		Epoch:      b.epoch,
		Created:    now,
		Issued:     now,
		End:        now.Add(s.cfg.RefreshAbsolute),
		Address:    req.address,
		UserAgent:  req.userAgent,
	}}
	in.refresh = kind == storage.Password && mayRefresh(b.client)

	info, err := s.issuer.manager.GenerateAccessToken(
		context.WithValue(ctx, signInKey{}, in), oauth2.GrantType(kind), &oauth2.TokenGenerateRequest{
			ClientID:       b.client.ID,
			UserID:         b.user.ID,
			Scope:          scope,
			AccessTokenExp: s.accessLifetime(b.client),
		})
	if err != nil {
		return tokenResponse{}, err
	}
	req.event.concern(storage.ActSignIn, in.grant)
	return respond(in.grant, now, info.GetAccess(), info.GetRefresh()), nil
}

// generator mints opaque tokens for the manager.
type generator struct{}

// Token implements oauth2.AccessGenerate.
func (generator) Token(ctx context.Context, _ *oauth2.GenerateBasic, withRefresh bool) (access, refresh string, err error) {
	in := signInFrom(ctx)
	g := &in.grant
	access, g.Access = in.keys.Mint(opaque.Access, g.ID, g.Generation)
	if withRefresh && in.refresh {
		refresh, g.Refresh = in.keys.Mint(opaque.Refresh, g.ID, g.Generation)
	}
	return access, refresh, nil
}

// clientStore gives the manager the client that is authenticated already.
type clientStore struct{}

// GetByID implements oauth2.ClientStore.
func (clientStore) GetByID(ctx context.Context, id string) (oauth2.ClientInfo, error) {
	in := signInFrom(ctx)
	if in == nil || in.client.ID != id {
		return nil, oautherrors.ErrInvalidClient
	}
	return clientInfo{in.client}, nil
}

// clientInfo shows a client to the manager. It holds no secret: the client was
// authenticated before the manager is asked.
type clientInfo struct{ client storage.Client }

func (c clientInfo) GetID() string              { return c.client.ID }
func (c clientInfo) GetSecret() string          { return "" }
func (c clientInfo) GetDomain() string          { return "" }
func (c clientInfo) IsPublic() bool             { return c.client.Public }
func (c clientInfo) GetUserID() string          { return "" }
func (c clientInfo) VerifyPassword(string) bool { return true }

// tokenStore finds grants by their tokens, and keeps the manager's tokens as grants.
type tokenStore struct {
	grants storage.Grants
	keys   opaque.Source
	now    func() time.Time
}

// Create implements oauth2.TokenStore: it completes the grant of the sign-in
// with what the manager decided, and keeps it.
func (t *tokenStore) Create(ctx context.Context, info oauth2.TokenInfo) error {
	g := &signInFrom(ctx).grant
	g.ClientID = info.GetClientID()
	g.Scope = info.GetScope()
	g.AccessScope, g.AccessAudience = g.Scope, g.Audience
	g.AccessExpiry = g.Issued.Add(info.GetAccessExpiresIn())
	if info.GetRefresh() == "" {
		g.End = g.AccessExpiry
		return t.grants.CreateGrant(ctx, *g)
	}
	g.AccessExpiry = earlier(g.AccessExpiry, g.End)
	g.RefreshExpiry = earlier(g.Issued.Add(info.GetRefreshExpiresIn()), g.End)
	return t.grants.CreateGrant(ctx, *g)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// RemoveByAccess implements oauth2.TokenStore. It ends the whole grant.
func (t *tokenStore) RemoveByAccess(ctx context.Context, access string) error {
	return t.remove(ctx, opaque.Access, access)
}

// RemoveByRefresh implements oauth2.TokenStore. It ends the whole grant.
func (t *tokenStore) RemoveByRefresh(ctx context.Context, refresh string) error {
	return t.remove(ctx, opaque.Refresh, refresh)
}

// RemoveByCode implements oauth2.TokenStore. There are no codes.
func (t *tokenStore) RemoveByCode(context.Context, string) error { return nil }

// GetByAccess implements oauth2.TokenStore.
func (t *tokenStore) GetByAccess(ctx context.Context, access string) (oauth2.TokenInfo, error) {
	g, err := t.load(ctx, opaque.Access, access)
	if err != nil {
		return nil, err
	}
	info := tokenInfo(g)
	info.SetAccess(access)
	return info, nil
}

// GetByRefresh implements oauth2.TokenStore.
func (t *tokenStore) GetByRefresh(ctx context.Context, refresh string) (oauth2.TokenInfo, error) {
	g, err := t.load(ctx, opaque.Refresh, refresh)
	if err != nil {
		return nil, err
	}
	info := tokenInfo(g)
	info.SetRefresh(refresh)
	return info, nil
}

// GetByCode implements oauth2.TokenStore. There are no codes.
func (t *tokenStore) GetByCode(context.Context, string) (oauth2.TokenInfo, error) {
	return nil, oautherrors.ErrInvalidAuthorizeCode
}

func (t *tokenStore) remove(ctx context.Context, kind opaque.Kind, token string) error {
	g, err := t.load(ctx, kind, token)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return t.grants.DeleteGrant(ctx, g.ID)
}

// errForeign is the storage.ErrNotFound for a text that isn't a token of ours.
var errForeign = fmt.Errorf("%w: not a token of ours", storage.ErrNotFound)

// load returns the grant whose current token text is, or ErrNotFound. It asks
// the store once. For a text that isn't a token of ours it doesn't ask, and
// returns errForeign.
func (t *tokenStore) load(ctx context.Context, kind opaque.Kind, text string) (storage.Grant, error) {
	keys, err := t.keys.Keyring(ctx)
	if err != nil {
		return storage.Grant{}, err
	}
	token, err := keys.Parse(kind, text)
	if errors.Is(err, opaque.ErrInvalid) {
		return storage.Grant{}, errForeign
	}
	if err != nil {
		return storage.Grant{}, err // the token can't be judged now
	}
	g, err := t.grants.LoadGrant(ctx, token.Grant)
	if err == nil && !token.Current(g, t.now()) {
		err = storage.ErrNotFound
	}
	return g, err
}

// tokenInfo shows a grant in the toolkit's terms.
func tokenInfo(g storage.Grant) *models.Token {
	return &models.Token{
		ClientID:        g.ClientID,
		UserID:          g.UserID,
		Scope:           g.AccessScope,
		AccessCreateAt:  g.Issued,
		AccessExpiresIn: g.AccessExpiry.Sub(g.Issued),
	}
}
