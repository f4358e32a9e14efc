package authserver

import (
	"errors"
	"net/http"

	"github.com/grantd/grantd/storage"
)

// acts are what a request for that grant_type is an attempt at.
var acts = map[string]storage.AuditAction{
	grantPassword:          storage.ActSignIn,
	grantClientCredentials: storage.ActSignIn,
	grantRefreshToken:      storage.ActRefresh,
}

// refuse says that the request was refused.
//
// The trail is kept to a number of events, so nobody may be able to fill it with
// what costs nothing: then the rest would be gone. A refusal is an act there only if
// somebody is behind it who had a right to some extent, an authenticated
// confidential client or the holder of a token that was genuine once; or if it was
// a guess that was judged, and those are throttled in each network: it is for who keeps
// the trail to leave out those that concern nobody, who has no id here, and what is too
// much. The guesses that are refused unseen aren't acts any more. What is malformed, and
// what the server couldn't decide, is none either.
func (ev *Event) refuse(e *Error) {
	ev.Err = e
	ev.Reason = e.Description
	var text fixed
	if errors.As(e.cause, &text) {
		ev.Reason = string(text)
	}
	switch {
	case e.guess != nil:
		ev.Act, ev.Claimed, ev.Throttled = storage.ActClientAuth, e.claimed, e.guess.last
	case e.Status >= http.StatusInternalServerError, e.Status == http.StatusTooManyRequests,
		e.Code == ErrInvalidRequest.Code, e.Code == ErrUnsupportedGrantType.Code:
		ev.Act = ""
	}
}

// concern says that the request is about the grant.
func (ev *Event) concern(act storage.AuditAction, g storage.Grant) {
	ev.Act = act
	ev.UserID, ev.Username, ev.GrantID = g.UserID, g.Username, g.ID.String()
}

// guess is a failed authentication of a client that brought a secret.
type guess struct {
	last bool // before guesses are refused
}

// guessed says of a failed authentication that it was a guess.
func guessed(err error, last bool) error {
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, ErrInvalidClient) {
		return err
	}
	failed := *e
	failed.guess = &guess{last}
	return &failed
}
