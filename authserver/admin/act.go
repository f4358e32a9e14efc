package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grantd/grantd/storage"
)

// maxAct bounds an act that is under way.
const maxAct = 20 * time.Second

// act does what changes something. The event, of which the caller gives what is
// done and to whom, is kept before it is done; else it isn't done. An act that
// was begun goes on when its client goes away: it must not end between the record
// and the grants.
func (a *API) act(ctx context.Context, ev storage.AuditEvent, do func(context.Context) error) error {
	ctx, cancel := unhurried(ctx)
	defer cancel()
	ev = a.by(ctx, ev)
	ev.Outcome = storage.Accepted
	if err := a.cfg.Audit(ctx, ev); err != nil {
		return errUnaudited.because(fmt.Errorf("keeping the audit event: %w", err))
	}
	err := do(ctx)
	if err == nil {
		return nil
	}
	ev.Time, ev.Outcome = a.now(), storage.Failure
	if lost := a.cfg.Audit(ctx, ev); lost != nil {
		err = asProblem(err).because(errors.Join(err, fmt.Errorf("keeping the audit event: %w", lost)))
	}
	return err
}

// unhurried is a context for what has to be done to its end: it doesn't end with the
// request, nor with the time that a request may wait for the store. An admin who ends
// grants wants it done, however slow the store is, and not to be told to begin again.
// Each call is bounded all the same, and a store that doesn't answer fails the next
// ones at once.
func unhurried(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(storage.WithBudget(context.WithoutCancel(ctx), nil), maxAct)
}

// errUnaudited: what nobody could account for isn't done.
var errUnaudited = errUnavailable.saying("It wasn't done, because it couldn't be written to the audit. Repeat the request.")

// by fills in who acts, and when.
func (a *API) by(ctx context.Context, ev storage.AuditEvent) storage.AuditEvent {
	who := a.cfg.Actor(ctx)
	ev.Time = a.now()
	ev.ActorUser, ev.ActorUserID, ev.ActorClient = who.Username, who.UserID, who.ClientID
	ev.Local, ev.Address, ev.RequestID = who.Local, who.Address, who.RequestID
	return ev
}

// endGrants ends the grants of the target, because of what was done, and says so in
// a receipt. They are dead when it returns; their records are cleared away in the
// background.
//
// What changed a record calls it after that: a sign-in that began before the
// revocation fails, and one that begins after it reads the changed record; see
// storage.Revocations. On an error the grants may still be good, so whoever
// repeats the request has to come here again, whether or not there is anything
// left to change.
func (a *API) endGrants(ctx context.Context, e Ending) error {
	e.ID, e.By = storage.NewReceiptID(a.now()), a.who(ctx)
	if _, _, err := a.sweeper.End(ctx, e); err != nil {
		return errUnended.because(err)
	}
	a.cfg.Revoked(e.Cause)
	return nil
}

// endUser is what endGrants does of a user.
func endUser(cause storage.AuditAction, u storage.User) Ending {
	return Ending{Target: storage.Target{UserID: u.ID}, Username: u.Name, Cause: cause}
}

// endClient is what endGrants does of a client.
func endClient(cause storage.AuditAction, c storage.Client) Ending {
	return Ending{Target: storage.Target{ClientID: c.ID}, Cause: cause}
}

// who is who acts, for a receipt.
func (a *API) who(ctx context.Context) string {
	who := a.cfg.Actor(ctx)
	if who.Local {
		return "local"
	}
	return cmp.Or(who.Username, who.ClientID)
}

var errUnended = errUnavailable.saying("The record is changed, but its grants may still be good. Repeat the request.")
