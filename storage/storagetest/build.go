package storagetest

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/grantd/grantd/storage"
)

// The users and clients of the checks.
const (
	alice = "uFtKcw0TTmmKZ3a8Zz5VYg" // an id like those that grantd makes
	bob   = "bob"
	web   = "web"
	cli   = "cli"

	apiServer   = "https://api.test/t1" // resource servers that tokens are for
	otherServer = "urn:example:other"
	bothServers = apiServer + " " + otherServer // an audience
)

// diff compares records. Addresses and digests compare by value: a zero Digest
// is Equal to nothing.
func diff(want, got any) string {
	return cmp.Diff(want, got,
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b storage.Digest) bool { return a == b }))
}

// newGrant returns a grant of the user at the client that isn't created yet. Its
// access token lives an hour, its refresh token a day when idle, the grant 30 days.
func newGrant(f Fixture, userID, clientID string) storage.Grant {
	now := f.Now()
	g := storage.Grant{
		ID: storage.NewGrantID(userID), Type: storage.Password,
		UserID: userID, Username: "name of " + userID, ClientID: clientID,
		Scope: "read write", AccessScope: "read write",
		Generation: 1, Access: digest(), Refresh: digest(),
		Created: now, Issued: now,
		AccessExpiry: now.Add(time.Hour), RefreshExpiry: now.Add(24 * time.Hour), End: now.Add(30 * 24 * time.Hour),
		Address: netip.MustParseAddr("192.0.2.7"), UserAgent: "curl/8.10.1",
	}
	if userID == "" {
		g.Type, g.Username = storage.ClientCredentials, ""
		g.Refresh, g.RefreshExpiry = storage.Digest{}, time.Time{}
	}
	return g
}

// digest returns a new random digest.
func digest() (d storage.Digest) {
	rand.Read(d[:])
	return d
}

// successor returns what a refresh makes of g now: a new pair, whose refresh token
// lives a day when idle.
func successor(f Fixture, g storage.Grant) storage.Grant {
	g.Generation++
	g.Access, g.Refresh = digest(), digest()
	g.Issued = f.Now()
	g.AccessExpiry, g.RefreshExpiry = g.Issued.Add(time.Hour), g.Issued.Add(24*time.Hour)
	return g
}

// retryOf returns the retry record of a swap from old, which is open for window.
func retryOf(f Fixture, old storage.Grant, window time.Duration) storage.Retry {
	r := storage.Retry{Generation: old.Generation + 1, Refresh: old.Refresh, KeyID: 255, Until: f.Now().Add(window)}
	rand.Read(r.Mix[:])
	return r
}

// create keeps g in the current epoch and returns it as kept.
func create(ctx context.Context, t rapid.TB, f Fixture, g storage.Grant) storage.Grant {
	t.Helper()
	epoch, err := f.Store.Epoch(ctx, g.ID)
	wantErr(t, "Epoch", err, nil)
	g.Epoch = epoch
	wantErr(t, "CreateGrant", f.Store.CreateGrant(ctx, g), nil)
	return g
}

// created creates a new grant of the user at the client.
func created(t *testing.T, f Fixture, userID, clientID string) storage.Grant {
	t.Helper()
	return create(t.Context(), t, f, newGrant(f, userID, clientID))
}

// swap replaces old by next, which must succeed.
func swap(t *testing.T, f Fixture, old, next storage.Grant, r storage.Retry) {
	t.Helper()
	wantErr(t, "SwapGrant", f.Store.SwapGrant(t.Context(), old, next, r), nil)
}

// wantErr fails unless err is want; a nil want means success.
func wantErr(t rapid.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

// wantLive fails unless the grant loads and equals g.
func wantLive(ctx context.Context, t rapid.TB, f Fixture, g storage.Grant) {
	t.Helper()
	got, err := f.Store.LoadGrant(ctx, g.ID)
	wantErr(t, "LoadGrant", err, nil)
	if d := diff(g, got); d != "" {
		t.Fatalf("the grant that was kept differs from the one that loads (-kept +loaded):\n%s", d)
	}
}

// wantGone fails when the grant loads.
func wantGone(ctx context.Context, t rapid.TB, f Fixture, id storage.GrantID) {
	t.Helper()
	_, err := f.Store.LoadGrant(ctx, id)
	wantErr(t, "LoadGrant of an ended grant", err, storage.ErrNotFound)
}

// listAll walks all pages and returns the grants by id.
func listAll(ctx context.Context, t rapid.TB, f Fixture, target storage.Target, limit int) map[storage.GrantID]storage.Grant {
	t.Helper()
	all := make(map[storage.GrantID]storage.Grant)
	for cursor, pages := "", 0; ; pages++ {
		page, next, err := f.Store.ListGrants(ctx, target, cursor, limit)
		wantErr(t, "ListGrants", err, nil)
		if len(page) > limit {
			t.Fatalf("a page of limit %d has %d grants", limit, len(page))
		}
		for _, g := range page {
			if _, twice := all[g.ID]; twice {
				t.Fatalf("grant %v is listed twice", g.ID)
			}
			all[g.ID] = g
		}
		if next == "" {
			return all
		}
		if cursor = next; pages > 10_000 {
			t.Fatalf("the list has no end")
		}
	}
}

// wantListed fails unless the list of the target is exactly these grants.
func wantListed(ctx context.Context, t rapid.TB, f Fixture, target storage.Target, grants ...storage.Grant) {
	t.Helper()
	want := make(map[storage.GrantID]storage.Grant)
	for _, g := range grants {
		want[g.ID] = g
	}
	if d := diff(want, listAll(ctx, t, f, target, 3)); d != "" {
		t.Fatalf("list of %+v (-want +got):\n%s", target, d)
	}
}

// wantNoResidue fails unless Residue finds nothing.
func wantNoResidue(t rapid.TB, f Fixture) {
	t.Helper()
	if n := f.Residue(); n != 0 {
		t.Fatalf("%d rows or keys are left of grants that are gone", n)
	}
}

// concurrently calls do n times at once and returns the error of each call.
func concurrently(n int, do func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = do(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// wantOneWinner fails unless exactly one call succeeded and all others returned
// lost. It returns the index of the winner.
func wantOneWinner(t *testing.T, errs []error, lost error) int {
	t.Helper()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Fatalf("calls %d and %d both succeeded", winner, i)
		case !errors.Is(err, lost):
			t.Fatalf("call %d: got error %v, want %v", i, err, lost)
		}
	}
	if winner < 0 {
		t.Fatal("no call succeeded")
	}
	return winner
}

// namesInByteOrder has names whose order differs between bytes, UTF-16, case
// folding and languages.
func namesInByteOrder() []string {
	names := []string{
		"a", "aa", "ab", "a b", "B", "Zoë", "b", "zoe\u0308", "éva", "ß", "ss",
		"алиса", "李", "\uff5e", "\U0001f600", strings.Repeat("x", 255), "with:colon", "with/slash", "{braces}", "per%cent",
	}
	slices.Sort(names)
	return names
}
