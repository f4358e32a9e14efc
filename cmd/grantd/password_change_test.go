package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// changePassword asks /users/me/password at base.
func changePassword(t *testing.T, base, token, older, newer string) adminAnswer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/users/me/password",
		strings.NewReader(fmt.Sprintf(`{"old_password":%q,"new_password":%q}`, older, newer)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return roundTrip(t, r)
}

// signIn returns the token pair of alice at base, by the client demo.
func signIn(t *testing.T, base, password string) (access, refresh string) {
	t.Helper()
	status, answer := tokenFor(t, base, "demo", "demo-secret", passwordForm("alice", password, ""))
	if status != http.StatusOK {
		t.Fatalf("signing in: %d %v", status, answer)
	}
	return answer["access_token"].(string), answer["refresh_token"].(string)
}

func TestOwnPassword(t *testing.T) {
	for _, b := range []string{"embedded", "redis"} {
		t.Run(b, func(t *testing.T) {
			var args []string
			if b == "redis" {
				args = []string{"--redis", redistest.Single(t).URL()}
			}
			g := startDev(t, args...)
			t.Run("a user changes the password", func(t *testing.T) { ownPassword(t, g) })
			t.Run("a client has none", func(t *testing.T) {
				_, answer := tokenFor(t, g.URL, "demo", "demo-secret", url.Values{"grant_type": {"client_credentials"}})
				changePassword(t, g.URL, answer["access_token"].(string), "demo-secret", "battery staple").want(t, http.StatusForbidden)
			})
			t.Run("6750-3-01 nobody without a token", func(t *testing.T) {
				a := changePassword(t, g.URL, "", "secret123", "battery staple").want(t, http.StatusUnauthorized)
				if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
					t.Errorf("the challenge is %q", a.header.Get("WWW-Authenticate"))
				}
			})
			t.Run("sign-ins with the old password that meet the change don't outlive it", func(t *testing.T) { signInsMeetAChange(t, g.URL) })
		})
	}
}

func ownPassword(t *testing.T, g *running) {
	access, refresh := signIn(t, g.URL, "secret123")
	other, _ := signIn(t, g.URL, "secret123")
	_, answer := tokenFor(t, g.URL, "demo", "demo-secret", passwordForm("bob", "builder456", ""))
	bobs := answer["access_token"].(string)

	a := changePassword(t, g.URL, access, "not-hers-at-all", "battery staple").want(t, http.StatusForbidden)
	if got := a.member(t, "type"); got != "urn:grantd:problem:wrong_password" {
		t.Errorf("a wrong old password is %q", got)
	}
	a = changePassword(t, g.URL, access, "secret123", "alice123").want(t, http.StatusBadRequest)
	if !strings.Contains(a.body, `"field":"new_password"`) {
		t.Errorf("a bad new one: %s", a.body)
	}
	if status, _ := getUsersMe(t, g.URL, access); status != http.StatusOK {
		t.Fatalf("what was refused ended the token: %d", status)
	}
	changePassword(t, g.URL, access, "secret123", "battery staple").want(t, http.StatusNoContent)

	for name, token := range map[string]string{"the one used": access, "another": other} {
		if status, _ := getUsersMe(t, g.URL, token); status != http.StatusUnauthorized {
			t.Errorf("%s answers %d afterwards", name, status)
		}
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}
	if status, answer := tokenFor(t, g.URL, "demo", "demo-secret", form); status != http.StatusBadRequest || answer["error"] != "invalid_grant" {
		t.Errorf("the refresh token: %d %v", status, answer)
	}
	if status, _ := tokenFor(t, g.URL, "demo", "demo-secret", passwordForm("alice", "secret123", "")); status != http.StatusBadRequest {
		t.Errorf("the old password signs in: %d", status)
	}
	if status, _ := getUsersMe(t, g.URL, bobs); status != http.StatusOK {
		t.Errorf("another user's token answers %d", status)
	}
	access, _ = signIn(t, g.URL, "battery staple")
	changePassword(t, g.URL, access, "battery staple", "secret123!").want(t, http.StatusNoContent)
	g.awaitLog("password.change")
	if log := g.Stderr(); strings.Contains(log, "staple") || strings.Contains(log, "not-hers-at-all") {
		t.Error("the log holds a password")
	}
}

// A change is made even if the trail can't take its event; the event is kept
// later, as for sign-ins.
func TestOwnPasswordIsAuditedLater(t *testing.T) {
	server := redistest.Single(t)
	g := startDev(t, "--redis", server.URL())
	access, _ := signIn(t, g.URL, "secret123")
	const stream = "grantd:{audit}"
	redis := server.Client()
	if err := redis.Set(t.Context(), stream, "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	changePassword(t, g.URL, access, "secret123", "battery staple").want(t, http.StatusNoContent)
	g.awaitLog("audit events can't be stored")
	if err := redis.Del(t.Context(), stream).Err(); err != nil {
		t.Fatal(err)
	}
	g.awaitLog("audit events are stored again")
	if a := auditOf(t, g.URL, adminToken(t, g.URL), "?action=password.change"); len(a.Events) != 1 {
		t.Errorf("the trail has %d changes of passwords, want 1", len(a.Events))
	}
}

// signInsMeetAChange signs in with the old password while it is changed. Each
// token of such a sign-in has to be dead once both are answered.
func signInsMeetAChange(t *testing.T, base string) {
	passwords := []string{"secret123!", "battery staple"}
	for range 6 {
		access, _ := signIn(t, base, passwords[0])
		var wg sync.WaitGroup
		tokens := make(chan string, 16)
		for range cap(tokens) {
			wg.Go(func() {
				status, answer := tokenFor(t, base, "demo", "demo-secret", passwordForm("alice", passwords[0], ""))
				if status == http.StatusOK {
					tokens <- answer["access_token"].(string)
				}
			})
		}
		changePassword(t, base, access, passwords[0], passwords[1]).want(t, http.StatusNoContent)
		wg.Wait()
		close(tokens)
		for token := range tokens {
			if status, _ := getUsersMe(t, base, token); status != http.StatusUnauthorized {
				t.Errorf("a sign-in with the old password lives: %d", status)
			}
		}
		passwords[0], passwords[1] = passwords[1], passwords[0]
	}
}

func TestOwnPasswordIsServedWhereUsersAre(t *testing.T) {
	dir := t.TempDir()
	config := "issuer: http://127.0.0.1:8080/t1\ndata: " + dir + "/grantd.db\nsecret: " + strings.Repeat("s", 32) + "\n"
	start := func(name string, args ...string) *running {
		return launch{dir: dir, args: append([]string{name}, args...), env: []string{"GRANTD_CONFIG=" + writeFile(t, "grantd.yaml", config)}}.start(t)
	}
	serving := start("serve", "--addr", "127.0.0.1:0")
	for path, want := range map[string]int{"/users/me/password": 401, "/t1/users/me/password": 401, "/t2/users/me/password": 404} {
		if got := postStatus(t, serving.URL+path); got != want {
			t.Errorf("serve: POST %s answers %d, want %d", path, got, want)
		}
	}
	alone := start("resource", "--resource-addr", "127.0.0.1:0")
	if got := postStatus(t, alone.URL+"/users/me/password"); got != http.StatusNotFound {
		t.Errorf("resource, which hashes nothing: %d, want 404", got)
	}
}

func postStatus(t *testing.T, address string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return roundTrip(t, r).status
}
