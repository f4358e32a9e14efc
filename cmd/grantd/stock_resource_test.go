package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// resourceDefects are about tokens at a protected resource.
var resourceDefects = []defect{
	{
		ids:   "V53 stock-11 6750-2.1-02 7235-2.1-01",
		text:  "the scheme bearer is refused in lower case",
		check: func(_ *testing.T, s target) error { return s.bearer("bearer " + s.signIn(web, "read").access).ok() },
		shows: "400",
	},
	{
		ids:   "V53 6750-2.1-03",
		text:  "a second space before the token breaks it",
		check: func(_ *testing.T, s target) error { return s.bearer("Bearer  " + s.signIn(web, "read").access).ok() },
		shows: "400",
	},
	{
		ids:  "V54 stock-10 6750-2.3-01 9700-4.3.2-01",
		text: "a token in the URI is accepted",
		check: func(_ *testing.T, s target) error {
			return anonymous(s.send(http.MethodGet, s.me+"?access_token="+s.signIn(web, "read").access, ""))
		},
		shows: "200 with JSON",
	},
	{
		ids:  "V54 6750-2.3-01 6750-3.1-06",
		text: "also when credentials of another scheme were sent",
		check: func(_ *testing.T, s target) error {
			return anonymous(s.send(http.MethodGet, s.me+"?access_token="+s.signIn(web, "read").access, "", "Authorization", web.basic()))
		},
		shows: "200 with JSON",
	},
	{
		ids:  "V54 6750-2.2-03",
		text: "so is one in a multipart body",
		check: func(_ *testing.T, s target) error {
			contentType, body := multipartForm(s.t, map[string]string{"access_token": s.signIn(web, "write").access})
			return anonymous(s.send(http.MethodPost, s.writing, body, "Content-Type", contentType))
		},
		shows: "200 with JSON",
	},
	{
		ids:  "V54 6750-2.2-02 6750-2.2-03",
		text: "even in the multipart body of a GET",
		check: func(_ *testing.T, s target) error {
			contentType, body := multipartForm(s.t, map[string]string{"access_token": s.signIn(web, "write").access})
			return anonymous(s.send(http.MethodGet, s.writing, body, "Content-Type", contentType))
		},
		shows: "200 with JSON",
	},
	{
		ids:  "V55 6750-2-01 6750-3.1-01",
		text: "of a token in the header and one in the body the second is ignored",
		check: func(_ *testing.T, s target) error {
			access := s.signIn(web, "write").access
			form := url.Values{"access_token": {access}}
			a := s.send(http.MethodPost, s.writing, form.Encode(), "Content-Type", formType, "Authorization", "Bearer "+access)
			return challenged(a, 400, "invalid_request")
		},
		shows: "200 with JSON",
	},
	{
		ids:   "V56 6750-3-01 6750-3.1-05 7235-2.1-03",
		text:  "a request without a token gets no challenge",
		check: func(_ *testing.T, s target) error { return anonymous(s.send(http.MethodGet, s.me, "")) },
		shows: `400 "invalid access token", challenge ""`,
	},
	{
		ids:  "V56 6750-3-02 6750-3-07 6750-3.1-02",
		text: "nor does a bad token, which can't be told from none",
		check: func(_ *testing.T, s target) error {
			return challenged(s.bearer("Bearer made-up"), 401, "invalid_token")
		},
		shows: `400 "invalid access token", challenge ""`,
	},
	{
		ids:  "V57 9700-2.3-03 8707-2.2-01",
		text: "a token that was asked for another resource is taken",
		check: func(_ *testing.T, s target) error {
			body := signInForm("write")
			body.Set("resource", "http://127.0.0.1/users/me")
			token := s.must(s.ask(web, body)).access
			if !s.lives(token) {
				return errors.New("the token isn't taken where it was asked for")
			}
			return challenged(s.send(http.MethodGet, s.writing, "", "Authorization", "Bearer "+token), 401, "invalid_token")
		},
		shows: "200 with JSON",
	},
	{
		ids:  "V57 6749-7-02 9700-2.3-04 6750-3.1-03",
		text: "a token's scope isn't looked at",
		check: func(_ *testing.T, s target) error {
			a := s.send(http.MethodGet, s.writing, "", "Authorization", "Bearer "+s.signIn(web, "read").access)
			return challenged(a, 403, "insufficient_scope")
		},
		shows: "200 with JSON",
	},
}

// anonymous returns nil for the right answer to a request without a token: a
// challenge without an error.
func anonymous(a answer) error {
	if a.status != http.StatusUnauthorized || !strings.HasPrefix(a.challenge(), "Bearer realm=") || strings.Contains(a.challenge(), "error") {
		return fmt.Errorf("answers %s, challenge %q, want 401 and a challenge without an error", a, a.challenge())
	}
	return nil
}

// challenged returns nil for a refusal of RFC 6750 section 3.
func challenged(a answer, status int, code string) error {
	if a.status != status || !strings.HasPrefix(a.challenge(), "Bearer ") || !strings.Contains(a.challenge(), `error="`+code+`"`) {
		return fmt.Errorf("answers %s, challenge %q, want %d %s", a, a.challenge(), status, code)
	}
	return nil
}
