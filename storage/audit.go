package storage

import (
	"context"
	"net/netip"
	"time"
)

// Audit keeps the audit trail: events in the order in which they came. An
// event's id is its position, and a cursor for ListAudit.
type Audit interface {
	// AppendAudit gives the events new ids, and keeps them in that order at the
	// end of the trail. After an error some of them may be kept, from the first
	// on. Repeating a call is harmless for at least a minute: the same events are
	// kept once. So two different calls must not have exactly the same events,
	// with the same times.
	AppendAudit(ctx context.Context, events ...AuditEvent) error

	// ListAudit returns up to limit events that match q, in order. A call reads at
	// most AuditScan events: a page may have fewer events than limit, even none,
	// although more follow. A bad cursor is ErrNotFound.
	ListAudit(ctx context.Context, q AuditQuery, limit int) (AuditPage, error)

	// TrimAudit deletes events from the oldest on: all but the latest keep
	// events, and then those that happened before the given time, up to the
	// first that didn't.
	TrimAudit(ctx context.Context, before time.Time, keep int) error
}

// AuditScan is how many events are read at most for one page. It bounds the
// cost of a query that few events match.
const AuditScan = 1000

// AuditEvent is one security-relevant act: who did what, from where, and with
// what outcome. It holds no secret, no token and no name that no user or client
// has.
type AuditEvent struct {
	ID      string       `json:"id"` // the store gives it; the order of ids is the order of events
	Time    time.Time    `json:"time"`
	Action  AuditAction  `json:"action"`
	Outcome AuditOutcome `json:"outcome"`

	// Who acted: an admin or the token's user, by name and id; a client for
	// itself; or the operator of the machine.
	ActorUser   string `json:"actor_user,omitempty"`
	ActorUserID string `json:"actor_user_id,omitempty"`
	ActorClient string `json:"actor_client,omitempty"` // the client that the act came through, or that acted itself
	Local       bool   `json:"local,omitempty"`        // done on the store itself, without a server

	// Whom or what the act concerns, if not who acted.
	Username string `json:"username,omitempty"`
	UserID   string `json:"user_id,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	GrantID  string `json:"grant_id,omitempty"`
	Object   string `json:"object,omitempty"` // the id of another object: a key or a receipt

	Address   netip.Addr `json:"address,omitzero"` // of the request
	RequestID string     `json:"request_id,omitempty"`
	Detail    string     `json:"detail,omitempty"` // a fixed text, for people
}

// AuditOutcome is the outcome of an act.
type AuditOutcome string

// The outcomes of an AuditEvent.
const (
	Success  AuditOutcome = "success"
	Failure  AuditOutcome = "failure"
	Accepted AuditOutcome = "accepted" // about to be done: written before an admin's act
)

// AuditAction names a kind of act: words separated by dots, the object before
// the verb.
type AuditAction string

// The actions of an AuditEvent.
const (
	ActSignIn         AuditAction = "signin"          // any grant that isn't a refresh
	ActRefresh        AuditAction = "refresh"         // a refresh token was spent
	ActRetry          AuditAction = "refresh.retry"   // a spent refresh token again, in the retry window
	ActReuse          AuditAction = "refresh.reuse"   // a spent refresh token again, after it: its grant ended
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
