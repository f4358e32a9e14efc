package main

import (
	"context"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
)

// note puts what became of a token request into its record, and tells the trail
// of it if it is an act.
func (a *auditor) note(ctx context.Context, ev authserver.Event) {
	noteEvent(ctx, ev)
	if ev.Act == "" {
		return
	}
	e := auditEvent(ev)
	e.Time = time.Now().UTC()
	if rec := recordOf(ctx); rec != nil {
		e.RequestID, e.Address = rec.requestID, rec.remote
	}
	a.tell(e)
	if ev.Throttled {
		e.Action, e.Outcome, e.Detail = storage.ActThrottleOn, storage.Success, ""
		a.tell(e)
	}
}

// auditEvent says who acted and whom it concerned. Of a refused request nobody
// knows that it was the user's, only that it was about the user.
func auditEvent(ev authserver.Event) storage.AuditEvent {
	e := storage.AuditEvent{
		Action:      ev.Act,
		Outcome:     storage.Success,
		ActorClient: ev.ClientID,
		ClientID:    ev.Claimed,
		GrantID:     ev.GrantID,
		Detail:      ev.Reason,
	}
	if ev.Err == nil {
		e.ActorUser, e.ActorUserID = ev.Username, ev.UserID
		return e
	}
	e.Outcome = storage.Failure
	e.Username, e.UserID = ev.Username, ev.UserID
	return e
}
