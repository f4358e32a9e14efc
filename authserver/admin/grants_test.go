package admin_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

type grantPage struct {
	Grants []admin.Grant `json:"grants"`
	Next   string        `json:"next"`
}

// listGrants walks all pages of the query, each with that limit, and fails the test
// when one is listed twice.
func (f *fixture) listGrants(t *testing.T, query, limit string) map[string]admin.Grant {
	t.Helper()
	all := map[string]admin.Grant{}
	for cursor, pages := "", 0; ; pages++ {
		var page grantPage
		f.send(t, "GET", "/grants?limit="+limit+query+cursor, "").want(t, http.StatusOK).into(t, &page)
		for _, g := range page.Grants {
			if _, twice := all[g.ID]; twice {
				t.Fatalf("%s: grant %s is listed twice", query, g.ID)
			}
			all[g.ID] = g
		}
		if page.Next == "" {
			return all
		}
		if cursor = "&cursor=" + page.Next; pages > 5000 {
			t.Fatalf("%s: the list has no end", query)
		}
	}
}

func TestAGrantIsShownWithoutItsTokens(t *testing.T) {
	f := newFixture(t)
	g := storage.Grant{
		ID: storage.NewGrantID("usr_a"), Type: storage.Password, UserID: "usr_a", Username: "alice", ClientID: "web",
		Scope: "read write", AccessScope: "read", Audience: "https://a.test urn:b", AccessAudience: "urn:b",
		Generation: 3, Access: storage.Digest{1}, Refresh: storage.Digest{2},
		Created: f.now().Add(-time.Hour), Issued: f.now(), AccessExpiry: f.now().Add(time.Hour), RefreshExpiry: f.now().Add(2 * time.Hour), End: f.now().Add(3 * time.Hour),
		Address: netip.MustParseAddr("2001:db8::7"), UserAgent: "curl/8.10.1 \xff",
	}
	var err error
	if g.Epoch, err = f.store.Epoch(t.Context(), g.ID); err != nil {
		t.Fatal(err)
	}
	if err := f.store.CreateGrant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	a := f.send(t, "GET", "/grants/"+g.ID.String(), "").want(t, http.StatusOK)
	var got admin.Grant
	a.into(t, &got)
	want := admin.Grant{
		ID: g.ID.String(), Type: "password", UserID: "usr_a", Username: "alice", ClientID: "web", Scope: "read write",
		Audience: []string{"https://a.test", "urn:b"}, Created: g.Created, Issued: g.Issued,
		AccessExpires: g.AccessExpiry, RefreshExpires: g.RefreshExpiry, Expires: g.End,
		Address: "2001:db8::7", UserAgent: "curl/8.10.1 \uFFFD",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	client := f.addGrant(t, "", "web")
	a = f.send(t, "GET", "/grants/"+client.String(), "").want(t, http.StatusOK)
	for _, absent := range []string{"user_id", "username", "refresh_expires", "address", "user_agent", "audience"} {
		if strings.Contains(a.body, absent) {
			t.Errorf("the grant of a client has %s: %s", absent, a.body)
		}
	}
	for _, id := range []string{storage.NewGrantID("").String(), "x", "%20", client.String() + "="} {
		f.send(t, "GET", "/grants/"+id, "").problem(t, http.StatusNotFound, "not_found")
	}
}

func TestAGrantIsEndedOnce(t *testing.T) {
	w := newWorld(t)
	began := len(w.events.all())
	for range 2 {
		w.send(t, "DELETE", "/grants/"+w.grants["alice-web"].String(), "").want(t, http.StatusNoContent)
	}
	w.send(t, "DELETE", "/grants/no-id", "").want(t, http.StatusNoContent)
	if living := w.living(t); living != "alice-cli-1 alice-cli-2 bob-web" {
		t.Errorf("these live: %s", living)
	}
	events := w.events.all()[began:]
	if len(events) != 1 || events[0].Action != storage.ActGrantEnd || events[0].GrantID != w.grants["alice-web"].String() ||
		events[0].UserID != w.ids["alice"] || events[0].ClientID != "web" || !storage.ValidReceiptID(events[0].Object) {
		t.Errorf("events: %+v", events)
	}
}

func TestGrantFilters(t *testing.T) {
	w := newWorld(t)
	keep := func(name, user, client, address string, age time.Duration) {
		id := storage.NewGrantID(user)
		epoch, err := w.store.Epoch(t.Context(), id)
		g := storage.Grant{
			ID: id, Epoch: epoch, Type: storage.Password, UserID: user, Username: name, ClientID: client, Scope: "read", AccessScope: "read",
			Generation: 1, Access: storage.Digest{1}, Address: netip.MustParseAddr(address),
			Created: w.now().Add(-age), Issued: w.now(), AccessExpiry: w.now().Add(time.Hour), End: w.now().Add(24 * time.Hour),
		}
		if err := errors.Join(err, w.store.CreateGrant(t.Context(), g)); err != nil {
			t.Fatal(err)
		}
		w.grants[name] = id
	}
	w.setClock(w.now().Add(10 * time.Hour)) // the access tokens of newWorld's grants have expired, and with them the grants
	alice, bob := w.ids["alice"], w.ids["bob"]
	keep("a1", alice, "cli", "192.0.2.7", 3*time.Hour)
	keep("a2", alice, "web", "192.0.2.8", 2*time.Hour)
	keep("a3", alice, "web", "::ffff:192.0.2.9", time.Hour)
	keep("b1", bob, "web", "2001:db8::1", 2*time.Hour)
	keep("b2", bob, "cli", "198.51.100.1", 0)
	keep("stray", bob, "deleted-client", "192.0.2.7", 0) // its client doesn't exist, so a list of all grants doesn't have it
	at := func(ago time.Duration) string { return url.QueryEscape(w.now().Add(-ago).Format(time.RFC3339Nano)) }
	for query, want := range map[string]string{
		"":                                    "a1 a2 a3 b1 b2",
		"&user=alice":                         "a1 a2 a3",
		"&user=ALICE":                         "a1 a2 a3",
		"&client=web":                         "a2 a3 b1",
		"&user=alice&client=web":              "a2 a3",
		"&user=bob&client=cli":                "b2",
		"&issued_before=" + at(2*time.Hour):   "a1",
		"&issued_after=" + at(2*time.Hour):    "a2 a3 b1 b2",
		"&issued_after=" + at(-time.Hour):     "",
		"&issued_before=0001-01-01T00:00:00Z": "",
		"&issued_before=" + at(time.Hour) + "&issued_after=" + at(2*time.Hour) + "&user=bob": "b1",
		"&address=192.0.2.7":              "a1",
		"&address=192.0.2.9":              "a3",
		"&address=%3A%3Affff%3A192.0.2.9": "a3",
		"&address=192.0.2.0%2F24":         "a1 a2 a3",
		"&address=2001%3Adb8%3A%3A%2F32":  "b1",
		"&address=0.0.0.0%2F0":            "a1 a2 a3 b2",
		"&address=203.0.113.1":            "",
	} {
		for _, limit := range []string{"1", "2", "1000"} {
			listed := w.listGrants(t, query, limit)
			var got []string
			for _, name := range []string{"a1", "a2", "a3", "b1", "b2", "stray"} {
				if _, found := listed[w.grants[name].String()]; found {
					got = append(got, name)
				}
			}
			if strings.Join(got, " ") != want || len(listed) != len(got) {
				t.Errorf("%q by %s: %q and %d in all, want %q", query, limit, got, len(listed), want)
			}
		}
	}
}

// A cursor works only in the list that it came from.
func TestACursorBelongsToItsTargetAndFilters(t *testing.T) {
	w := newWorld(t)
	queries := []string{
		"", "&user=alice", "&client=web", "&client=cli", "&user=alice&client=web", "&address=192.0.2.0%2F24", "&address=2001:db8::1",
		"&issued_before=2100-01-01T00:00:00Z", "&issued_after=2100-01-01T00:00:00Z", "&issued_before=2100-01-01T00:00:00.000000001Z",
		"&issued_after=1960-01-01T00:00:00Z",
	}
	cursors := map[string]string{}
	for _, query := range queries {
		var page grantPage
		w.send(t, "GET", "/grants?limit=1"+query, "").want(t, http.StatusOK).into(t, &page)
		if page.Next != "" {
			cursors[query] = page.Next
		}
	}
	if len(cursors) < 7 {
		t.Fatalf("too few lists have a second page: %q", cursors)
	}
	for of, cursor := range cursors {
		for _, query := range queries {
			a := w.send(t, "GET", "/grants?limit=2&cursor="+cursor+query, "")
			if query == of {
				a.want(t, http.StatusOK)
			} else if a.status != http.StatusBadRequest {
				t.Errorf("the cursor of %q is taken for %q: %d %s", of, query, a.status, a.body)
			}
		}
	}
	w.send(t, "GET", "/grants?user=ALICE&cursor="+cursors["&user=alice"], "").want(t, http.StatusOK) // the same user
}

// Package time accepts more than RFC 3339 section 5.6 allows.
func TestTimesOfRFC3339(t *testing.T) {
	w := newWorld(t)
	for text, good := range map[string]bool{
		"2026-11-25T01:00:00Z": true, "2026-11-25T01:00:00.5Z": true, "2026-11-25T01:00:00-23:59": true, "2024-02-29T23:59:59+01:00": true,
		"2026-11-25T1:00:00Z": false, "2026-11-25T01:00:00,5Z": false, "2026-11-25T01:00:00+24:00": false, "2026-11-25T01:00:00+01:60": false,
		"2026-11-25T01:00:00.Z": false, "2026-11-25 01:00:00Z": false, "2026-11-25T01:00:00": false, "2026-02-29T01:00:00Z": false,
		"2026-11-25T24:00:00Z": false, "02026-11-25T01:00:00Z": false, "2026-11-25T01:00:00Z\n": false,
	} {
		for _, query := range []string{"issued_before", "issued_after"} {
			a := w.send(t, "GET", "/grants?"+query+"="+url.QueryEscape(text), "")
			if good {
				a.want(t, http.StatusOK)
			} else {
				a.problem(t, 400, "invalid_field", query)
			}
		}
		body, _ := json.Marshal(map[string]string{"client": "cli", "issued_before": text})
		if a := w.send(t, "POST", "/revocations", string(body)); (a.status < 300) != good {
			t.Errorf("%q: status %d, good is %t", text, a.status, good)
		}
	}
	w.api.Wait()
}

func TestMalformedGrantQueries(t *testing.T) {
	w := newWorld(t)
	var page grantPage
	w.send(t, "GET", "/grants?limit=1", "").want(t, http.StatusOK).into(t, &page)
	ofAll := page.Next
	text, err := base64.RawURLEncoding.DecodeString(ofAll)
	if err != nil {
		t.Fatal(err)
	}
	spoilt := base64.RawURLEncoding.EncodeToString(append(text, '!')) // a cursor that the store can't read
	w.send(t, "GET", "/grants?limit=1&user=alice", "").want(t, http.StatusOK).into(t, &page)
	for query, field := range map[string]string{
		"issued_before=yesterday": "issued_before", "issued_after=2026-01-01": "issued_after",
		"address=here": "address", "address=192.0.2.7%2F24": "address", "address=fe80%3A%3A1%25eth0": "address", "address=192.0.2.0%2F33": "address",
		"limit=0": "limit", "limit=1001": "limit", "cursor=x": "cursor", "cursor=" + spoilt: "cursor",
		"user=alice&cursor=" + ofAll: "cursor", "cursor=" + page.Next: "cursor", "user=": "user", "grant=x": "grant", "user=a&user=b": "user",
	} {
		w.send(t, "GET", "/grants?"+query, "").problem(t, 400, "invalid_field", field)
	}
	for _, query := range []string{"user=nobody", "user=no%20name", "client=nothing", "user=alice&client=nothing"} {
		w.send(t, "GET", "/grants?"+query, "").problem(t, 404, "not_found")
	}
}

// A page looks at a bounded number of grants, however few match the filter.
func TestAPageOfAFilteredListIsBounded(t *testing.T) {
	w := newWorld(t)
	for range 4000 {
		w.addGrant(t, w.ids["bob"], "web")
	}
	var page grantPage
	w.send(t, "GET", "/grants?client=web&address=203.0.113.1", "").want(t, http.StatusOK).into(t, &page)
	if len(page.Grants) != 0 || page.Next == "" {
		t.Errorf("%d grants, next %q", len(page.Grants), page.Next)
	}
	if all := w.listGrants(t, "&client=web&address=203.0.113.1", "100"); len(all) != 0 {
		t.Errorf("%d grants pass", len(all))
	}
}

// A grant that lives from the first page to the last is listed exactly once,
// whatever other grants come and go.
func TestGrantsUnderChurn(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { churned(t, newWorld(t)) })
	t.Run("redis", func(t *testing.T) {
		now := time.Date(2030, 1, 2, 3, 4, 6, 0, time.UTC) // the time of the fixture
		store, err := redisstore.Open(redistest.Single(t).URL(), redisstore.WithClock(func() time.Time { return now }))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		churned(t, newWorld(t, func(c *admin.Config) { c.Store.(*faultyStore).Store = store }))
	})
}

func churned(t *testing.T, w *world) {
	lasting := map[string][2]string{} // user and client
	for range 60 {
		for _, user := range []string{"alice", "bob"} {
			for _, client := range []string{"cli", "web"} {
				lasting[w.addGrant(t, w.ids[user], client).String()] = [2]string{user, client}
			}
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	for _, client := range []string{"cli", "web"} {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := w.addGrant(t, w.ids["alice"], client)
				if i%7 == 0 && i < 300 {
					continue // some stay, so that the list grows as it is read
				}
				if err := w.store.DeleteGrant(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for query, of := range map[string][2]string{
		"": {}, "&user=alice": {"alice", ""}, "&client=web": {"", "web"}, "&user=alice&client=web": {"alice", "web"},
		"&issued_after=2000-01-01T00:00:00Z": {},
	} {
		listed := w.listGrants(t, query, "7")
		for id, is := range lasting {
			_, found := listed[id]
			if want := (of[0] == "" || of[0] == is[0]) && (of[1] == "" || of[1] == is[1]); found != want {
				t.Errorf("%q: grant %s of %v, which lived throughout, is listed: %t, want %t", query, id, is, found, want)
			}
		}
	}
}
