package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// TokenInfo describes a token.
type TokenInfo struct {
	Kind   string `json:"kind"`            // access, refresh, or unknown if it isn't a token of this server
	Active bool   `json:"active"`          // false: the token was replaced, has expired or was ended
	Grant  *Grant `json:"grant,omitempty"` // the token's grant, while it lives
}

// The kinds of tokens.
const (
	kindAccess  = "access"
	kindRefresh = "refresh"
	kindUnknown = "unknown"
)

// inspectToken describes a token. Introspection (RFC 7662) tells resource
// servers only about active access tokens. This route describes both kinds,
// active or not: whoever found a token wants to know whose it is.
func (a *API) inspectToken(w http.ResponseWriter, r *http.Request) error {
	var text string
	if err := decode(w, r, members{"token": &text}); err != nil {
		return err
	}
	if text == "" {
		return wrong("token", "is missing")
	}
	info, err := a.tokenInfo(r.Context(), text)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, info)
}

func (a *API) tokenInfo(ctx context.Context, text string) (TokenInfo, error) {
	if a.cfg.Tokens == nil {
		return TokenInfo{}, errConflict.saying("Reading a token needs the deployment secret of this store, and none is configured.")
	}
	keys, err := a.cfg.Tokens.Keyring(ctx)
	if err != nil {
		return TokenInfo{}, err
	}
	token, err := keys.ParseAny(text)
	switch {
	case errors.Is(err, opaque.ErrInvalid):
		return a.legacyToken(ctx, text)
	case err != nil:
		return TokenInfo{}, err // the token can't be judged now
	}
	return a.ownToken(ctx, token)
}

// ownToken describes a token that this server issued.
func (a *API) ownToken(ctx context.Context, token opaque.Token) (TokenInfo, error) {
	info := TokenInfo{Kind: kindName(token.Kind)}
	g, err := a.cfg.Store.LoadGrant(ctx, token.Grant)
	if errors.Is(err, storage.ErrNotFound) {
		return info, nil
	}
	if err != nil {
		return TokenInfo{}, err
	}
	info.Active = token.Current(g, a.now())
	shown := shownGrant(g)
	info.Grant = &shown
	return info, nil
}

// legacyToken describes a token that another server issued.
func (a *API) legacyToken(ctx context.Context, text string) (TokenInfo, error) {
	if a.cfg.Legacy == nil {
		return TokenInfo{Kind: kindUnknown}, nil
	}
	kind, g, moved, err := a.cfg.Legacy.AnyGrant(ctx, text)
	if err == nil && moved {
		g, err = a.cfg.Store.LoadGrant(ctx, g.ID)
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return TokenInfo{Kind: kindUnknown}, nil
	case err != nil:
		return TokenInfo{}, err
	}
	shown := shownGrant(g)
	active := !moved || opaque.Adopt(kind, g.ID, text).Current(g, a.now())
	return TokenInfo{Kind: kindName(kind), Active: active, Grant: &shown}, nil
}

func kindName(kind opaque.Kind) string {
	if kind == opaque.Refresh {
		return kindRefresh
	}
	return kindAccess
}
