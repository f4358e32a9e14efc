package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

// grantList is a page of grants. One may hold fewer than the limit, even none, while
// there is a next one.
type grantList struct {
	Grants []Grant `json:"grants"`
	Next   string  `json:"next,omitempty"`
}

// listGrants lists live grants: of a user or of a client in the order of the store,
// of all client by client. One that lives from the first page to the last is
// listed exactly once, whatever comes and goes meanwhile.
func (a *API) listGrants(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	limit, err := limitOf(q)
	if err != nil {
		return err
	}
	f, err := a.grantFilterOf(r.Context(), q)
	if err != nil {
		return err
	}
	p := grantPage{API: a, filter: f, limit: limit, looks: maxLooks, steps: maxSteps}
	if cursor := q.Get("cursor"); cursor != "" {
		position, ok := parseCursor(f.list(), cursor)
		if p.client, p.inner, _ = strings.Cut(position, "\x00"); !ok || f.target == (storage.Target{}) != (p.client != "") {
			return errGrantCursor
		}
	}
	err = p.fill(r.Context())
	if errors.Is(err, storage.ErrNotFound) {
		return errGrantCursor // the store doesn't know what is in it
	}
	if err != nil {
		return err
	}
	answer := grantList{Grants: []Grant{}}
	for _, g := range p.found {
		answer.Grants = append(answer.Grants, shownGrant(g))
	}
	if !p.over {
		answer.Next = newCursor(f.list(), p.client+"\x00"+p.inner)
	}
	return writeJSON(w, http.StatusOK, answer)
}

var errGrantCursor = wrong("cursor", "isn't one that this list gave")

// grantFilter says which grants are listed; what is zero doesn't matter.
type grantFilter struct {
	target        storage.Target // zero: all
	client        string         // beside a user
	before, after time.Time      // of the sign-in: before it; at it or after it
	network       netip.Prefix   // of the sign-in's address
}

// grantFilterOf reads the query. A user or a client that doesn't exist is 404, as
// for a revocation: an empty list would say that nobody there has access.
func (a *API) grantFilterOf(ctx context.Context, q url.Values) (f grantFilter, err error) {
	if f.before, err = queryTime(q, "issued_before"); err != nil {
		return f, err
	}
	if f.after, err = queryTime(q, "issued_after"); err != nil {
		return f, err
	}
	if f.network, err = queryNetwork(q, "address"); err != nil {
		return f, err
	}
	if id := q.Get("client"); id != "" {
		if _, err := a.loadClient(ctx, id); err != nil {
			return f, err
		}
		f.target.ClientID = id
	}
	if name := q.Get("user"); name != "" {
		u, err := a.userNamed(ctx, name)
		if err != nil {
			return f, err
		}
		f.target, f.client = storage.Target{UserID: u.ID}, f.target.ClientID
	}
	return f, nil
}

// list names the list in its cursors, so that nobody goes on in the list of another
// target or with another filter.
func (f grantFilter) list() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d %d %s", f.target.UserID, f.target.ClientID, f.client, mark(f.before), mark(f.after), f.network))
	return "grants " + hex.EncodeToString(sum[:8])
}

// mark tells times of a filter apart, none included.
func mark(t time.Time) []int64 {
	if t.IsZero() {
		return nil
	}
	return []int64{t.Unix(), int64(t.Nanosecond())}
}

// userNamed is the user of that name, however it is spelt.
func (a *API) userNamed(ctx context.Context, name string) (storage.User, error) {
	kept, err := passhash.Username(name)
	if err != nil {
		return storage.User{}, errNoUser // nobody can have that name
	}
	return a.loadUser(ctx, kept)
}

func queryTime(q url.Values, name string) (time.Time, error) {
	text := q.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	t, ok := parseTime(text)
	if !ok {
		return t, wrong(name, notTime)
	}
	return t, nil
}

const notTime = "has to be a time as in RFC 3339, such as 2026-11-25T12:00:00Z"

// rfc3339 is the form of RFC 3339 section 5.6, of which package time takes more: hours
// of one digit, a comma for the point, and offsets of a day.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// parseTime reads a time. One before 1970 is as good as 1970, when there was no
// grant, and is never the zero time, which means none.
func parseTime(text string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if !rfc3339.MatchString(text) {
		return t, false
	}
	if epoch := time.Unix(0, 0); t.Before(epoch) {
		t = epoch
	}
	return t.UTC(), err == nil
}

func queryNetwork(q url.Values, name string) (netip.Prefix, error) {
	text := q.Get(name)
	if text == "" {
		return netip.Prefix{}, nil
	}
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil || network != network.Masked() {
		return netip.Prefix{}, wrong(name, "has to be an IP address, or a network such as 192.0.2.0/24")
	}
	return network, nil
}

func (f grantFilter) all() bool {
	return f.client == "" && f.before.IsZero() && f.after.IsZero() && !f.network.IsValid()
}

func (f grantFilter) passes(g storage.Grant) bool {
	return (f.client == "" || g.ClientID == f.client) &&
		(f.before.IsZero() || g.Created.Before(f.before)) && !g.Created.Before(f.after) &&
		(!f.network.IsValid() || f.network.Contains(g.Address.Unmap()))
}

const (
	maxLooks = 3000 // grants that are looked at for one page
	maxSteps = 50   // calls of the store for one page
	grabbed  = 500  // grants of one call, when a filter may refuse most
)

// grantPage gathers a page, from a place on: a client, when all are listed, and a
// cursor of the store's.
type grantPage struct {
	*API
	filter       grantFilter
	limit        int
	looks, steps int // left

	client, inner string
	found         []storage.Grant
	over          bool // there is nothing more
}

// fill gathers until the page is full, enough was looked at, or all is over.
func (p *grantPage) fill(ctx context.Context) error {
	all := p.filter.target == (storage.Target{})
	if all && p.client == "" {
		if err := p.nextClient(ctx); err != nil {
			return err
		}
	}
	for !p.over && len(p.found) < p.limit && p.looks > 0 && p.steps > 0 {
		target := p.filter.target
		if all {
			target = storage.Target{ClientID: p.client}
		}
		ended, err := p.take(ctx, target)
		if err != nil {
			return err
		}
		switch {
		case ended && all:
			err = p.nextClient(ctx)
		case ended:
			p.over = true
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// nextClient goes on with the grants of the next client.
func (p *grantPage) nextClient(ctx context.Context) error {
	p.steps--
	clients, err := p.cfg.Store.ListClients(ctx, p.client, 1)
	if err != nil {
		return err
	}
	if p.over = len(clients) == 0; !p.over {
		p.client, p.inner = clients[0].ID, ""
	}
	return nil
}

// take makes one step in the list of the target. When more pass the filter than the
// page has room for, it asks again for just as many as there is room: the cursor
// after those is the store's to give.
func (p *grantPage) take(ctx context.Context, t storage.Target) (ended bool, err error) {
	room := p.limit - len(p.found)
	size := room
	if !p.filter.all() {
		size = max(size, grabbed)
	}
	for {
		p.steps--
		grants, next, err := p.cfg.Store.ListGrants(ctx, t, p.inner, size)
		if err != nil {
			return false, err
		}
		passed, upTo := p.pass(grants, room)
		if len(passed) > room {
			size = min(upTo, size-1)
			continue
		}
		p.looks -= max(len(grants), 1)
		p.found, p.inner = append(p.found, passed...), next
		return next == "", nil
	}
}

// pass returns those that pass the filter, and how many grants it takes to have as
// many as there is room for.
func (p *grantPage) pass(grants []storage.Grant, room int) (passed []storage.Grant, upTo int) {
	for i, g := range grants {
		if !p.filter.passes(g) {
			continue
		}
		if passed = append(passed, g); len(passed) == room {
			upTo = i + 1
		}
	}
	return passed, upTo
}
