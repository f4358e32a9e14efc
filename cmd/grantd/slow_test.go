package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// slowest is how long an answer may take when Redis answers slowly: 0.95 s of
// waiting for Redis, then the hashing of a sign-in, and some time for a busy
// machine. Without a bound for the whole request it was up to 6.7 s.
const slowest = tolerable + 250*time.Millisecond

// askSlowly sends the request and expects 200, or 503 with Retry-After, in time.
func askSlowly(t *testing.T, a storeRequest, base string) (status int) {
	t.Helper()
	began := time.Now()
	status, retry, body := a.of(t, base)
	took := time.Since(began)
	if status != http.StatusOK && (status != http.StatusServiceUnavailable || retry != "1") {
		t.Errorf("%s: %d, Retry-After %q: %s", a.name, status, retry, body)
	}
	if took > slowest {
		t.Errorf("%s: %d in %v: more than %v", a.name, status, took, slowest)
	}
	t.Logf("%s: %d in %v", a.name, status, took.Round(time.Millisecond))
	return status
}

// The waits of one request for a slow Redis don't add up.
func TestARequestWaitsForASlowRedisNoLongerThanASecond(t *testing.T) {
	proxy := redistest.Slow(t, redistest.Single(t))
	g := serveOnRedis(t, proxy.URL(), firstAdmin)
	t.Run("each alone", func(t *testing.T) { eachAtASlowRedis(t, g, proxy) })
	t.Run("many sign-ins of one user", func(t *testing.T) { manyAtASlowRedis(t, g, proxy) })
	t.Run("what was cut off is repeated", func(t *testing.T) { repeatedAtASlowRedis(t, g, proxy) })
	t.Run("an admin's act isn't cut off", func(t *testing.T) { actAtASlowRedis(t, g, proxy) })
}

// A slow Redis counts as available: requests that need few calls are answered.
func eachAtASlowRedis(t *testing.T, g *running, proxy *redistest.SlowProxy) {
	all := storeRequests(t, g.URL)
	proxy.Delay(300 * time.Millisecond)
	defer proxy.Delay(0)
	for _, i := range []int{0, 2, 3, 5, 6, 7, 1, 4} { // refresh and revoke come last, since they end the tokens of the others
		a := all[i]
		status := askSlowly(t, a, g.URL)
		if a.name == "users/me" && status != http.StatusOK {
			t.Errorf("%s: %d, though it needs one call", a.name, status)
		}
	}
	if status, body := get(t, g.URL+"/readyz"); status != http.StatusOK {
		t.Errorf("/readyz: %d %s", status, body)
	}
}

// Sign-ins of one user wait for each other's calls to the store, but not longer
// than a request may take. Sign-ins that were cut off don't block later ones.
func manyAtASlowRedis(t *testing.T, g *running, proxy *redistest.SlowProxy) {
	all := storeRequests(t, g.URL)
	signIn, usersMe := all[0], all[5]
	for _, delay := range []time.Duration{60 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond} {
		proxy.Delay(delay)
		var signIns sync.WaitGroup
		for range 10 {
			signIns.Go(func() { askSlowly(t, signIn, g.URL) })
		}
		askSlowly(t, usersMe, g.URL)
		signIns.Wait()
		proxy.Delay(0)
		signIn.await(t, g.URL, http.StatusOK)
	}
}

// A request that was cut off may have been done or not, and it can be repeated:
// a refresh gives one and the same pair from then on, and a logout is a success
// again.
func repeatedAtASlowRedis(t *testing.T, g *running, proxy *redistest.SlowProxy) {
	for _, delay := range []time.Duration{230 * time.Millisecond, 320 * time.Millisecond, 350 * time.Millisecond} {
		status, pair := tokenFor(t, g.URL, "web", secret32, passwordForm("admin", "first-admin-password", "read"))
		if status != http.StatusOK {
			t.Fatalf("%v late: the sign-in was answered %d %v", delay, status, pair)
		}
		refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {pair["refresh_token"].(string)}}
		time.Sleep(1100 * time.Millisecond) // until the client is no longer cached
		proxy.Delay(delay)
		first := askSlowly(t, storeRequest{name: "refresh", method: "POST", path: "/token", form: refresh}, g.URL)
		proxy.Delay(0)
		status, next := tokenFor(t, g.URL, "web", secret32, refresh)
		if status != http.StatusOK {
			t.Fatalf("%v late: the refresh was answered %d, repeated %d %v", delay, first, status, next)
		}
		if status, again := tokenFor(t, g.URL, "web", secret32, refresh); status != http.StatusOK || again["refresh_token"] != next["refresh_token"] {
			t.Errorf("%v late: repeated once more: %d, another pair", delay, status)
		}

		logout := storeRequest{name: "revoke", method: "POST", path: "/revoke", form: url.Values{"token": {next["refresh_token"].(string)}}}
		usersMe := storeRequest{name: "users/me", method: "GET", path: "/users/me", bearer: next["access_token"].(string)}
		proxy.Delay(delay)
		first = askSlowly(t, logout, g.URL)
		proxy.Delay(0)
		if status, _, body := usersMe.of(t, g.URL); first == http.StatusOK && status != http.StatusUnauthorized {
			t.Errorf("%v late: /users/me after an acknowledged logout: %d %s", delay, status, body)
		}
		if status, _, body := logout.of(t, g.URL); status != http.StatusOK {
			t.Errorf("%v late: the logout was answered %d, repeated %d %s", delay, first, status, body)
		}
		if status, _, body := usersMe.of(t, g.URL); status != http.StatusUnauthorized {
			t.Errorf("%v late: /users/me after the logout: %d %s", delay, status, body)
		}
	}
}

// When an admin ends a sign-in, that may take longer than other requests may
// wait, and it is done.
func actAtASlowRedis(t *testing.T, g *running, proxy *redistest.SlowProxy) {
	all := storeRequests(t, g.URL)
	usersMe := all[5]
	_, _, body := storeRequest{name: "grants", method: "GET", path: "/admin/v1/grants?user=admin", bearer: usersMe.bearer}.of(t, g.URL)
	var list struct {
		Grants []struct {
			ID string `json:"id"`
		} `json:"grants"`
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Grants) == 0 {
		t.Fatalf("%v: %s", err, body)
	}
	proxy.Delay(300 * time.Millisecond)
	defer proxy.Delay(0)
	began := time.Now()
	end := storeRequest{name: "end", method: "DELETE", path: "/admin/v1/grants/" + list.Grants[0].ID, bearer: usersMe.bearer}
	status, _, body := end.of(t, g.URL)
	if took := time.Since(began); status != http.StatusNoContent || took < tolerable {
		t.Errorf("ending a grant: %d in %v: %s; want 204 after more than a second", status, took, body)
	}
}
