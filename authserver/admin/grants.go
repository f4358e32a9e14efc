package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/grantd/grantd/storage"
)

// Grant is a grant as the API shows it: who holds access, through which client,
// from where and until when. It shows nothing of its tokens.
type Grant struct {
	ID             string            `json:"id"`
	Type           storage.GrantType `json:"grant_type"`
	UserID         string            `json:"user_id,omitempty"`
	Username       string            `json:"username,omitempty"` // at the sign-in
	ClientID       string            `json:"client_id"`
	Scope          string            `json:"scope"`
	Audience       []string          `json:"audience,omitempty"`       // absent: every resource server
	Created        time.Time         `json:"created"`                  // when the user signed in
	Issued         time.Time         `json:"issued"`                   // when the current tokens were issued
	AccessExpires  time.Time         `json:"access_expires"`           // of the access token
	RefreshExpires time.Time         `json:"refresh_expires,omitzero"` // of the refresh token, if it isn't used
	Expires        time.Time         `json:"expires"`                  // of the whole grant, however often it is refreshed
	Address        string            `json:"address,omitempty"`        // of the sign-in
	UserAgent      string            `json:"user_agent,omitempty"`
}

func shownGrant(g storage.Grant) Grant {
	shown := Grant{
		ID:             g.ID.String(),
		Type:           g.Type,
		UserID:         g.UserID,
		Username:       g.Username,
		ClientID:       g.ClientID,
		Scope:          g.Scope,
		Audience:       strings.Fields(g.Audience),
		Created:        g.Created.UTC(),
		Issued:         g.Issued.UTC(),
		AccessExpires:  g.AccessExpiry.UTC(),
		RefreshExpires: g.RefreshExpiry.UTC(),
		Expires:        g.End.UTC(),
		UserAgent:      strings.ToValidUTF8(g.UserAgent, "\uFFFD"),
	}
	if g.Address.IsValid() {
		shown.Address = g.Address.Unmap().String()
	}
	return shown
}

var errNoGrant = errNotFound.saying("There is no such grant: it never existed, has expired or was ended.")

// grant returns the live grant that the path names, or errNoGrant and a grant that has
// only the id.
func (a *API) grant(r *http.Request) (storage.Grant, error) {
	id, err := storage.ParseGrantID(r.PathValue("id"))
	if err != nil {
		return storage.Grant{}, errNoGrant
	}
	g, err := a.cfg.Store.LoadGrant(r.Context(), id)
	if errors.Is(err, storage.ErrNotFound) {
		return storage.Grant{ID: id}, errNoGrant
	}
	return g, err
}

func (a *API) getGrant(w http.ResponseWriter, r *http.Request) error {
	g, err := a.grant(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, shownGrant(g))
}

// deleteGrant ends one grant. A dead grant counts as none.
func (a *API) deleteGrant(w http.ResponseWriter, r *http.Request) error {
	g, err := a.grant(r)
	if errors.Is(err, errNoGrant) {
		// A dead grant that is yet to be swept must stay, or the sweep wouldn't count
		// it. So this deletes a grant of the same partition that doesn't exist.
		return deleted(w, r, func(ctx context.Context) error {
			return a.cfg.Store.DeleteGrant(ctx, storage.GrantID{g.ID.Partition()})
		})
	}
	if err != nil {
		return err
	}
	if err := ifThere(r); err != nil {
		return err
	}
	receipt := storage.NewReceiptID(a.now())
	err = a.act(r.Context(), aboutGrant(storage.ActGrantEnd, g, receipt), func(ctx context.Context) error {
		_, err := a.endOne(ctx, single{receipt: receipt, id: g.ID, lives: true, grant: g, cause: storage.ActGrantEnd})
		return err
	})
	if err != nil {
		return err
	}
	return writeNothing(w)
}

// aboutGrant is the audit event of an act on the grant. Of the grant only the
// id need be set.
func aboutGrant(action storage.AuditAction, g storage.Grant, receipt string) storage.AuditEvent {
	return storage.AuditEvent{
		Action: action, Username: g.Username, UserID: g.UserID, ClientID: g.ClientID, GrantID: g.ID.String(), Object: receipt,
	}
}

// single describes one grant to end.
type single struct {
	receipt string          // id of the receipt
	id      storage.GrantID // id of the grant
	lives   bool            // there was such a grant
	grant   storage.Grant   // the grant, if it lives
	legacy  string          // another server's token that stands for the grant
	cause   storage.AuditAction
}

// endOne ends one grant and verifies that. It forgets the legacy tokens first:
// if it deleted the grant first, they could create it again. Once the grant is
// deleted endOne returns no error, even if it can't keep the receipt.
func (a *API) endOne(ctx context.Context, s single) (storage.Receipt, error) {
	if err := a.forget(ctx, s); err != nil {
		return storage.Receipt{}, errUnendedOne.because(err)
	}
	if err := a.cfg.Store.DeleteGrant(ctx, s.id); err != nil {
		return storage.Receipt{}, errUnendedOne.because(err)
	}
	a.cfg.Revoked(s.cause)
	now := a.now()
	r := storage.Receipt{
		ID: s.receipt, Created: now, Grant: s.id.String(), Username: s.grant.Username, By: a.who(ctx), Cause: s.cause,
		Completed: now, Revision: 1,
	}
	if s.lives {
		r.Expected = 1
		r.Swept = storage.Swept{Grants: 1, Oldest: s.grant.Created, Newest: s.grant.Created}
	}
	if n, err := a.sweeper.survivors(ctx, r); err != nil {
		a.cfg.Note(ctx, fmt.Errorf("looking for survivors: %w", err))
	} else {
		r.Survivors, r.Verified = n, a.now()
	}
	a.sweeper.keep(ctx, r)
	return r, nil
}

func (a *API) forget(ctx context.Context, s single) error {
	if a.cfg.Legacy == nil {
		return nil
	}
	if s.legacy != "" {
		if err := a.cfg.Legacy.Forget(ctx, s.legacy); err != nil {
			return err
		}
	}
	return a.cfg.Legacy.EndGrant(ctx, s.id)
}

var errUnendedOne = errUnavailable.saying("The grant may still be good. Repeat the request.")
