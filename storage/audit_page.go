package storage

import (
	"slices"
	"strings"
)

// AuditQuery says which events to list. Texts are compared as a whole; an empty
// field filters nothing.
type AuditQuery struct {
	// After and Before are cursors; at most one may be set. After lists the events
	// next after an event, Before those last before it. Without them the list has
	// the latest events.
	After, Before string

	Action AuditAction // this action and those below it: refresh finds refresh.retry too
	User   string      // name or id of the user who acted, or whom the act concerns
	Client string      // id of the client that acted, that the act came through or that it concerns
}

// AuditPage is a part of the trail.
type AuditPage struct {
	Events []AuditEvent // in order

	// Next is the value of After for the events that follow this page, now or
	// later. It is the query's After if nothing followed that. For an empty page
	// of the latest events it is the beginning of the trail.
	Next string

	// Previous is the value of Before for the events that precede this page, "" if
	// none do. It is empty in a page of After: use the id of an event there.
	Previous string
}

// Matches reports whether q asks for the event, whatever its position.
func (q AuditQuery) Matches(e AuditEvent) bool {
	below, named := strings.CutPrefix(string(e.Action), string(q.Action))
	return named && (q.Action == "" || below == "" || below[0] == '.') &&
		(q.User == "" || q.User == e.ActorUser || q.User == e.ActorUserID || q.User == e.Username || q.User == e.UserID) &&
		(q.Client == "" || q.Client == e.ActorClient || q.Client == e.ClientID)
}

// filtered reports whether q asks for some events only.
func (q AuditQuery) filtered() bool { return q.Action != "" || q.User != "" || q.Client != "" }

// Scan returns how many events a store has to read for a page of up to limit
// events.
func (q AuditQuery) Scan(limit int) int {
	if q.filtered() {
		return AuditScan
	}
	return min(max(limit, 0), AuditScan)
}

// Page makes the page of up to limit events from found: the q.Scan(limit)
// events that a store read, or fewer if there are no more, the nearest to the
// cursor first. origin is the cursor before the whole trail.
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
