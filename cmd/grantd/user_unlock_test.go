package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Wrong passwords delay further sign-ins. An admin can lift the delay, through
// the server or on its store.
func TestUserUnlock(t *testing.T) {
	addr := "127.0.0.1:" + freePort(t)
	p := startPasswords(t, append(slices.Clone(cheapHash),
		"GRANTD_ADMIN_PASSWORD=first-admin-password", "GRANTD_ADDR="+addr, "GRANTD_ISSUER=http://"+addr)...)
	const right = "correct horse battery"
	if code, stderr := p.user(t, "add", "alice", right); code != 0 {
		t.Fatal(stderr)
	}
	home := signedInAs(t, p.url, "admin", "first-admin-password")
	for name, unlock := range map[string]launch{
		"through the server": {args: []string{"user", "unlock", "alice"}, dir: home},
		"on the store":       {args: []string{"user", "unlock", "alice"}, dir: p.dir, env: p.env},
	} {
		t.Run(name, func(t *testing.T) {
			guesses := 0
			for ; guesses < 50 && p.signIn(t, "alice", right) == "200"; guesses++ {
				for i := range 5 {
					p.signIn(t, "alice", fmt.Sprint("guess ", guesses, i))
				}
			}
			if guesses == 50 {
				t.Fatal("nobody is slowed down by guessing")
			}
			if out := must(t, unlock); !strings.HasPrefix(out, "user alice may sign in again from ") {
				t.Errorf("said %q", out)
			}
			if got := p.signIn(t, "alice", right); got != "200" {
				t.Errorf("unlocked, the user gets %s", got)
			}
			if out := must(t, unlock); out != "user alice wasn't slowed down\n" {
				t.Errorf("again: %q", out)
			}
		})
	}
	without := launch{args: []string{"user", "unlock", "alice"}, dir: p.dir, env: []string{"GRANTD_DATA=grantd.db"}}
	if code, _, stderr := without.run(t); code != exitFailed || !strings.Contains(stderr, "hint: name it in the configuration") {
		t.Errorf("without the secret: exit %d, %s", code, stderr)
	}
}
