package storage

import (
	"context"
	"net/netip"
	"time"
)

// Audit keeps the trail of what was done: events in the order in which they
// came. An event's id is its place, and a cursor for ListAudit.
type Audit interface {
	// AppendAudit gives the events ids, whatever ids they have, and keeps them in
	// that order behind what is there. After an error some of them may be kept,
	// from the first on. Repeating a call is harmless for a minute at least: the
	// same events are kept once. So events of one call must not all be alike, in
	// time too, to those of another.
	AppendAudit(ctx context.Context, events ...AuditEvent) error

	// ListAudit returns up to limit events that q asks for, in order. A call looks
	// at no more than AuditScan events: a page may have fewer events than limit, even
	// none, though more follow. A bad cursor is ErrNotFound.
	ListAudit(ctx context.Context, q AuditQuery, limit int) (AuditPage, error)

	// TrimAudit forgets events from the oldest on: all but the latest keep, and
	// then those that happened before the instant, up to the first that didn't.
	TrimAudit(ctx context.Context, before time.Time, keep int) error
}

// AuditScan is how many events one page is made of at most. It bounds what a
// question costs that few events answer.
const AuditScan = 1000

// AuditEvent is one security-relevant act: who did what, from where, and what
// came of it. It holds no secret, no token and no name that nobody has here.
type AuditEvent struct {
	ID      string       `json:"id"` // the store gives it; the order of ids is the order of events
	Time    time.Time    `json:"time"`
	Action  AuditAction  `json:"action"`
	Outcome AuditOutcome `json:"outcome"`

	// Who acted: an admin or the user whose token it was, by name and id; a
	// client for itself; or the machine's own operator.
	ActorUser   string `json:"actor_user,omitempty"`
	ActorUserID string `json:"actor_user_id,omitempty"`
	ActorClient string `json:"actor_client,omitempty"` // that the act came through, or that acted itself
	Local       bool   `json:"local,omitempty"`        // done on the store itself, without a server

	// Whom or what it concerns, where that isn't who acted.
	Username string `json:"username,omitempty"`
	UserID   string `json:"user_id,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	GrantID  string `json:"grant_id,omitempty"`
	Object   string `json:"object,omitempty"` // of another kind: a key's id, a receipt's

	Address   netip.Addr `json:"address,omitzero"` // of the request
	RequestID string     `json:"request_id,omitempty"`
	Detail    string     `json:"detail,omitempty"` // a fixed text, for people
}

// AuditOutcome is what came of an act.
type AuditOutcome string

// The outcomes of an AuditEvent.
const (
	Success  AuditOutcome = "success"
	Failure  AuditOutcome = "failure"
	Accepted AuditOutcome = "accepted" // about to be done: written before an admin's act
)

// AuditAction names a kind of act, in words between dots, the thing before what
// is done to it.
type AuditAction string

// The actions of an AuditEvent.
const (
	ActSignIn         AuditAction = "signin"          // any grant that isn't a refresh
	ActRefresh        AuditAction = "refresh"         // a refresh token was spent
	ActRetry          AuditAction = "refresh.retry"   // the same one again, in the retry window
	ActReuse          AuditAction = "refresh.reuse"   // the same one again, after it: its grant ended
	ActRevoke         AuditAction = "token.revoke"    // by its client, RFC 7009
	ActClientAuth     AuditAction = "client.auth"     // a client failed to authenticate
	ActThrottleOn     AuditAction = "throttle.on"     // guesses are refused from here on
	ActThrottleOff    AuditAction = "throttle.off"    // an admin lifted it
	ActPasswordChange AuditAction = "password.change" // by the user
	ActUserCreate     AuditAction = "user.create"
	ActUserUpdate     AuditAction = "user.update"
	ActUserPassword   AuditAction = "user.password" // set by an admin
	ActUserDelete     AuditAction = "user.delete"
	ActClientCreate   AuditAction = "client.create"
	ActClientUpdate   AuditAction = "client.update"
	ActClientSecret   AuditAction = "client.secret"
	ActClientDelete   AuditAction = "client.delete"
	ActGrantEnd       AuditAction = "grant.end"
	ActRevocation     AuditAction = "revocation"
	ActKeyRotate      AuditAction = "key.rotate"
	ActKeyDelete      AuditAction = "key.delete"
	ActUserImport     AuditAction = "user.import"
	ActUserExport     AuditAction = "user.export"
	ActMigrate        AuditAction = "migrate" // tokens of another server were taken over
)
