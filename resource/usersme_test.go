package resource_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/storage"
)

func TestUsersMe(t *testing.T) {
	a := newAPI(t)
	token := a.accessToken(t)

	t.Run("6750-2.1-01 it tells whom the token speaks for", func(t *testing.T) {
		got := a.get(t, "/users/me", "Bearer "+token)
		got.want(t, http.StatusOK)
		want := map[string]any{
			"sub": "u-alice", "username": "alice", "scope": "read", "client_id": "demo",
			"iat": float64(signIn.Unix()), "exp": float64(signIn.Add(accessLifetime).Unix()),
		}
		if diff := cmp.Diff(want, got.members(t)); diff != "" {
			t.Error(diff)
		}
		if ct := got.header.Get("Content-Type"); ct != "application/json" {
			t.Errorf("Content-Type %q", ct)
		}
	})
	t.Run("7235-4.2-01 no cache keeps it", func(t *testing.T) {
		got := a.get(t, "/users/me", "Bearer "+token)
		if cc := got.header.Get("Cache-Control"); cc != "no-store" {
			t.Errorf("Cache-Control %q, want no-store", cc)
		}
	})
	t.Run("6750-5.3-01 it sets no cookie and no challenge", func(t *testing.T) {
		h := a.get(t, "/users/me", "Bearer "+token).header
		if h["Set-Cookie"] != nil || h["Www-Authenticate"] != nil {
			t.Errorf("headers %v", h)
		}
	})
	t.Run("a token without a user has no username", func(t *testing.T) {
		svc := a.accessToken(t, func(g *storage.Grant) { g.Type, g.UserID, g.Username = storage.ClientCredentials, "", "" })
		m := a.get(t, "/users/me", "Bearer "+svc).members(t)
		if _, there := m["username"]; there || m["sub"] != "demo" {
			t.Errorf("members %v, want sub demo and no username", m)
		}
	})
	t.Run("a name survives JSON", func(t *testing.T) {
		const name = "é\"\\<script>\u2028 名"
		odd := a.accessToken(t, func(g *storage.Grant) { g.Username = name })
		if m := a.get(t, "/users/me", "Bearer "+odd).members(t); m["username"] != name {
			t.Errorf("username %q, want %q", m["username"], name)
		}
	})
	t.Run("it needs no scope", func(t *testing.T) {
		a.get(t, "/users/me", "Bearer "+a.accessToken(t, scope(""))).want(t, http.StatusOK)
	})
}

// A browser asks in a preflight, without a token, whether a page may send one
// (Fetch standard).
func TestPagesMayCallUsersMe(t *testing.T) {
	a := newAPI(t)
	page := http.Header{"Origin": {"https://spa.test"}}
	t.Run("a preflight needs no token", func(t *testing.T) {
		got := a.do(t, "OPTIONS", "/users/me", http.Header{
			"Origin": page["Origin"], "Access-Control-Request-Method": {"GET"}, "Access-Control-Request-Headers": {"authorization"},
		}, "")
		got.want(t, http.StatusNoContent)
		if got.header.Get("Access-Control-Allow-Origin") != "*" || !strings.HasPrefix(got.header.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("headers %v", got.header)
		}
	})
	t.Run("who is no page is told nothing of origins", func(t *testing.T) {
		got := a.do(t, "GET", "/users/me", http.Header{"Authorization": {"Bearer " + a.accessToken(t)}}, "")
		got.want(t, http.StatusOK)
		if len(got.header["Access-Control-Allow-Origin"])+len(got.header["Access-Control-Expose-Headers"]) != 0 {
			t.Errorf("headers %v", got.header)
		}
	})
	for name, token := range map[string]string{"good": a.accessToken(t), "bad": "x"} {
		t.Run("the page may read what a "+name+" token is answered with", func(t *testing.T) {
			got := a.do(t, "GET", "/users/me", http.Header{"Origin": page["Origin"], "Authorization": {"Bearer " + token}}, "")
			if got.header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(got.header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate") {
				t.Errorf("headers %v", got.header)
			}
		})
	}
}

// RFC 9110 sections 9.3.2 and 15.5.6.
func TestMethodsOfUsersMe(t *testing.T) {
	a := newAPI(t)
	good := http.Header{"Authorization": {"Bearer " + a.accessToken(t)}}
	bad := http.Header{"Authorization": {"Bearer x"}}

	t.Run("HEAD has the headers of GET and no body", func(t *testing.T) {
		get, head := a.do(t, "GET", "/users/me", good, ""), a.do(t, "HEAD", "/users/me", good, "")
		head.want(t, http.StatusOK)
		get.header.Del("Date")
		head.header.Del("Date")
		if diff := cmp.Diff(get.header, head.header); diff != "" || head.body != "" {
			t.Errorf("%s\nbody %q", diff, head.body)
		}
	})
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} {
		t.Run("7235-3.1-01 the token is looked at before the method "+method, func(t *testing.T) {
			a.do(t, method, "/users/me", nil, "").unauthenticated(t)
			a.do(t, method, "/users/me", bad, "").refused(t, http.StatusUnauthorized, "invalid_token")
		})
		t.Run("405 and Allow for "+method, func(t *testing.T) {
			got := a.do(t, method, "/users/me", good, "")
			got.want(t, http.StatusMethodNotAllowed)
			if allow := got.header.Get("Allow"); allow != "GET, HEAD" || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", got.header)
			}
			got.members(t)
		})
	}
}
