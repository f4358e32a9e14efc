package storagetest

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/grantd/grantd/storage"
)

var grantChecks = []check{
	{"a created grant loads with every field", grantKeepsFields},
	{"a grant of any content loads and lists as it was created", anyGrantSurvives},
	{"an unknown grant is not found", unknownGrant},
	{"creating the same grant again succeeds", createRepeated},
	{"creating another grant under a taken id is refused", createTaken},
	{"of concurrent grants under one id exactly one is kept", createRace},
	{"a deleted grant is gone and leaves nothing", deleteGrant},
	{"deleting one grant leaves the others", deleteLeavesOthers},
	{"ping answers", func(t *testing.T, f Fixture) { wantErr(t, "Ping", f.Store.Ping(t.Context()), nil) }},
	{"a store that can do all its work says so", func(t *testing.T, f Fixture) {
		wantHealth(t, f.Store, storage.Health{State: storage.Healthy})
	}},
}

// specimens are grants with values that a store could lose.
func specimens(f Fixture) map[string]storage.Grant {
	now := f.Now()
	with := func(change func(*storage.Grant)) storage.Grant {
		g := newGrant(f, alice, web)
		change(&g)
		return g
	}
	return map[string]storage.Grant{
		"plain":              newGrant(f, alice, web),
		"client_credentials": newGrant(f, "", web),
		"user id not base64": newGrant(f, "auth0|5f7c8ec7c33c6c004bbafe82", web),
		"non-ASCII names":    newGrant(f, "пользователь", "клиент 李 \U0001f600"),
		"IPv6":               with(func(g *storage.Grant) { g.Address = netip.MustParseAddr("2001:db8::7") }),
		"IPv4 in IPv6":       with(func(g *storage.Grant) { g.Address = netip.MustParseAddr("::ffff:192.0.2.7") }),
		"no address":         with(func(g *storage.Grant) { g.Address = netip.Addr{} }),
		"no user agent":      with(func(g *storage.Grant) { g.UserAgent = "" }),
		"long user agent":    with(func(g *storage.Grant) { g.UserAgent = strings.Repeat("M", storage.MaxUserAgent) }),
		"binary user agent":  with(func(g *storage.Grant) { g.UserAgent = "\x00\xff'\"\r\n" }),
		"narrowed access":    with(func(g *storage.Grant) { g.AccessScope = "read" }),
		"an audience":        with(func(g *storage.Grant) { g.Audience, g.AccessAudience = bothServers, bothServers }),
		"narrowed audience":  with(func(g *storage.Grant) { g.Audience, g.AccessAudience = bothServers, otherServer }),
		"access audience":    with(func(g *storage.Grant) { g.AccessAudience = apiServer }),
		"no scope":           with(func(g *storage.Grant) { g.Scope, g.AccessScope = "", "" }),
		"no refresh token":   with(func(g *storage.Grant) { g.Refresh, g.RefreshExpiry = storage.Digest{}, time.Time{} }),
		"late generation":    with(func(g *storage.Grant) { g.Generation = 1<<32 - 1 }),
		"issued later":       with(func(g *storage.Grant) { g.Created = now.Add(-72 * time.Hour) }),
	}
}

func grantKeepsFields(t *testing.T, f Fixture) {
	for name, g := range specimens(f) {
		t.Run(name, func(t *testing.T) {
			g := create(t.Context(), t, f, g)
			wantLive(t.Context(), t, f, g)
			next := successor(f, g)
			if g.Generation == 1<<32-1 {
				return // the greatest generation has no successor
			}
			swap(t, f, g, next, storage.Retry{})
			wantLive(t.Context(), t, f, next)
		})
	}
}

// anyGrant draws a grant that lives for at least ten minutes.
func anyGrant(f Fixture) *rapid.Generator[storage.Grant] {
	return rapid.Custom(func(t *rapid.T) storage.Grant {
		userID, clientID := rapid.String().Draw(t, "user"), rapid.StringN(1, 20, -1).Draw(t, "client")
		g := newGrant(f, userID, clientID)
		g.Username, g.UserAgent = rapid.String().Draw(t, "username"), rapid.StringN(-1, -1, storage.MaxUserAgent).Draw(t, "agent")
		g.Scope, g.AccessScope = rapid.String().Draw(t, "scope"), rapid.String().Draw(t, "access scope")
		g.Audience, g.AccessAudience = rapid.String().Draw(t, "audience"), rapid.String().Draw(t, "access audience")
		g.Generation = rapid.Uint32Min(1).Draw(t, "generation")
		// A store may also use a clock that can't be stopped.
		const shortest = int64(10 * time.Minute / time.Millisecond)
		millis := rapid.Int64Range(shortest, int64(400*24*time.Hour/time.Millisecond))
		span := func(name string) time.Duration {
			return time.Duration(millis.Draw(t, name)) * time.Millisecond
		}
		g.Created = g.Issued.Add(-span("age"))
		g.AccessExpiry, g.End = g.Issued.Add(span("access")), g.Issued.Add(span("end"))
		if g.Refresh != (storage.Digest{}) {
			g.RefreshExpiry = g.Issued.Add(span("refresh"))
		}
		switch rapid.IntRange(0, 2).Draw(t, "address") {
		case 0:
			g.Address = netip.Addr{}
		case 1:
			g.Address = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v6")))
		}
		return g
	})
}

func anyGrantSurvives(t *testing.T, f Fixture) {
	rapid.Check(t, func(rt *rapid.T) {
		g := create(t.Context(), rt, f, anyGrant(f).Draw(rt, "grant"))
		wantLive(t.Context(), rt, f, g)
		wantListed(t.Context(), rt, f, storage.Target{ClientID: g.ClientID}, g)
		if g.UserID != "" {
			wantListed(t.Context(), rt, f, storage.Target{UserID: g.UserID}, g)
		}
		wantErr(rt, "DeleteGrant", f.Store.DeleteGrant(t.Context(), g.ID), nil)
	})
	wantNoResidue(t, f)
}

func unknownGrant(t *testing.T, f Fixture) {
	g := newGrant(f, alice, web)
	wantGone(t.Context(), t, f, g.ID)
	_, err := f.Store.LoadRetry(t.Context(), g.ID)
	wantErr(t, "LoadRetry", err, storage.ErrNotFound)
	err = f.Store.SwapGrant(t.Context(), g, successor(f, g), retryOf(f, g, time.Minute))
	wantErr(t, "SwapGrant", err, storage.ErrNotFound)
	wantGone(t.Context(), t, f, g.ID)
	wantErr(t, "DeleteGrant", f.Store.DeleteGrant(t.Context(), g.ID), nil)
	wantNoResidue(t, f)
}

func createRepeated(t *testing.T, f Fixture) {
	g := created(t, f, alice, web)
	for range 3 {
		wantErr(t, "repeated CreateGrant", f.Store.CreateGrant(t.Context(), g), nil)
	}
	wantLive(t.Context(), t, f, g)
	wantListed(t.Context(), t, f, storage.Target{UserID: alice}, g)
}

func createTaken(t *testing.T, f Fixture) {
	g := created(t, f, alice, web)
	other := newGrant(f, alice, cli)
	other.ID, other.Epoch = g.ID, g.Epoch
	wantErr(t, "CreateGrant", f.Store.CreateGrant(t.Context(), other), storage.ErrExists)
	wantLive(t.Context(), t, f, g)
	wantListed(t.Context(), t, f, storage.Target{ClientID: web}, g)
	wantListed(t.Context(), t, f, storage.Target{ClientID: cli})
}

func createRace(t *testing.T, f Fixture) {
	for range 5 {
		first := newGrant(f, bob, web)
		epoch, err := f.Store.Epoch(t.Context(), first.ID)
		wantErr(t, "Epoch", err, nil)
		grants := make([]storage.Grant, 20)
		for i := range grants {
			grants[i] = newGrant(f, bob, web)
			grants[i].ID, grants[i].Epoch = first.ID, epoch
		}
		errs := concurrently(len(grants), func(i int) error { return f.Store.CreateGrant(t.Context(), grants[i]) })
		wantLive(t.Context(), t, f, grants[wantOneWinner(t, errs, storage.ErrExists)])
	}
}

func deleteGrant(t *testing.T, f Fixture) {
	g := created(t, f, alice, web)
	next := successor(f, g)
	swap(t, f, g, next, retryOf(f, g, time.Minute))
	for range 2 { // the second time the id is unknown, which is no error
		wantErr(t, "DeleteGrant", f.Store.DeleteGrant(t.Context(), g.ID), nil)
	}
	wantGone(t.Context(), t, f, g.ID)
	_, err := f.Store.LoadRetry(t.Context(), g.ID)
	wantErr(t, "LoadRetry", err, storage.ErrNotFound)
	err = f.Store.SwapGrant(t.Context(), next, successor(f, next), storage.Retry{})
	wantErr(t, "SwapGrant", err, storage.ErrNotFound)
	err = f.Store.SwapGrant(t.Context(), g, next, storage.Retry{})
	wantErr(t, "repeated SwapGrant", err, storage.ErrNotFound)
	wantListed(t.Context(), t, f, storage.Target{UserID: alice})
	wantListed(t.Context(), t, f, storage.Target{ClientID: web})
	wantNoResidue(t, f)
}

func deleteLeavesOthers(t *testing.T, f Fixture) {
	a, b, c := created(t, f, alice, web), created(t, f, alice, web), created(t, f, "", web)
	wantErr(t, "DeleteGrant", f.Store.DeleteGrant(t.Context(), a.ID), nil)
	wantListed(t.Context(), t, f, storage.Target{UserID: alice}, b)
	wantListed(t.Context(), t, f, storage.Target{ClientID: web}, b, c)
}
