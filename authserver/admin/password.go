package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/authserver/throttle"
	"github.com/grantd/grantd/storage"
)

// OwnPasswordPath is the path, below the issuer's, at which users change their
// own password.
const OwnPasswordPath = "/users/me/password"

// OwnPassword returns the handler of POST OwnPasswordPath. The user that
// Config.Actor returns changes the own password by giving the old one, and all
// the user's grants end. The route isn't for admins: it is no part of Handler,
// and any user may use it.
func (a *API) OwnPassword() http.Handler {
	wrongMethod := errMethod.allowing([]string{http.MethodPost})
	return a.endpoint(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodPost {
			return wrongMethod
		}
		if err := checkQuery(r, nil); err != nil {
			return err
		}
		return a.changeOwnPassword(w, r)
	})
}

// changeOwnPassword refuses what it can before it hashes. It changes the record
// only if that is unchanged since the old password was judged, and then ends
// the grants: see endGrants. So a sign-in with the old password either fails,
// or its grant is ended.
func (a *API) changeOwnPassword(w http.ResponseWriter, r *http.Request) error {
	u, err := a.self(r.Context())
	if err != nil {
		return err
	}
	passwords, err := a.passwordChange(w, r, u)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), maxAct)
	defer cancel()
	err = a.replacePassword(ctx, u, passwords)
	var refused *throttle.Refusal
	if errors.As(err, &refused) { // no event: refusals cost nothing, and would push others out of the trail
		refusal := errThrottled.because(err)
		if refused.Crowded {
			refusal = errThrottled.saying("Too many passwords came at the same time. This one wasn't checked. Repeat the request after the time in Retry-After.").because(err)
		}
		refusal.retryAfter = int((refused.Wait + time.Second - 1) / time.Second)
		return refusal
	}
	ev := aboutUser(storage.ActPasswordChange, u, "")
	if err != nil {
		ev.Detail = asProblem(err).title
	}
	a.tell(ctx, ev, err)
	if err != nil {
		return err
	}
	return writeNothing(w)
}

// tell records in the audit what a user did. Unlike an act, this is done even
// if the event can't be kept.
func (a *API) tell(ctx context.Context, ev storage.AuditEvent, err error) {
	ev.Outcome = storage.Success
	if err != nil {
		ev.Outcome = storage.Failure
	}
	a.cfg.Tell(ctx, a.by(ctx, ev))
}

// self returns the current record of the acting user.
func (a *API) self(ctx context.Context) (storage.User, error) {
	who := a.cfg.Actor(ctx)
	if who.UserID == "" {
		return storage.User{}, errForbidden.saying("A client has no password. Use the access token of a user.")
	}
	u, err := a.cfg.Store.LoadUser(ctx, who.Username)
	if errors.Is(err, storage.ErrNotFound) || err == nil && (u.ID != who.UserID || u.Disabled) {
		return u, errMeanwhile.because(err)
	}
	return u, err
}

var errMeanwhile = errConflict.saying("The password wasn't changed, because the user was changed or deleted meanwhile. Sign in again.")

// passwordChange is the body of the request.
type passwordChange struct{ old, new string }

func (a *API) passwordChange(w http.ResponseWriter, r *http.Request, u storage.User) (passwordChange, error) {
	var older, newer *string
	if err := decode(w, r, members{"old_password": &older, "new_password": &newer}); err != nil {
		return passwordChange{}, err
	}
	var missing []FieldError
	for _, field := range []struct {
		name  string
		value *string
	}{{"new_password", newer}, {"old_password", older}} {
		if field.value == nil {
			missing = append(missing, FieldError{field.name, "is missing"})
		}
	}
	if len(missing) > 0 {
		return passwordChange{}, wrongFields(missing)
	}
	if passhash.Same(*older, *newer) {
		return passwordChange{}, wrong("new_password", "isn't acceptable: it is the same as the old one")
	}
	return passwordChange{*older, *newer}, a.checkPassword("new_password", u.Name, *newer)
}

// replacePassword judges the old password, replaces it and ends the grants. From the
// replacement on its context is unhurried.
func (a *API) replacePassword(ctx context.Context, u storage.User, p passwordChange) error {
	if err := a.judgePassword(ctx, u, p.old); err != nil {
		return err
	}
	hash, err := a.hash(ctx, p.new)
	if err != nil {
		return err
	}
	ctx, cancel := unhurried(ctx)
	defer cancel()
	u.Password = hash
	err = a.cfg.Store.UpdateUser(ctx, u)
	if errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrNotFound) {
		return errMeanwhile.because(err)
	}
	if err == nil {
		err = a.endGrants(ctx, endUser(storage.ActPasswordChange, u))
	}
	if err != nil {
		return errHalfDone.because(err)
	}
	return nil
}

// judgePassword returns nil when the password is the user's. It shares the
// limits on guesses with the sign-ins.
func (a *API) judgePassword(ctx context.Context, u storage.User, password string) error {
	place, err := a.cfg.Throttle.Begin(ctx, throttle.Attempt{
		Username: u.Name, Password: password, Network: throttle.NetworkOf(a.cfg.Actor(ctx).Address),
	})
	if err != nil {
		return err
	}
	defer place.Leave(ctx)
	result, err := a.verifyHash(ctx, u.Password, password, place)
	if err != nil {
		return err
	}
	if result.OK {
		return place.Succeeded(ctx)
	}
	last, err := place.Failed(ctx)
	if last {
		a.tell(ctx, aboutUser(storage.ActThrottleOn, u, ""), nil)
	}
	if err != nil {
		return err
	}
	return errWrongPassword
}

func (a *API) verifyHash(ctx context.Context, hash, password string, place *throttle.Place) (passhash.Result, error) {
	defer place.Hashing()()
	return a.cfg.Passwords.Verify(ctx, hash, password)
}

// errHalfDone: repeating the request may not help, because the password may be
// changed already.
var errHalfDone = errUnavailable.saying("The password may have been changed, while earlier sign-ins may still be good. " +
	"Sign in with whichever of the two passwords works, and change it once more.")
