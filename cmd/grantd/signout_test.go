package main

import (
	"net/http"
	"net/url"
	"testing"
)

// RFC 9700 section 4.14.2: the acts that end all sign-ins of a user.
func TestWhatEndsRefreshTokens(t *testing.T) {
	s := startSite(t, "GRANTD_ISSUER=http://127.0.0.1")
	command := func(args ...string) {
		t.Helper()
		must(t, launch{args: args, dir: s.cmd.Dir, env: s.cmd.Env})
	}
	password := "first password of alice"
	command("user", "add", "alice", "--password-file", writeFile(t, "p", password))
	token := func(form url.Values) (int, map[string]any) { return tokenFor(t, s.URL, "web", secret32, form) }
	refresh := func(pair map[string]any) (int, map[string]any) {
		text, _ := pair["refresh_token"].(string)
		return token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {text}})
	}

	for _, c := range []struct {
		name string
		end  func(pair map[string]any)
		undo func()
	}{
		{"a change of the password", func(map[string]any) {
			password = "second password of alice"
			command("user", "passwd", "alice", "--password-file", writeFile(t, "p", password))
		}, func() {}},
		{"disabling the account", func(map[string]any) { command("user", "disable", "alice") }, func() { command("user", "enable", "alice") }},
		{"a logout", func(pair map[string]any) {
			text, _ := pair["access_token"].(string)
			postForm(t, s.URL+"/revoke", "web", secret32, url.Values{"token": {text}})
		}, func() {}},
		{"deleting the account", func(map[string]any) { command("user", "delete", "alice", "--yes") }, func() {}},
	} {
		_, pair := token(passwordForm("alice", password, ""))
		status, pair := refresh(pair)
		if status != http.StatusOK {
			t.Fatalf("before %s: %d %v", c.name, status, pair)
		}
		_, bystander := token(passwordForm("admin", sitePassword, ""))
		c.end(pair)
		t.Run("9700-4.14.2-06 "+c.name, func(t *testing.T) {
			if status, answer := refresh(pair); status != http.StatusBadRequest || answer["error"] != "invalid_grant" {
				t.Errorf("a refresh answers %d %v", status, answer)
			}
			access, _ := pair["access_token"].(string)
			if status, body := getUsersMe(t, s.URL, access); status != http.StatusUnauthorized {
				t.Errorf("/users/me answers %d %s", status, body)
			}
		})
		c.undo()
		t.Run("9700-4.14.2-06 undoing it brings nothing back, after "+c.name, func(t *testing.T) {
			if status, answer := refresh(pair); status != http.StatusBadRequest {
				t.Errorf("a refresh answers %d %v", status, answer)
			}
		})
		t.Run("nobody else is signed out by "+c.name, func(t *testing.T) {
			if status, answer := refresh(bystander); status != http.StatusOK {
				t.Errorf("a refresh answers %d %v", status, answer)
			}
		})
	}
}
