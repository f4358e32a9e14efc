package authserver

import (
	"errors"
	"net/http"

	"github.com/grantd/grantd/storage"
)

// acts are the audit actions that requests attempt, by grant_type.
var acts = map[string]storage.AuditAction{
	grantPassword:          storage.ActSignIn,
	grantClientCredentials: storage.ActSignIn,
	grantRefreshToken:      storage.ActRefresh,
}

// refuse records that the request was refused with e.
//
// The audit trail keeps a bounded number of events. Nobody may be able to push out the
// others with events that cost nothing. So a refusal is an act of the trail in two cases
// only. First, its sender had some right: an authenticated confidential client, or the
// holder of a token that was genuine once. Second, it was a guess that was judged;
// guesses are throttled by network. Whoever keeps the trail has to leave out guesses
// that concern no known user or client, and guesses that are too many. These are no
// acts: guesses that were refused unseen, malformed requests, and requests that the
// server couldn't decide.
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

// concern records that the request is an act on the grant.
func (ev *Event) concern(act storage.AuditAction, g storage.Grant) {
	ev.Act = act
	ev.UserID, ev.Username, ev.GrantID = g.UserID, g.Username, g.ID.String()
}

// guess is a failed client authentication with a secret.
type guess struct {
	last bool // the last one before guesses are refused
}

// guessed marks the error of a failed authentication as that of a guess.
func guessed(err error, last bool) error {
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, ErrInvalidClient) {
		return err
	}
	failed := *e
	failed.guess = &guess{last}
	return &failed
}
