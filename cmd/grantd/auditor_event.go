package main

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
)

// note notes the outcome of a token request in its record. If the request was an act
// it also tells the audit trail; a failure that the trail shouldn't store goes to
// the log only.
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
	tell := a.tell
	// A reuse is a failure that is always stored: it ends its grant, so nobody can
	// repeat it without another grant.
	if ev.Err != nil && ev.Act != storage.ActReuse && !a.failures.keep(subject(ev), e.Time) {
		tell = a.tellLog
	}
	tell(e)
	if ev.Throttled {
		e.Action, e.Outcome, e.Detail = storage.ActThrottleOn, storage.Success, ""
		tell(e)
	}
}

// subject returns the user, the client or the grant that a failure concerns, or "" if
// it concerns none that exists. A client is the subject if it tried what it may not,
// but not if somebody gave it an unknown user name or a wrong password.
func subject(ev authserver.Event) string {
	client := "by " + ev.ClientID // apart from what strangers claim to be
	if ev.ClientID == "" || ev.GrantType == "password" && errors.Is(ev.Err, authserver.ErrInvalidGrant) {
		client = ""
	}
	return cmp.Or(ev.UserID, ev.Claimed, ev.GrantID, client)
}

const (
	// keptFailures is how many failures of one subject are stored per failuresEvery,
	// at most: a little more than the limits on guessing allow, in the first hour,
	// to networks that are new to a user.
	keptFailures  = 120
	failuresEvery = time.Hour

	maxSubjects = 8192 // bounds the memory
)

// failures counts the failures that the trail stored lately. The trail holds a limited
// number of events, and a stranger can use every /64 of an IPv6 prefix as a network.
// So failures without a subject aren't stored, since they could push all else out. Of
// a subject, only as many are stored as it takes to show an attack. The limits on
// guessing don't bound these failures: limits on client secrets count per network, or
// anybody could shut a client out, and a repeated wrong password isn't counted. It is
// safe for concurrent use.
type failures struct {
	mu    sync.Mutex
	since time.Time
	kept  map[string]int // by subject
}

// keep counts a failure, and reports whether the trail should store it.
func (f *failures) keep(subject string, now time.Time) bool {
	if subject == "" {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kept == nil || len(f.kept) >= maxSubjects || now.Sub(f.since) >= failuresEvery {
		f.kept, f.since = make(map[string]int), now
	}
	if f.kept[subject] >= keptFailures {
		return false
	}
	f.kept[subject]++
	return true
}

// auditEvent converts an event of the authorization server. The user is the actor of
// a successful request. A refused request may have come from anybody: there the user
// is only the one whom it concerns.
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
