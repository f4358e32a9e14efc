package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// receipt is the API's answer about a revocation.
func (a adminAnswer) receipt(t *testing.T) (r admin.Receipt) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &r); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return r
}

// awaitComplete asks for the receipt until its sweep has ended.
func awaitComplete(t *testing.T, base, token, id string) admin.Receipt {
	t.Helper()
	for range 600 {
		if r := admins(t, base, token, "GET", "/revocations/"+id, "").want(t, http.StatusOK).receipt(t); r.Status == "complete" {
			return r
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the sweep has no end")
	return admin.Receipt{}
}

// A revocation on one node holds from the next request on at every node, and
// the receipt says what was ended.
func TestARevocationIsForTheNextRequestOnEveryNode(t *testing.T) {
	server, dir := redistest.Single(t), t.TempDir()
	one := launch{args: []string{"dev", "--addr", "127.0.0.1:0", "--redis", server.URL()}, dir: dir}.start(t)
	other := launch{args: []string{"dev", "--addr", "127.0.0.1:0", "--redis", server.URL()}, dir: dir}.start(t)
	signIn := func(name, password string) (access, refresh string) {
		status, answer := tokenFor(t, other.URL, "demo", "demo-secret", passwordForm(name, password, "read"))
		if status != http.StatusOK {
			t.Fatalf("%s signs in: %d %v", name, status, answer)
		}
		return answer["access_token"].(string), answer["refresh_token"].(string)
	}
	bob, _ := signIn("bob", "builder456")
	for name, body := range map[string]func(access, refresh, grant string) string{
		"of the user":         func(string, string, string) string { return `{"user":"alice"}` },
		"by an access token":  func(access, _, _ string) string { return `{"token":"` + access + `"}` },
		"by a refresh token":  func(_, refresh, _ string) string { return `{"token":"` + refresh + `"}` },
		"by the grant's id":   func(_, _, grant string) string { return `{"grant":"` + grant + `"}` },
		"of all of yesterday": func(string, string, string) string { return `{"all":true,"issued_before":"2020-01-01T00:00:00Z"}` },
	} {
		t.Run(name, func(t *testing.T) {
			token := adminToken(t, one.URL)
			access, refresh := signIn("alice", "secret123")
			var list struct{ Grants []admin.Grant }
			a := admins(t, one.URL, token, "GET", "/grants?user=alice", "").want(t, http.StatusOK)
			if err := json.Unmarshal([]byte(a.body), &list); err != nil || len(list.Grants) != 1 || list.Grants[0].Address != "127.0.0.1" {
				t.Fatalf("who is alice signed in as: %s", a.body)
			}
			ended, status := 1, http.StatusUnauthorized
			if name == "of all of yesterday" {
				ended, status = 0, http.StatusOK
			}
			r := admins(t, one.URL, token, "POST", "/revocations", body(access, refresh, list.Grants[0].ID)).receipt(t)
			if got := request(t, other.URL, access); got != status {
				t.Errorf("/users/me answers %d, want %d", got, status)
			}
			form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}
			if got, _ := tokenFor(t, other.URL, "demo", "demo-secret", form); (got == http.StatusOK) != (ended == 0) {
				t.Errorf("the refresh answers %d", got)
			}
			r = awaitComplete(t, one.URL, token, r.ID)
			if r.Grants.Ended != ended || r.Verified == nil || r.Verified.Survivors != 0 || r.By != "admin" {
				t.Errorf("the receipt: %+v", r)
			}
			admins(t, one.URL, token, "POST", "/revocations", `{"user":"alice"}`)
			if got := request(t, other.URL, bob); got != http.StatusOK {
				t.Errorf("bob is answered %d", got)
			}
		})
	}
	t.Run("of everybody, the admin too", func(t *testing.T) {
		token := adminToken(t, one.URL)
		r := admins(t, one.URL, token, "POST", "/revocations", `{"all":true}`).receipt(t)
		if got := request(t, other.URL, bob); got != http.StatusUnauthorized {
			t.Errorf("bob is answered %d", got)
		}
		admins(t, other.URL, token, "GET", "/users", "").want(t, http.StatusUnauthorized)
		if r = awaitComplete(t, other.URL, adminToken(t, other.URL), r.ID); r.Grants.Ended < 2 || r.Verified.Survivors != 0 {
			t.Errorf("the receipt: %+v", r)
		}
	})
}

// If a process is killed while it sweeps, all the grants are dead already.
// Another process completes the receipt, which counts every grant once.
func TestAKilledSweepIsCompletedByAnotherNode(t *testing.T) {
	server := redistest.Single(t)
	g := startDev(t, "--redis", server.URL())
	token := adminToken(t, g.URL)
	store, err := redisstore.Open(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	alice, err := store.LoadUser(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	const grants = 1 + 33*200
	last := keepGrant(t, store, alice)
	var all sync.WaitGroup
	for range 33 {
		all.Go(func() {
			for range (grants - 1) / 33 {
				keepGrant(t, store, alice)
			}
		})
	}
	all.Wait()
	// Other clients keep Redis busy, so that the sweep takes long enough to be
	// killed.
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	for range 2 {
		others.Go(func() {
			for ctx.Err() == nil {
				server.Client().Get(ctx, "x")
			}
		})
	}
	r := admins(t, g.URL, token, "POST", "/revocations", `{"user":"alice"}`).want(t, http.StatusAccepted).receipt(t)
	left := func() (int, error) { return store.CountGrants(t.Context(), storage.Target{UserID: alice.ID}) }
	await(t, 5*time.Second, "swept in part", func() bool {
		n, err := left()
		return err == nil && n < grants
	})
	g.Signal(syscall.SIGKILL)
	<-g.ended
	stop()
	others.Wait()
	if n, err := left(); err != nil || n == 0 || n == grants {
		t.Fatalf("the sweep wasn't killed half-way: %d grants are left, %v", n, err)
	}
	if _, err := store.LoadGrant(t.Context(), last); err == nil {
		t.Error("a grant lives")
	}
	inAMinute := func() time.Time { return time.Now().Add(2 * time.Minute) }
	another := admin.NewSweeper(store, func(_ context.Context, err error) { t.Error(err) }, inAMinute)
	defer another.Close()
	if err := another.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	done, err := store.LoadReceipt(t.Context(), r.ID)
	if err != nil || done.Swept.Grants != grants || done.Completed.IsZero() || done.Survivors != 0 {
		t.Errorf("the receipt: %+v, %v", done, err)
	}
}

// keepGrant stores a grant as the password grant does.
func keepGrant(t *testing.T, s storage.Store, u storage.User) storage.GrantID {
	now := time.Now().UTC().Truncate(time.Millisecond)
	g := storage.Grant{
		ID: storage.NewGrantID(u.ID), Type: storage.Password, UserID: u.ID, Username: u.Name, ClientID: "demo", Scope: "read", AccessScope: "read",
		Generation: 1, Access: storage.Digest{1}, Created: now, Issued: now, AccessExpiry: now.Add(time.Hour), End: now.Add(time.Hour),
	}
	var err error
	if g.Epoch, err = s.Epoch(t.Context(), g.ID); err == nil {
		err = s.CreateGrant(t.Context(), g)
	}
	if err != nil {
		t.Error(err)
	}
	return g.ID
}
