package authserver_test

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver"
)

func TestTokenRequest(t *testing.T) {
	f := newFixture(t)
	good := passwordForm("alice", "secret123").Encode()

	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions} {
		t.Run("6749-3.2-01 "+method+" is refused with Allow: POST", func(t *testing.T) {
			a := wantError(t, f.send(t, method, "/token", good, asWeb), http.StatusMethodNotAllowed, "invalid_request")
			if got := a.header.Get("Allow"); got != "POST" {
				t.Errorf("Allow is %q", got)
			}
		})
	}

	accepted := map[string]string{
		"6749-3.2-02 an empty scope counts as absent":         good + "&scope=",
		"6749-3.2-03 an unknown body parameter is ignored":    good + "&foo=bar",
		"6749-3.2-04 resource may be repeated":                good + "&resource=https%3A%2F%2Fapi.test&resource=https%3A%2F%2Fother.test",
		"6749-3.2-03 an unknown parameter with an empty name": good + "&=x&&",
	}
	for name, body := range accepted {
		t.Run(name, func(t *testing.T) {
			a := wantToken(t, f.send(t, http.MethodPost, "/token", body, asWeb))
			if a.text("scope") != "read" {
				t.Errorf("scope is %q, want the default", a.text("scope"))
			}
		})
	}
	t.Run("6749-3.2-03 an unknown query parameter is ignored", func(t *testing.T) {
		wantToken(t, f.send(t, http.MethodPost, "/token?foo=bar", good, asWeb))
	})

	refused := map[string]string{
		"6749-3.2-02 an empty username counts as absent": "grant_type=password&username=&password=secret123",
		"6749-3.2-04 grant_type twice":                   good + "&grant_type=password",
		"6749-3.2-04 username twice":                     good + "&username=alice",
		"6749-3.2-04 scope twice":                        good + "&scope=read&scope=read",
		"6749-3.2-04 client_id twice":                    good + "&client_id=web&client_id=web",
		"6749-5.2-04 a repeated parameter":               good + "&scope=&scope=read",
		"an unknown parameter twice":                     good + "&foo=1&foo=2",
		"6749-3.2-09 a bad percent escape at the end":    good + "&x=%zz",
		"6749-3.2-09 a bad percent escape in a name":     good + "&%z=1",
		"6749-B-02 a username that is not UTF-8":         "grant_type=password&username=%FF%FE&password=secret123",
		"a NUL in the password":                          "grant_type=password&username=alice&password=secret123%00",
		"6749-1.9-01 parameter names are case-sensitive": "GRANT_TYPE=password&username=alice&password=secret123",
		"6749-5.2-03 grant_type missing":                 "username=alice&password=secret123",
		"an empty body":                                  "",
		"16,000 parameters":                              strings.Repeat("a&", 16000),
	}
	for name, body := range refused {
		t.Run(name, func(t *testing.T) {
			wantError(t, f.send(t, http.MethodPost, "/token", body, asWeb), http.StatusBadRequest, "invalid_request")
		})
	}

	t.Run("6749-3.2-07 parameters in the query are not read", func(t *testing.T) {
		wantError(t, f.send(t, http.MethodPost, "/token?"+good, "", asWeb), http.StatusBadRequest, "invalid_request")
	})
	t.Run("6749-1.9-01 the value of grant_type is case-sensitive", func(t *testing.T) {
		wantError(t, f.post(t, form("grant_type", "Password", "username", "alice", "password", "secret123"), asWeb), http.StatusBadRequest, "unsupported_grant_type")
	})
	t.Run("6749-1.9-01 the client id is case-sensitive", func(t *testing.T) {
		wantError(t, f.post(t, passwordForm("alice", "secret123"), basic("WEB", webSecret)), http.StatusUnauthorized, "invalid_client")
		wantError(t, f.post(t, bodyClient("WEB", webSecret)), http.StatusUnauthorized, "invalid_client")
	})
	for grant, id := range map[string]string{
		"implicit":           "6749-4.2-02",
		"__implicit":         "6749-4.2-02",
		"authorization_code": "6749-5.2-12",
		"urn:ietf:params:oauth:grant-type:nosuch": "6749-4.5-01",
	} {
		t.Run(id+" "+grant+" is not offered", func(t *testing.T) {
			wantError(t, f.post(t, form("grant_type", grant), asWeb), http.StatusBadRequest, "unsupported_grant_type")
		})
	}
}

func TestTokenRequestBody(t *testing.T) {
	f := newFixture(t)
	good := passwordForm("alice", "secret123").Encode()
	media := func(value string) change {
		return func(r *http.Request) { r.Header["Content-Type"] = []string{value} }
	}

	t.Run("6749-3.2-08 a charset of UTF-8 is accepted", func(t *testing.T) {
		wantToken(t, f.send(t, http.MethodPost, "/token", good, asWeb, media("application/x-www-form-urlencoded; charset=UTF-8")))
	})
	t.Run("6749-3.2-08 multipart is refused", func(t *testing.T) {
		var body bytes.Buffer
		w := multipart.NewWriter(&body)
		for name, values := range passwordForm("alice", "secret123") {
			if err := w.WriteField(name, values[0]); err != nil {
				t.Fatal(err)
			}
		}
		w.Close()
		a := f.send(t, http.MethodPost, "/token", body.String(), asWeb, media(w.FormDataContentType()))
		wantError(t, a, http.StatusUnsupportedMediaType, "invalid_request")
	})
	t.Run("6749-3.2-08 JSON is refused", func(t *testing.T) {
		const body = `{"grant_type":"password","username":"alice","password":"secret123"}`
		a := f.send(t, http.MethodPost, "/token", body, asWeb, media("application/json"))
		wantError(t, a, http.StatusUnsupportedMediaType, "invalid_request")
	})
	for name, c := range map[string]change{
		"called JSON":     media("application/json"),
		"no Content-Type": func(r *http.Request) { r.Header.Del("Content-Type") },
		"another charset": media("application/x-www-form-urlencoded; charset=latin1"),
		"two media types": header("Content-Type", "application/x-www-form-urlencoded"),
		"compressed":      header("Content-Encoding", "gzip"),
		"a broken value":  media("application/x-www-form-urlencoded; ="),
	} {
		t.Run("6749-3.2-08 "+name+" is refused", func(t *testing.T) {
			wantError(t, f.send(t, http.MethodPost, "/token", good, asWeb, c), http.StatusUnsupportedMediaType, "invalid_request")
		})
	}
	t.Run("a body over 32 KiB is refused, its length declared or not", func(t *testing.T) {
		huge := good + "&x=" + strings.Repeat("y", 32<<10)
		wantError(t, f.send(t, http.MethodPost, "/token", huge, asWeb), http.StatusRequestEntityTooLarge, "invalid_request")
		chunked := func(r *http.Request) { r.ContentLength = -1 }
		wantError(t, f.send(t, http.MethodPost, "/token", huge, asWeb, chunked), http.StatusRequestEntityTooLarge, "invalid_request")
	})
	t.Run("a body of 32 KiB is read", func(t *testing.T) {
		full := good + "&x="
		wantToken(t, f.send(t, http.MethodPost, "/token", full+strings.Repeat("y", 32<<10-len(full)), asWeb))
	})
}

func TestErrorsHoldNoInput(t *testing.T) {
	f := newFixture(t)
	const mark = "e\"v\\i\nl é zzyzx"
	for _, a := range []answer{
		f.post(t, passwordForm(mark, mark), asWeb),
		f.post(t, passwordForm("alice", "secret123", "scope", mark), asWeb),
		f.post(t, passwordForm("alice", "secret123", "resource", mark), asWeb),
		f.post(t, form("grant_type", mark), asWeb),
		f.post(t, refreshForm(mark), asWeb),
		f.post(t, passwordForm("alice", "secret123"), basic(mark, mark)),
		f.post(t, passwordForm("alice", "secret123", "client_id", mark), asWeb),
	} {
		t.Run("6749-5.2-15 6749-5.2-16 "+fmt.Sprint(a.status, a.text("error")), func(t *testing.T) {
			wantError(t, a, a.status, a.text("error"))
			if a.text("error") == "" || strings.Contains(string(a.body), "zzyzx") {
				t.Errorf("the answer echoes the request: %s", a.body)
			}
		})
	}
}

func TestRefusedBeforeThePasswordIsHashed(t *testing.T) {
	slow := newHasher(t, 64<<10, 4)
	f := newFixture(t, func(c *authserver.Config) { c.Passwords = slow })
	began := time.Now()
	wantError(t, f.post(t, passwordForm("alice", "wrong"), asWeb), http.StatusBadRequest, "invalid_grant")
	hashing := time.Since(began)
	for name, send := range map[string]func() answer{
		"6749-4.3.2-02 wrong client secret": func() answer { return f.post(t, passwordForm("alice", "secret123"), basic("web", "no")) },
		"6749-4.3.2-02 unknown client":      func() answer { return f.post(t, passwordForm("alice", "secret123"), basic("ghost", "no")) },
		"6749-4.3-01 grant not allowed":     func() answer { return f.post(t, passwordForm("alice", "secret123"), basic("web2", "s3cret2")) },
		"malformed scope":                   func() answer { return f.post(t, passwordForm("alice", "secret123", "scope", "a  b"), asWeb) },
		"scope not allowed":                 func() answer { return f.post(t, passwordForm("alice", "secret123", "scope", "admin"), asWeb) },
		"malformed resource":                func() answer { return f.post(t, passwordForm("alice", "secret123", "resource", "foo"), asWeb) },
		"unknown resource":                  func() answer { return f.post(t, passwordForm("alice", "secret123", "resource", "urn:nosuch"), asWeb) },
		"password missing":                  func() answer { return f.post(t, form("grant_type", "password", "username", "alice"), asWeb) },
		"repeated parameter":                func() answer { return f.post(t, passwordForm("alice", "secret123", "username", "a"), asWeb) },
		"grant type not served":             func() answer { return f.post(t, form("grant_type", "device"), asWeb) },
	} {
		t.Run(name, func(t *testing.T) {
			quickest := time.Hour // of three attempts, since a busy machine may slow down any of them
			for range 3 {
				began := time.Now()
				if a := send(); a.status < 400 || a.status > 499 {
					t.Fatalf("got %d", a.status)
				}
				quickest = min(quickest, time.Since(began))
			}
			if quickest > hashing/2 {
				t.Errorf("took %v: the password was hashed, which takes %v", quickest, hashing)
			}
		})
	}
}
