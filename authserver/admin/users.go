package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

// User is a user as the API shows it, without the password's hash.
type User struct {
	ID          string    `json:"id"`
	Username    string    `json:"username"` // in the form that is compared: alice for Alice
	Admin       bool      `json:"admin"`    // may be granted the scope "admin"
	Disabled    bool      `json:"disabled"`
	HasPassword bool      `json:"has_password"` // without one the user can't sign in
	Created     time.Time `json:"created"`
}

func shownUser(u storage.User) User {
	return User{
		ID:          u.ID,
		Username:    u.Name,
		Admin:       u.Admin,
		Disabled:    u.Disabled,
		HasPassword: u.Password != "",
		Created:     u.Created.UTC(),
	}
}

func userTag(u storage.User) string { return entityTag(u.Created, u.Revision) }

func (a *API) userPath(name string) string {
	return a.cfg.Path + Root + "/users/" + url.PathEscape(name)
}

// writeUser answers with one user.
func (a *API) writeUser(w http.ResponseWriter, status int, u storage.User) error {
	w.Header().Set("ETag", userTag(u))
	return writeJSON(w, status, shownUser(u))
}

var errNoUser = errNotFound.saying("There is no user of that name.")

// user returns the user that the path names.
func (a *API) user(r *http.Request) (storage.User, error) {
	name, err := passhash.Username(r.PathValue("username"))
	if err != nil {
		return storage.User{}, errNoUser // no user can have that name
	}
	return a.loadUser(r.Context(), name)
}

// loadUser returns the user of that name, or errNoUser and a user that has only the
// name.
func (a *API) loadUser(ctx context.Context, name string) (storage.User, error) {
	u, err := a.cfg.Store.LoadUser(ctx, name)
	if errors.Is(err, storage.ErrNotFound) {
		return storage.User{Name: name}, errNoUser
	}
	return u, err
}

func (a *API) getUser(w http.ResponseWriter, r *http.Request) error {
	u, err := a.user(r)
	if err != nil {
		return err
	}
	return writeTagged(w, r, userTag(u), shownUser(u))
}

// createUser makes a user. A user without a password can't sign in until one is
// set.
func (a *API) createUser(w http.ResponseWriter, r *http.Request) error {
	var username string
	var password *string
	u := storage.User{ID: storage.NewUserID(), Created: a.now(), Revision: 1}
	err := decode(w, r, members{"username": &username, "password": &password, "admin": &u.Admin, "disabled": &u.Disabled})
	if err != nil {
		return err
	}
	if u.Name, err = newUsername(username); err != nil {
		return err
	}
	if password != nil {
		if err := a.checkPassword("password", u.Name, *password); err != nil {
			return err
		}
	}
	// Before anything is hashed, which is slow.
	if _, err = a.cfg.Store.LoadUser(r.Context(), u.Name); err == nil {
		return errUserExists
	}
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if err := a.refuseClientID(r.Context(), u.Name); err != nil {
		return err
	}
	if password != nil {
		if u.Password, err = a.hash(r.Context(), *password); err != nil {
			return err
		}
	}
	err = a.act(r.Context(), aboutUser(storage.ActUserCreate, u, ""), func(ctx context.Context) error {
		return a.cfg.Store.CreateUser(ctx, u)
	})
	if errors.Is(err, storage.ErrExists) {
		return errUserExists
	}
	if err != nil {
		return err
	}
	w.Header().Set("Location", a.userPath(u.Name))
	return a.writeUser(w, http.StatusCreated, u)
}

// refuseClientID fails if name is the id of a client, so that no user looks
// like a client: see refuseUsername.
func (a *API) refuseClientID(ctx context.Context, name string) error {
	_, err := a.cfg.Store.LoadClient(ctx, name)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err == nil {
		p := errConflict.saying("A user with the id of a client could be mistaken for the client (RFC 9700 section 4.15). Choose another name.")
		p.fields = []FieldError{{"username", "is the id of a client"}}
		err = p
	}
	return err
}

var errUserExists = func() *problem {
	p := errExists.saying("There is already a user of that name. Names that differ only in case or width count as the same.")
	p.fields = []FieldError{{"username", "is already taken"}}
	return p
}()

// newUsername returns the name in the form that is kept. It refuses names that
// no path can hold.
func newUsername(name string) (string, error) {
	if name == "" {
		return "", wrong("username", "is missing")
	}
	kept, err := passhash.Username(name)
	if err != nil || kept == "." || kept == ".." {
		return "", wrong("username", "isn't a valid username: use letters, digits and most ASCII punctuation, no spaces, at most 255 bytes (RFC 8265)")
	}
	return kept, nil
}

func (a *API) checkPassword(field, username, password string) error {
	err := a.cfg.Policy.Check(username, password)
	if err == nil {
		return nil
	}
	// The texts are passhash's own, and hold nothing of the password.
	return wrong(field, "isn't acceptable: "+strings.TrimPrefix(err.Error(), passhash.ErrPassword.Error()+": "))
}

func (a *API) hash(ctx context.Context, password string) (string, error) {
	hash, err := a.cfg.Passwords.Hash(ctx, password)
	if errors.Is(err, passhash.ErrBusy) {
		err = errBusy.because(err)
	}
	return hash, err
}

var errBusy = errUnavailable.saying("Too many passwords are being hashed. Nothing was changed. Repeat the request.")

// aboutUser is the audit event of an act on the user. The detail is a fixed text.
func aboutUser(action storage.AuditAction, u storage.User, detail string) storage.AuditEvent {
	return storage.AuditEvent{Action: action, Username: u.Name, UserID: u.ID, Detail: detail}
}
