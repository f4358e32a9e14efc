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

// note puts what became of a token request into its record, and tells the trail
// of it if it is an act. A failure that isn't to be kept is in the log only.
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
	// A reuse is refused and ends a grant, which whoever repeats it has to have first.
	if ev.Err != nil && ev.Act != storage.ActReuse && !a.failures.keep(subject(ev), e.Time) {
		tell = a.tellLog
	}
	tell(e)
	if ev.Throttled {
		e.Action, e.Outcome, e.Detail = storage.ActThrottleOn, storage.Success, ""
		tell(e)
	}
}

// subject is the user, the client or the grant that a failure concerns, of those
// that there are; empty when it concerns nobody. A client is concerned that tried what it
// may not, but not by the names of users that people invent.
func subject(ev authserver.Event) string {
	client := "by " + ev.ClientID // apart from what strangers claim to be
	if ev.ClientID == "" || ev.GrantType == "password" && errors.Is(ev.Err, authserver.ErrInvalidGrant) {
		client = ""
	}
	return cmp.Or(ev.UserID, ev.Claimed, ev.GrantID, client)
}

const (
	// keptFailures are those that are kept of one subject in each failuresEvery, at
	// most: a little more than the limits on guessing let networks that are new to a
	// user have in the first one.
	keptFailures  = 120
	failuresEvery = time.Hour

	maxSubjects = 8192 // bounds the memory
)

// failures are those that were kept lately. The trail is kept to a number of events,
// and a stranger has as many networks as an IPv6 prefix has /64s. So what concerns
// nobody isn't kept, as it would push the rest out, and of what concerns somebody only
// as much as tells of an attack. The limits on guessing don't bound that: those on
// client secrets are of each network, or anybody could shut the client out, and the
// same wrong password again doesn't count. It is safe for concurrent use.
type failures struct {
	mu    sync.Mutex
	since time.Time
	kept  map[string]int // by subject
}

// keep counts a failure, and reports whether it is to be kept.
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
