package storage

import (
	"slices"
	"strings"
)

// AuditQuery says which events to list. Its texts are compared whole; empty ones
// ask for nothing.
type AuditQuery struct {
	// After and Before are cursors, of which one may be set: what comes after an
	// event, from there on, or before it, from there back. Without them the list is
	// of the latest events.
	After, Before string

	Action AuditAction // this one, and those that are named below it: refresh finds refresh.retry too
	User   string      // name or id of who acted, or of whom it concerns
	Client string      // id of the client that acted, that the act came through or that it concerns
}

// AuditPage is a part of the trail.
type AuditPage struct {
	Events []AuditEvent // in order

	// Next is the cursor After which what follows this page is found, now or
	// later. It is the query's After when there was nothing after it. Of an empty
	// page of the latest events it is the beginning of the trail.
	Next string

	// Previous is the cursor Before which what precedes this page is found, "" when
	// nothing does. A page after a cursor has none: the id of any event is one.
	Previous string
}

// Matches reports whether the event is one that q asks for, wherever it is.
func (q AuditQuery) Matches(e AuditEvent) bool {
	below, named := strings.CutPrefix(string(e.Action), string(q.Action))
	return named && (q.Action == "" || below == "" || below[0] == '.') &&
		(q.User == "" || q.User == e.ActorUser || q.User == e.ActorUserID || q.User == e.Username || q.User == e.UserID) &&
		(q.Client == "" || q.Client == e.ActorClient || q.Client == e.ClientID)
}

// filtered: not every event is asked for.
func (q AuditQuery) filtered() bool { return q.Action != "" || q.User != "" || q.Client != "" }

// Scan returns how many events a store has to look at for a page of up to limit
// events.
func (q AuditQuery) Scan(limit int) int {
	if q.filtered() {
		return AuditScan
	}
	return min(max(limit, 0), AuditScan)
}

// Page makes the page of up to limit events out of those that a store found when
// it looked at q.Scan(limit) events: first the nearest to the cursor. origin is the
// cursor After which the whole trail is.
func (q AuditQuery) Page(found []AuditEvent, limit int, origin string) AuditPage {
	var p AuditPage
	seen := 0
	for ; seen < len(found) && len(p.Events) < limit; seen++ {
		if q.Matches(found[seen]) {
			p.Events = append(p.Events, found[seen])
		}
	}
	if q.After != "" {
		p.Next = q.After
		if seen > 0 {
			p.Next = found[seen-1].ID
		}
		return p
	}
	slices.Reverse(p.Events)
	p.Next = origin
	if seen > 0 {
		p.Next = found[0].ID
	}
	if seen > 0 && (seen < len(found) || seen == q.Scan(limit)) {
		p.Previous = found[seen-1].ID
	}
	return p
}
