package main

import (
	"bytes"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"testing"
)

// requestDefects are about the reading of requests to the token endpoint.
var requestDefects = []defect{
	{
		ids:  "V15 stock-10 6749-3.2-07",
		text: "a username and a password in the URI are honoured",
		check: func(_ *testing.T, s target) error {
			query := url.Values{"username": {stockUser}, "password": {stockPassword}}
			return s.raw(s.token+"?"+query.Encode(), "grant_type=password").refused(400, "invalid_request")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V15 6749-3.2-07",
		text: "so is a grant_type",
		check: func(_ *testing.T, s target) error {
			return s.raw(s.token+"?grant_type=client_credentials", "").refused(400, "invalid_request")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V15 6749-3.2-07",
		text: "and a refresh token",
		check: func(_ *testing.T, s target) error {
			query := url.Values{"refresh_token": {s.signIn(web, "read").refresh}}
			return s.raw(s.token+"?"+query.Encode(), "grant_type=refresh_token").refused(400, "invalid_request")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V16 6749-3.2-04 6749-5.2-04",
		text: "of a repeated grant_type the first counts",
		check: func(_ *testing.T, s target) error {
			return s.raw(s.token, "grant_type=client_credentials&grant_type=password").refused(400, "invalid_request")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V16 6749-3.2-04 6749-5.2-04",
		text: "of a repeated username too",
		check: func(_ *testing.T, s target) error {
			return s.raw(s.token, signInForm("").Encode()+"&username=bob").refused(400, "invalid_request")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V17 6749-3.2-08",
		text: "a multipart body is read",
		check: func(_ *testing.T, s target) error {
			contentType, body := multipartForm(s.t, map[string]string{"grant_type": "client_credentials"})
			a := s.send(http.MethodPost, s.token, body, "Content-Type", contentType, "Authorization", web.basic())
			return a.refused(415, "invalid_request")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V17 6749-3.2-09",
		text: "a body that can't be decoded is used in parts",
		check: func(_ *testing.T, s target) error {
			return s.raw(s.token, "grant_type=client_credentials&x=%zz").refused(400, "invalid_request")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V17 6749-B-02",
		text: "bytes that aren't UTF-8 are taken",
		check: func(_ *testing.T, s target) error {
			return s.raw(s.token, "grant_type=client_credentials&x=%ff").refused(400, "invalid_request")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V18 6749-3.2-01",
		text: "a refused GET doesn't tell which method is allowed",
		check: func(_ *testing.T, s target) error {
			a := s.send(http.MethodGet, s.token+"?grant_type=client_credentials", "", "Authorization", web.basic())
			if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != http.MethodPost {
				return fmt.Errorf("answers %s, Allow %q, want 405 and POST", a, a.header.Get("Allow"))
			}
			return nil
		},
		shows: `400 invalid_request, Allow ""`,
	},
	{
		ids:  "V18 6749-3.2-01",
		text: "GET can be switched on",
		check: func(_ *testing.T, s target) error {
			return s.send(http.MethodGet, s.token+"?grant_type=client_credentials", "", "Authorization", web.basic()).refused(405, "invalid_request")
		},
		toolkit: func(k *toolkit) { k.server.SetAllowGetAccessRequest(true) },
		shows:   "200 with a token",
	},
	{
		ids:  "V19 6749-3.3-01 6749-5.2-13",
		text: "a scope with a quote is granted",
		check: func(_ *testing.T, s target) error {
			return s.ask(web, signInForm(`re"ad`)).refused(400, "invalid_scope")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V19 6749-3.3-06 6749-5.2-13",
		text: "so is a scope that nobody knows",
		check: func(_ *testing.T, s target) error {
			return s.ask(web, signInForm("nosuch")).refused(400, "invalid_scope")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V19 6749-10.3-03",
		text: "and one that the client may not have",
		check: func(_ *testing.T, s target) error {
			return s.ask(web, signInForm("admin")).refused(400, "invalid_scope")
		},
		shows: "200 with a token",
	},
	{
		ids:  "V19 6749-3.3-04",
		text: "an omitted scope gives a token without any",
		check: func(_ *testing.T, s target) error {
			a := s.ask(web, signInForm(""))
			if a.member("error") != "invalid_scope" && a.member("scope") == "" {
				return fmt.Errorf("answers %s and the scope %q, want the default one or invalid_scope", a, a.member("scope"))
			}
			return nil
		},
		shows: `200 with a token and the scope ""`,
	},
	{
		ids:   "V07 6749-4.3.2-05",
		text:  "passwords can be guessed without end",
		check: func(_ *testing.T, s target) error { return s.refuseGuesses() },
		shows: "200 with a token",
	},
}

// refuseGuesses returns nil if, after that many wrong passwords, the server
// refuses more of them, and for a while the right one too.
func (s target) refuseGuesses() error {
	for i := range 100 {
		s.ask(web, passwordForm(stockUser, fmt.Sprint("guess ", i), ""))
	}
	a := s.ask(web, signInForm(""))
	if err := a.refused(429, "temporarily_unavailable"); err != nil {
		return err
	}
	if a.header.Get("Retry-After") == "" {
		return errors.New("Retry-After is missing")
	}
	return nil
}

// raw posts the body unchanged, as the client web.
func (s target) raw(address, body string) answer {
	return s.send(http.MethodPost, address, body, "Content-Type", formType, "Authorization", web.basic())
}

func multipartForm(t testing.TB, fields map[string]string) (contentType, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for name, value := range fields {
		if err := w.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.String()
}
