package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/grantd/grantd/storage"
)

// patchUser changes the fields that an admin may change. Disabling a user or
// taking admin away ends the user's grants, even if the record was so already:
// see endGrants.
func (a *API) patchUser(w http.ResponseWriter, r *http.Request) error {
	u, err := a.user(r)
	if err != nil {
		return err
	}
	var p userPatch
	if err := decode(w, r, members{"admin": &p.admin, "disabled": &p.disabled}); err != nil {
		return err
	}
	if err := precondition(r, userTag(u)); err != nil {
		return err
	}
	if p == (userPatch{}) {
		return a.writeUser(w, http.StatusOK, u)
	}
	if err := a.keepAdmin(r.Context(), u, p.apply(u)); err != nil {
		return err
	}
	err = a.act(r.Context(), aboutUser(storage.ActUserUpdate, u, p.detail()), func(ctx context.Context) (err error) {
		if u, err = a.changeUser(ctx, r, u, p.apply); err != nil || !p.endsGrants() {
			return err
		}
		return a.endGrants(ctx, endUser(storage.ActUserUpdate, u))
	})
	if err != nil {
		return err
	}
	return a.writeUser(w, http.StatusOK, u)
}

// userPatch is a change by PATCH; what is nil stays as it is.
type userPatch struct{ admin, disabled *bool }

func (p userPatch) apply(u storage.User) storage.User {
	if p.admin != nil {
		u.Admin = *p.admin
	}
	if p.disabled != nil {
		u.Disabled = *p.disabled
	}
	return u
}

func (p userPatch) endsGrants() bool {
	return p.admin != nil && !*p.admin || p.disabled != nil && *p.disabled
}

func (p userPatch) detail() string {
	var parts []string
	for _, c := range []struct {
		to      *bool
		yes, no string
	}{{p.admin, "admin", "no admin"}, {p.disabled, "disabled", "enabled"}} {
		switch {
		case c.to == nil:
		case *c.to:
			parts = append(parts, c.yes)
		default:
			parts = append(parts, c.no)
		}
	}
	return strings.Join(parts, ", ")
}

// changeUser changes the record and returns it. If somebody else changed it
// meanwhile, such as a sign-in that renewed a hash, changeUser tries again; if
// the request has a precondition, that fails then. A record that needs no
// change isn't written.
func (a *API) changeUser(ctx context.Context, r *http.Request, was storage.User, change func(storage.User) storage.User) (storage.User, error) {
	const tries = 5
	var err error
	for range tries {
		var u storage.User
		if u, err = a.loadUser(ctx, was.Name); err != nil {
			return u, err
		}
		if u.ID != was.ID {
			return u, errReplaced
		}
		if err := precondition(r, userTag(u)); err != nil {
			return u, err
		}
		next := change(u)
		if next == u {
			return u, a.confirmUser(ctx, u)
		}
		if err = a.cfg.Store.UpdateUser(ctx, next); err == nil {
			next.Revision++
			return next, nil
		}
		if !errors.Is(err, storage.ErrConflict) {
			return u, err
		}
	}
	return storage.User{}, err
}

// confirmUser is for a record that an earlier try of the request changed or deleted
// already. It waits until replicas have that, where the store waits for replicas. To
// do so it updates a revision that no record has: that changes nothing, and is
// confirmed like any other update.
func (a *API) confirmUser(ctx context.Context, u storage.User) error {
	u.Revision = 0
	return confirmed(a.cfg.Store.UpdateUser(ctx, u))
}

// confirmed returns the outcome of an update that was meant to change nothing.
func confirmed(err error) error {
	if errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// errReplaced: the record was deleted, and another of the same name was made.
var errReplaced = errConflict.saying("It was deleted meanwhile, and another of the same name was created. Read that one before you repeat the request.")

// setPassword gives the user a new password and ends the user's grants: whoever
// signed in with the old password is signed out.
func (a *API) setPassword(w http.ResponseWriter, r *http.Request) error {
	u, err := a.user(r)
	if err != nil {
		return err
	}
	var password *string
	if err := decode(w, r, members{"password": &password}); err != nil {
		return err
	}
	if password == nil {
		return wrong("password", "is missing")
	}
	if err := a.checkPassword("password", u.Name, *password); err != nil {
		return err
	}
	if err := precondition(r, userTag(u)); err != nil {
		return err
	}
	hash, err := a.hash(r.Context(), *password)
	if err != nil {
		return err
	}
	err = a.act(r.Context(), aboutUser(storage.ActUserPassword, u, ""), func(ctx context.Context) (err error) {
		u, err = a.changeUser(ctx, r, u, func(u storage.User) storage.User {
			u.Password = hash
			return u
		})
		if err != nil {
			return err
		}
		return a.endGrants(ctx, endUser(storage.ActUserPassword, u))
	})
	if err != nil {
		return err
	}
	return writeNothing(w)
}

// deleteUser disables the user first and deletes the record last. If the record
// went first, the user's id would be lost, and nobody could repeat a failed
// revocation.
func (a *API) deleteUser(w http.ResponseWriter, r *http.Request) error {
	u, err := a.user(r)
	if errors.Is(err, errNoUser) {
		return deleted(w, r, func(ctx context.Context) error { return a.confirmUser(ctx, u) })
	}
	if err != nil {
		return err
	}
	if err := precondition(r, userTag(u)); err != nil {
		return err
	}
	if err := a.keepAdmin(r.Context(), u, storage.User{}); err != nil {
		return err
	}
	err = a.act(r.Context(), aboutUser(storage.ActUserDelete, u, ""), func(ctx context.Context) error {
		u, err := a.changeUser(ctx, r, u, userPatch{disabled: new(true)}.apply)
		if errors.Is(err, errNoUser) {
			return a.confirmUser(ctx, u) // somebody else deleted it
		}
		if err != nil {
			return err
		}
		if err := a.endGrants(ctx, endUser(storage.ActUserDelete, u)); err != nil {
			return err
		}
		return a.cfg.Store.DeleteUser(ctx, u.Name)
	})
	if err != nil {
		return err
	}
	return writeNothing(w)
}

// keepAdmin refuses a change that would leave no admin who can sign in. Two
// admins who disable each other at the same instant get through. A local actor
// may do it, because grantd init on the store is the way back.
func (a *API) keepAdmin(ctx context.Context, before, after storage.User) error {
	who := a.cfg.Actor(ctx)
	if who.Local || !before.CanAdmin() || after.CanAdmin() {
		return nil
	}
	// The actor is mostly another admin, so the search through all users is
	// seldom needed.
	if who.Username != "" && who.Username != before.Name {
		u, err := a.cfg.Store.LoadUser(ctx, who.Username)
		if err == nil && u.CanAdmin() {
			return nil
		}
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	found, err := a.otherAdmin(ctx, before.Name)
	if err == nil && !found {
		err = errLastAdmin
	}
	return err
}

func (a *API) otherAdmin(ctx context.Context, name string) (bool, error) {
	after := ""
	for {
		page, err := a.cfg.Store.ListUsers(ctx, after, maxLimit)
		if err != nil {
			return false, err
		}
		for _, u := range page {
			if u.Name != name && u.CanAdmin() {
				return true, nil
			}
		}
		if len(page) < maxLimit {
			return false, nil
		}
		after = page[len(page)-1].Name
	}
}

var errLastAdmin = errConflict.saying("This is the last admin who can sign in. Make another user an admin first.")
