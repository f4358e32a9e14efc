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

// grantList is a page of grants. A page may hold fewer than the limit, even
// none, although there is a next page.
type grantList struct {
	Grants []Grant `json:"grants"`
	Next   string  `json:"next,omitempty"`
}

// listGrants lists live grants: those of a user or a client in the order of the
// store, all grants client by client. A grant that lives from the first page to
// the last is listed exactly once, whatever comes and goes meanwhile.
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
		return errGrantCursor // the store doesn't know the cursor within
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

var errGrantCursor = wrong("cursor", "isn't a cursor of this list with these filters")

// grantFilter says which grants are listed. A zero field filters nothing.
type grantFilter struct {
	target        storage.Target // zero: all
	client        string         // set only together with a user
	before, after time.Time      // bounds of the sign-in: before is exclusive, after inclusive
	network       netip.Prefix   // of the sign-in's address
}

// grantFilterOf reads the query. An unknown user or client is 404, as for a
// revocation: an empty list would say that it exists and has no grants.
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

// list names the list in its cursors, so that no cursor works for another
// target or filter.
func (f grantFilter) list() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d %d %s", f.target.UserID, f.target.ClientID, f.client, mark(f.before), mark(f.after), f.network))
	return "grants " + hex.EncodeToString(sum[:8])
}

// mark gives different values for different times, and nil for none.
func mark(t time.Time) []int64 {
	if t.IsZero() {
		return nil
	}
	return []int64{t.Unix(), int64(t.Nanosecond())}
}

// userNamed returns the user of that name, in any case or width.
func (a *API) userNamed(ctx context.Context, name string) (storage.User, error) {
	kept, err := passhash.Username(name)
	if err != nil {
		return storage.User{}, errNoUser // no user can have that name
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

// rfc3339 is the form of RFC 3339 section 5.6. Package time accepts more: hours of one
// digit, a comma for the point, and offsets of a day.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// parseTime reads a time. A time before 1970 becomes 1970, when there were no
// grants either. So the result is never the zero time, which means none.
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
	maxLooks = 3000 // grants that are read for one page
	maxSteps = 50   // calls of the store for one page
	grabbed  = 500  // grants in one call of the store, when the filter may drop most
)

// grantPage gathers a page from a position on: the client, when all grants are
// listed, and the store's cursor.
type grantPage struct {
	*API
	filter       grantFilter
	limit        int
	looks, steps int // left

	client, inner string
	found         []storage.Grant
	over          bool // the list has ended
}

// fill gathers until the page is full, enough grants were read, or the list has
// ended.
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

// nextClient moves on to the grants of the next client.
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

// take makes one step in the list of the target. If more grants pass the filter
// than the page has room for, it asks the store again for just as many as fit,
// because only the store can give the cursor after those.
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

// pass returns the grants that pass the filter, and how many of grants it takes
// to fill the room.
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
