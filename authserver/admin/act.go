package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grantd/grantd/storage"
)

// maxAct bounds the time of an act.
const maxAct = 20 * time.Second

// act runs do, which changes something, after it has kept the audit event. If
// the event can't be kept, act doesn't run do. The caller fills in what is done
// and to whom; act fills in the rest. An act that has begun goes on when its
// client hangs up, or it could end between the record and the grants.
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

// unhurried returns a context for work that has to be finished. It doesn't end
// with the request, and has no budget for waiting for the store: an admin who
// ends grants wants that done however slow the store is. Each call of the store
// is bounded all the same, and if the store doesn't answer, further calls fail
// at once.
func unhurried(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(storage.WithBudget(context.WithoutCancel(ctx), nil), maxAct)
}

// errUnaudited: an act that can't be kept in the audit isn't done.
var errUnaudited = errUnavailable.saying("Nothing was changed, because the act couldn't be written to the audit trail. Repeat the request.")

// by fills in the actor and the time.
func (a *API) by(ctx context.Context, ev storage.AuditEvent) storage.AuditEvent {
	who := a.cfg.Actor(ctx)
	ev.Time = a.now()
	ev.ActorUser, ev.ActorUserID, ev.ActorClient = who.Username, who.UserID, who.ClientID
	ev.Local, ev.Address, ev.RequestID = who.Local, who.Address, who.RequestID
	return ev
}

// endGrants ends the grants of the target and makes a receipt of it. The grants
// are dead when it returns; their records are cleared away in the background.
//
// Call it after the change of a record: a sign-in that began before the
// revocation fails, and a later one reads the changed record; see
// storage.Revocations. On an error the grants may still be good. So a repeated
// request has to call endGrants again, even if the record needs no change any
// more.
func (a *API) endGrants(ctx context.Context, e Ending) error {
	e.ID, e.By = storage.NewReceiptID(a.now()), a.who(ctx)
	if _, _, err := a.sweeper.End(ctx, e); err != nil {
		return errUnended.because(err)
	}
	a.cfg.Revoked(e.Cause)
	return nil
}

// endUser is the Ending of a user's grants.
func endUser(cause storage.AuditAction, u storage.User) Ending {
	return Ending{Target: storage.Target{UserID: u.ID}, Username: u.Name, Cause: cause}
}

// endClient is the Ending of a client's grants.
func endClient(cause storage.AuditAction, c storage.Client) Ending {
	return Ending{Target: storage.Target{ClientID: c.ID}, Cause: cause}
}

// who names the actor for a receipt.
func (a *API) who(ctx context.Context) string {
	who := a.cfg.Actor(ctx)
	if who.Local {
		return "local"
	}
	return cmp.Or(who.Username, who.ClientID)
}

var errUnended = errUnavailable.saying("The record was changed, but the grants that end with the change may still be good. Repeat the request.")
