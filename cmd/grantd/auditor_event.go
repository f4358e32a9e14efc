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

// note writes the outcome of a token request into its record, and into the
// audit trail if it is an act. A failure that isn't to be kept goes to the log
// only.
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
	// A reuse is always kept: it ends a grant, so nobody can repeat it without a new
	// sign-in.
	if ev.Err != nil && ev.Act != storage.ActReuse && !a.failures.keep(subject(ev), e.Time) {
		tell = a.tellLog
	}
	tell(e)
	if ev.Throttled {
		e.Action, e.Outcome, e.Detail = storage.ActThrottleOn, storage.Success, ""
		tell(e)
	}
}

// subject returns the existing user, client or grant that a failure concerns, or "" if it
// concerns none. A failure concerns the client that tried what it may not do. But a
// sign-in with an invented user name doesn't concern the client.
func subject(ev authserver.Event) string {
	client := "by " + ev.ClientID // apart from what strangers claim to be
	if ev.ClientID == "" || ev.GrantType == "password" && errors.Is(ev.Err, authserver.ErrInvalidGrant) {
		client = ""
	}
	return cmp.Or(ev.UserID, ev.Claimed, ev.GrantID, client)
}

const (
	// keptFailures is how many failures of one subject are kept at most in each
	// failuresEvery: a little more than the limits on guessing allow networks that
	// are new to a user in the first one.
	keptFailures  = 120
	failuresEvery = time.Hour

	maxSubjects = 8192 // bounds the memory
)

// failures counts the failures that were kept lately. The trail has a bounded number
// of events, and a stranger has as many networks as an IPv6 prefix has /64s. So
// failures that concern nobody aren't kept, because they would push out the rest. Of
// those that concern somebody, only enough are kept to show an attack. The limits on
// guessing aren't enough of a bound: those on client secrets are for each network, or
// anybody could shut the client out, and the same wrong password doesn't count again.
// It is safe for concurrent use.
type failures struct {
	mu    sync.Mutex
	since time.Time
	kept  map[string]int // by subject
}

// keep counts a failure, and reports whether to keep it.
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

// auditEvent returns the event, with who acted and whom it concerned. A refused
// request is about the user, but it isn't known to come from the user.
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
