package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/go-oauth2/oauth2/v4"
)

// refreshDefects are about refreshing and revoking.
var refreshDefects = []defect{
	{
		ids:  "V03 6749-6-06",
		text: "a refresh may ask for more than was granted",
		check: func(_ *testing.T, s target) error {
			return s.ask(web, refreshForm(s.signIn(web, "read").refresh, "read write")).refused(400, "invalid_scope")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V04 6749-6-07 6749-6-08",
		text: "a refresh for less takes the rest away for good",
		check: func(_ *testing.T, s target) error {
			narrow := s.must(s.ask(web, refreshForm(s.signIn(web, "read write").refresh, "read")))
			if again := s.refreshed(web, narrow); again.scope != "read write" {
				return fmt.Errorf("the next refresh gives the scope %q, want %q", again.scope, "read write")
			}
			return nil
		},
		toolkit: func(k *toolkit) { // a handler that refuses more doesn't help either
			k.server.SetRefreshingScopeHandler(func(r *oauth2.TokenGenerateRequest, granted string) (bool, error) {
				return strings.Contains(granted, r.Scope), nil
			})
		},
		shows: `gives the scope "read"`,
	},
	{
		ids:   "V46 stock-12 stock-13 9700-4.14.2-04",
		text:  "refreshes of one token that meet all succeed, each with tokens of its own",
		check: func(_ *testing.T, s target) error { return s.crowd(32) },
		shows: "32 successors with 32 live access tokens",
	},
	{
		ids:  "V47 stock-07 9700-4.14.2-03",
		text: "a spent refresh token that comes back ends nothing",
		check: func(_ *testing.T, s target) error {
			stolen := s.signIn(spa, "read")
			newest := s.refreshed(spa, s.refreshed(spa, stolen))
			replay := s.ask(spa, refreshForm(stolen.refresh, ""))
			if s.lives(newest.access) {
				return fmt.Errorf("the replay answers %s, and the newest access token lives on", replay)
			}
			if err := replay.refused(400, "invalid_grant"); err != nil {
				return fmt.Errorf("the replay %w", err)
			}
			return s.ask(spa, refreshForm(newest.refresh, "")).refused(400, "invalid_grant")
		},
		shows: "and the newest access token lives on",
	},
	{
		ids:  "V49 stock-14 7009-2.1-09 7009-2.1-08",
		text: "revoking the refresh token leaves the access token alive",
		check: func(_ *testing.T, s target) error {
			p := s.signIn(web, "read")
			if err := s.end(p.refresh, "refresh_token"); err != nil {
				return err
			}
			if s.lives(p.access) {
				return errors.New("the access token lives on")
			}
			return nil
		},
		shows: "the access token lives on",
	},
	{
		ids:  "stock-14 7009-2.1-10",
		text: "revoking the access token leaves the refresh token alive",
		check: func(_ *testing.T, s target) error {
			p := s.signIn(web, "read")
			if err := s.end(p.access, "access_token"); err != nil {
				return err
			}
			return s.ask(web, refreshForm(p.refresh, "")).refused(400, "invalid_grant")
		},
		shows: "200 with a token",
	},
}

// end revokes the token.
func (s target) end(token, kind string) error {
	form := url.Values{"token": {token}, "token_type_hint": {kind}}
	return s.send(http.MethodPost, s.revoke, form.Encode(), "Content-Type", formType, "Authorization", web.basic()).ok()
}

// crowd sends n concurrent refreshes of one token and counts the new tokens:
// there may be one successor, even if several answers have it, and one access
// token.
func (s target) crowd(n int) error {
	first := s.signIn(web, "read")
	s.meet(n)
	answers := make([]answer, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { answers[i] = s.ask(web, refreshForm(first.refresh, "")) })
	}
	all.Wait()

	successors, live := map[string]bool{}, map[string]bool{}
	for _, a := range answers {
		if a.status != http.StatusOK {
			continue
		}
		successors[a.member("refresh_token")] = true
		if s.lives(a.member("access_token")) {
			live[a.member("access_token")] = true
		}
	}
	if len(successors) != 1 || len(live) != 1 || s.lives(first.access) {
		return fmt.Errorf("%d refreshes give %d successors with %d live access tokens, want 1 and 1", n, len(successors), len(live))
	}
	return nil
}
