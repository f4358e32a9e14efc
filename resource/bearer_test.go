package resource_test

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
)

// RFC 6750 section 2.1: the token in the Authorization header.
func TestTokenInTheHeader(t *testing.T) {
	a := newAPI(t)
	token := a.accessToken(t)

	t.Run("6750-2.1-01 a token with the scheme Bearer is accepted", func(t *testing.T) {
		got := a.get(t, "/users/me", "Bearer "+token)
		got.want(t, http.StatusOK)
		if got.members(t)["username"] != "alice" {
			t.Errorf("body %s, want username alice", got.body)
		}
	})
	for _, scheme := range []string{"bearer", "BEARER", "bEaReR"} {
		t.Run("6750-2.1-02 7235-2.1-01 the scheme has no case: "+scheme, func(t *testing.T) {
			a.get(t, "/users/me", scheme+" "+token).want(t, http.StatusOK)
		})
	}
	for _, spaces := range []string{" ", "  ", "          "} {
		t.Run("6750-2.1-03 one or more spaces before the token", func(t *testing.T) {
			a.get(t, "/users/me", "Bearer"+spaces+token).want(t, http.StatusOK)
		})
	}
	t.Run("6750-2.1-03 a tab is no space", func(t *testing.T) {
		for _, header := range []string{"Bearer\t" + token, "Bearer \t" + token, "Bearer\t " + token} {
			a.get(t, "/users/me", header).refused(t, http.StatusUnauthorized, "invalid_token")
		}
	})
}

func TestMalformedTokens(t *testing.T) {
	a := newAPI(t)
	token := a.accessToken(t)
	for _, header := range []string{
		"Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "Bearer é", "Bearer =", "Bearer ====",
		"Bearer a=b", `Bearer "a"`, "Bearer a\\b", "Bearer a;b", "Bearer a%20b", "Bearer a\x80",
		"Bearer=" + token, "Bearer," + token, "Bearer:" + token, "Bearer " + token + ",",
		"Bearer " + token + ", Bearer " + token, "Bearer Bearer " + token, "Bearer token=" + token,
		"Bearer " + token + " x", `Bearer "` + token + `"`, "Bearer <" + token + ">",
	} {
		t.Run("6750-2.1-04 malformed: "+strings.ReplaceAll(header, token, "TOKEN"), func(t *testing.T) {
			a.get(t, "/users/me", header).refused(t, http.StatusUnauthorized, "invalid_token")
		})
	}
	t.Run("6750-2.1-04 malformed tokens are not looked up", func(t *testing.T) {
		if n := a.lookups.Load(); n != 0 {
			t.Errorf("%d look-ups, want none", n)
		}
	})
}

// Tokens with each character that RFC 6750 section 2.1 allows reach the
// validator, and tokens with any other don't.
func TestB64TokenGrammar(t *testing.T) {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
	spy := &spy{}
	h := guarded(t, spy)
	for c := range 256 {
		token := "a" + string([]byte{byte(c)}) + "z"
		call(h, "Bearer "+token)
		if passed := spy.took() == token; passed != strings.Contains(allowed, string([]byte{byte(c)})) {
			t.Errorf("6750-2.1-04 %q reached the validator: %v", token, passed)
		}
	}
	for _, token := range []string{"a", "a=", "a==", "~+/-._==", strings.Repeat("x", 8000)} {
		if call(h, "Bearer "+token); spy.took() != token {
			t.Errorf("6750-2.1-04 %.20q didn't reach the validator", token)
		}
	}
}

func TestOneTokenARequest(t *testing.T) {
	a := newAPI(t, formBody)
	token, other := a.accessToken(t), a.accessToken(t)

	for _, headers := range [][]string{
		{"Bearer " + token, "Bearer " + other},
		{"Bearer " + token, "Bearer " + token},
		{"Bearer " + token, "Basic eDp5"},
		{"Basic eDp5", "Bearer " + token},
		{"Bearer " + token, ""},
	} {
		t.Run("6750-2-01 6750-3.1-01 two Authorization headers", func(t *testing.T) {
			a.get(t, "/users/me", headers...).refused(t, http.StatusBadRequest, "invalid_request")
		})
	}
	for _, header := range []string{"Bearer " + token, "bearer " + other, "Basic eDp5", "Bearer"} {
		t.Run("6750-2-01 header and body: "+strings.Fields(header)[0], func(t *testing.T) {
			a.post(t, "/form", "access_token="+token, header).refused(t, http.StatusBadRequest, "invalid_request")
		})
	}
	t.Run("6750-2-01 the token twice in the body", func(t *testing.T) {
		form := "access_token=" + token + "&access_token=" + token
		a.post(t, "/form", form).refused(t, http.StatusBadRequest, "invalid_request")
	})
	if n := a.lookups.Load(); n != 0 {
		t.Errorf("%d look-ups for ambiguous requests, want none", n)
	}
}

// RFC 6750 section 2.3: the token in the query, which OAuth 2.1 drops.
func TestTokenInTheQuery(t *testing.T) {
	for name, a := range map[string]*api{"default": newAPI(t), "with FormBody": newAPI(t, formBody)} {
		token := a.accessToken(t)
		t.Run("6750-2.3-01 9700-4.3.2-01 a token in the query is not seen, "+name, func(t *testing.T) {
			a.get(t, "/users/me?access_token="+token).unauthenticated(t)
			a.post(t, "/form?access_token="+token, "note=x").unauthenticated(t)
		})
		t.Run("6750-2.3-02 9700-4.3.2-01 no configuration accepts a token in the query, "+name, func(t *testing.T) {
			if n := a.lookups.Load(); n != 0 {
				t.Errorf("%d look-ups, want none", n)
			}
		})
		t.Run("6750-2.3-01 a query doesn't spoil a token in the header, "+name, func(t *testing.T) {
			a.get(t, "/users/me?access_token=x", "Bearer "+token).want(t, http.StatusOK)
		})
	}
}

// RFC 6750 section 2.2: the token in a form body.
func TestTokenInTheBody(t *testing.T) {
	off, on := newAPI(t), newAPI(t, formBody)
	body := "note=hi&access_token=" + on.accessToken(t)

	t.Run("6750-2.2-01 off: a body token counts for nothing", func(t *testing.T) {
		off.post(t, "/form", "access_token="+off.accessToken(t)).unauthenticated(t)
	})
	t.Run("6750-2.2-01 on: a body token is accepted", func(t *testing.T) {
		on.post(t, "/form", body).want(t, http.StatusOK)
	})
	t.Run("6750-2.2-01 the guarded handler can still read the form", func(t *testing.T) {
		if got := on.post(t, "/form", body); got.body != "note=hi" {
			t.Errorf("the handler read %q, want note=hi", got.body)
		}
		header := "Bearer " + on.accessToken(t)
		if got := on.post(t, "/form", "note=hi", header); got.body != "note=hi" {
			t.Errorf("with a token in the header the handler read %q, want note=hi", got.body)
		}
	})
	form := http.Header{"Content-Type": {"Application/X-WWW-Form-Urlencoded; charset=UTF-8"}}
	for _, method := range []string{"POST", "PUT", "PATCH"} {
		t.Run("6750-2.2-02 "+method+" gives its body a meaning", func(t *testing.T) {
			on.do(t, method, "/form", form, body).want(t, http.StatusOK)
		})
	}
	for _, method := range []string{"GET", "HEAD", "DELETE", "OPTIONS"} {
		t.Run("6750-2.2-02 "+method+" doesn't", func(t *testing.T) {
			on.do(t, method, "/form", form, body).want(t, http.StatusUnauthorized)
		})
	}
	t.Run("6750-2.2-02 GET with a form body has no credentials", func(t *testing.T) {
		on.do(t, "GET", "/users/me", form, body).unauthenticated(t)
	})
}

func TestBodiesThatAreNoForm(t *testing.T) {
	a := newAPI(t, formBody)
	token := a.accessToken(t)

	t.Run("6750-2.2-03 multipart/form-data", func(t *testing.T) {
		var b bytes.Buffer
		m := multipart.NewWriter(&b)
		m.WriteField("access_token", token)
		m.Close()
		h := http.Header{"Content-Type": {m.FormDataContentType()}}
		a.do(t, "POST", "/form", h, b.String()).unauthenticated(t)
	})
	for media, body := range map[string]string{
		"application/json":                    `{"access_token":"` + token + `"}`,
		"text/plain":                          "access_token=" + token,
		"":                                    "access_token=" + token,
		"application/x-www-form-urlencodedx":  "access_token=" + token,
		"application/x-www-form-urlencoded; ": "note=x",
	} {
		t.Run("6750-2.2-03 "+media, func(t *testing.T) {
			a.do(t, "POST", "/form", http.Header{"Content-Type": {media}}, body).unauthenticated(t)
		})
	}
}

func TestBrokenForms(t *testing.T) {
	a := newAPI(t, formBody)
	token := "access_token=" + a.accessToken(t)

	t.Run("6750-2.2-04 percent-encoded UTF-8 is ASCII on the wire", func(t *testing.T) {
		if got := a.post(t, "/form", token+"&note=%C3%A9"); got.status != http.StatusOK || got.body != "note=é" {
			t.Errorf("status %d, body %q", got.status, got.body)
		}
	})
	for name, form := range map[string]string{
		"6750-2.2-04 raw é":                         token + "&note=é",
		"6750-2.2-04 a raw byte that isn't UTF-8":   token + "&note=\xff",
		"6750-3.1-01 a broken escape":               token + "&note=%zz",
		"6750-3.1-01 a form of more than 32 KiB":    token + "&note=" + strings.Repeat("x", 32<<10),
		"6750-3.1-01 a broken escape, but no token": "note=%zz",
	} {
		t.Run(name, func(t *testing.T) {
			a.post(t, "/form", form).refused(t, http.StatusBadRequest, "invalid_request")
		})
	}
	t.Run("a form of exactly 32 KiB is read", func(t *testing.T) {
		fill := strings.Repeat("x", 32<<10-len(token)-len("&note="))
		if got := a.post(t, "/form", token+"&note="+fill); got.body != "note="+fill {
			t.Errorf("status %d, %d bytes", got.status, len(got.body))
		}
	})
	for _, value := range []string{"", "%20", "a+b", "a,b", "=", "%C3%A9"} {
		t.Run("6750-2.1-04 a body token outside the grammar: "+value, func(t *testing.T) {
			a.post(t, "/form", "access_token="+value).refused(t, http.StatusUnauthorized, "invalid_token")
		})
	}
}
