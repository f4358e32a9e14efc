package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

// auditList is a page of the trail, in order. A page may hold fewer events than
// the limit, even none, although there are more.
type auditList struct {
	Events   []storage.AuditEvent `json:"events"`
	Next     string               `json:"next"`               // value for after; unchanged if there was no later event
	Previous string               `json:"previous,omitempty"` // value for before; only in pages that go towards the beginning
}

const (
	// maxWait is the longest that a request may wait for an event. Common time
	// limits of proxies are longer.
	maxWait = 25 * time.Second

	// auditPoll is how often a waiting request asks the store.
	auditPoll = 500 * time.Millisecond

	// maxAuditScans bounds how many pages of the store are read for one answer.
	maxAuditScans = 10
)

// listAudit answers with the latest events, or with those before or after a
// cursor. With wait, it waits for an event if there is none. The id of an event
// is a cursor.
func (a *API) listAudit(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	limit, err := limitOf(q)
	if err != nil {
		return err
	}
	query, err := auditQueryOf(q)
	if err != nil {
		return err
	}
	wait, err := waitOf(q)
	if err != nil {
		return err
	}
	page, err := a.findEvents(r.Context(), query, limit)
	if err != nil || len(page.Events) > 0 || wait == 0 {
		return writeEvents(w, query, page, err)
	}
	prolong(w, wait)
	query.After = page.Next
	page, err = a.awaitEvents(r.Context(), query, limit, wait)
	// The caller may have lost access meanwhile, perhaps by the very events found.
	answer := a.endpoint(func(w http.ResponseWriter, _ *http.Request) error { return writeEvents(w, query, page, err) })
	a.cfg.Guard(answer).ServeHTTP(w, r)
	return nil
}

func writeEvents(w http.ResponseWriter, query storage.AuditQuery, page storage.AuditPage, err error) error {
	switch {
	case errors.Is(err, storage.ErrNotFound):
		field := "after"
		if query.Before != "" {
			field = "before"
		}
		return wrong(field, "isn't a cursor of this list")
	case err != nil:
		return err
	}
	return writeJSON(w, http.StatusOK, auditList{
		Events:   append([]storage.AuditEvent{}, page.Events...),
		Next:     page.Next,
		Previous: page.Previous,
	})
}

func auditQueryOf(q url.Values) (storage.AuditQuery, error) {
	query := storage.AuditQuery{
		After:  q.Get("after"),
		Before: q.Get("before"),
		Action: storage.AuditAction(q.Get("action")),
		Client: q.Get("client"),
	}
	if query.After != "" && query.Before != "" {
		return query, wrong("before", "can't be combined with after")
	}
	if strings.ContainsFunc(string(query.Action), func(r rune) bool { return r != '.' && (r < 'a' || r > 'z') }) {
		return query, wrong("action", "isn't the name of an action, such as signin or user.update")
	}
	var err error
	query.User, err = auditUser(q.Get("user"))
	return query, err
}

// auditUser returns a name in the form that the trail has, or an id unchanged. The user
// needn't exist: events outlive users.
func auditUser(text string) (string, error) {
	if text == "" || strings.HasPrefix(text, storage.UserIDPrefix) {
		return text, nil
	}
	name, err := passhash.Username(text)
	if err != nil {
		return "", wrong("user", "isn't a valid username or user id")
	}
	return name, nil
}

func waitOf(q url.Values) (time.Duration, error) {
	text := q.Get("wait")
	if text == "" {
		return 0, nil
	}
	seconds, err := strconv.ParseUint(text, 10, 16)
	wait := time.Duration(seconds) * time.Second
	switch {
	case err != nil || wait > maxWait:
		return 0, wrong("wait", fmt.Sprintf("has to be a whole number of seconds from 0 to %d", maxWait/time.Second))
	case q.Get("after") == "":
		return 0, wrong("wait", "can be used only with after")
	}
	return wait, nil
}

// findEvents reads up to maxAuditScans pages of the store until one has an
// event.
func (a *API) findEvents(ctx context.Context, q storage.AuditQuery, limit int) (storage.AuditPage, error) {
	page, err := a.cfg.Store.ListAudit(ctx, q, limit)
	if q.After != "" {
		for scans := 1; err == nil && scans < maxAuditScans && len(page.Events) == 0 && page.Next != q.After; scans++ {
			q.After = page.Next
			page, err = a.cfg.Store.ListAudit(ctx, q, limit)
		}
		return page, err
	}
	next := page.Next // after the first page that was read
	for scans := 1; err == nil && scans < maxAuditScans && len(page.Events) == 0 && page.Previous != ""; scans++ {
		q.Before = page.Previous
		page, err = a.cfg.Store.ListAudit(ctx, q, limit)
	}
	page.Next = next
	return page, err
}

// awaitEvents polls until there is an event, the time is over, the client hangs
// up or the server stops.
func (a *API) awaitEvents(ctx context.Context, q storage.AuditQuery, limit int, wait time.Duration) (storage.AuditPage, error) {
	late := time.NewTimer(wait)
	defer late.Stop()
	poll := time.NewTicker(auditPoll)
	defer poll.Stop()
	for {
		page, err := a.findEvents(ctx, q, limit)
		if err != nil || len(page.Events) > 0 {
			return page, err
		}
		q.After = page.Next
		select {
		case <-late.C:
			return page, nil
		case <-a.waiting.Done():
			return page, nil
		case <-ctx.Done():
			return page, nil // nobody reads it
		case <-poll.C:
		}
	}
}

// prolong extends the deadlines of the connection by the wait. The deadline for
// reading matters too: when it passes, net/http cancels the request.
func prolong(w http.ResponseWriter, wait time.Duration) {
	const slack = 10 * time.Second
	c, end := http.NewResponseController(w), time.Now().Add(wait+slack)
	// Errors don't matter: a writer without a connection has no deadlines.
	_, _ = c.SetReadDeadline(end), c.SetWriteDeadline(end)
}

// StopWaiting ends the waits of requests at once, and lets no further request
// wait, for a server that is about to shut down.
func (a *API) StopWaiting() { a.stopWaiting() }
