package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
)

// forge sets the headers by which a client pretends to come from another
// address, for another host and over TLS.
func forge(r *http.Request) {
	for name, value := range map[string]string{
		"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.test", "X-Forwarded-Port": "443",
		"Forwarded": "for=203.0.113.9;proto=https;host=evil.test", "X-Real-Ip": "203.0.113.9", "X-Request-Id": "forged-id",
	} {
		r.Header.Set(name, value)
	}
}

// logged returns the lines of requests in the log of a program that has ended.
func logged(t *testing.T, log string) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for text := range strings.Lines(log) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if line["msg"] == "request" {
			lines = append(lines, line)
		}
	}
	return lines
}

// RFC 9700 section 4.13: the headers of a proxy count only if they come from a
// trusted one, since anybody can send the same headers.
func TestOnlyOwnProxiesAreBelieved(t *testing.T) {
	s := startSite(t, "GRANTD_TRUSTED_PROXIES=127.0.0.2")
	ask := func(s *site, more func(*http.Request)) (status int, header http.Header, body string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/users/me", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		forge(r)
		more(r)
		// The client sends Host by itself.
		r.Host = "evil.test"
		response, err := s.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var b strings.Builder
		if err := response.Header.Write(&b); err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, response.Header, b.String()
	}
	nothing := func(*http.Request) {}
	stranger, proxy := s.from("127.0.0.1"), s.from("127.0.0.2")

	status, header, text := ask(stranger, nothing)
	t.Run("9700-4.13-01 a stranger doesn't make plain http secure, nor choose the request's id", func(t *testing.T) {
		if status != http.StatusForbidden || header.Get("X-Request-Id") == "forged-id" {
			t.Errorf("%d %v", status, header)
		}
	})
	status, header, proxied := ask(proxy, nothing)
	t.Run("9700-4.13-01 an own proxy does", func(t *testing.T) {
		if status != http.StatusUnauthorized || header.Get("X-Request-Id") != "forged-id" {
			t.Errorf("%d %v", status, header)
		}
	})
	t.Run("9700-4.13-01 no host that was sent comes back", func(t *testing.T) {
		if strings.Contains(text+proxied, "evil.test") {
			t.Errorf("headers %s\n%s", text, proxied)
		}
	})
	ask(proxy, func(r *http.Request) { r.Header.Set("X-Forwarded-For", "198.51.100.1, 203.0.113.9") })
	ask(proxy, func(r *http.Request) {
		r.Header.Del("X-Forwarded-For") // Forwarded and X-Real-Ip count from no proxy
	})
	s.Stop()
	lines := logged(t, s.Stderr())
	for i, want := range []string{"127.0.0.1", "203.0.113.9", "203.0.113.9", "127.0.0.2"} {
		t.Run("9700-4.13-01 where a request comes from is "+want, func(t *testing.T) {
			if len(lines) != 4 || lines[i]["remote"] != want {
				t.Errorf("request %d: logged %v", i+1, lines)
			}
		})
	}
}

func TestTheGrantKnowsWhereItCameFrom(t *testing.T) {
	for name, c := range map[string]struct{ trusted, want string }{
		"by an own proxy": {"127.0.0.1", "203.0.113.9"},
		"by a stranger":   {"192.0.2.1", "127.0.0.1"},
	} {
		t.Run("9700-4.13-01 "+name, func(t *testing.T) {
			s := startSite(t, "GRANTD_ISSUER=http://127.0.0.1", "GRANTD_TRUSTED_PROXIES="+c.trusted)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/token", strings.NewReader(passwordForm("admin", sitePassword, "").Encode()))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.SetBasicAuth("web", secret32)
			forge(r)
			if status, body := s.do(t, r, ""); status != http.StatusOK {
				t.Fatalf("%d %s", status, body)
			}
			store, err := embedded.Open(filepath.Join(s.cmd.Dir, "grantd.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			grants, _, err := store.ListGrants(t.Context(), storage.Target{ClientID: "web"}, "", 10)
			if err != nil || len(grants) != 1 || grants[0].Address.String() != c.want {
				t.Errorf("%v, %v", grants, err)
			}
		})
	}
}

// A proxy on this machine that isn't in trusted_proxies may say that TLS was
// used. Its X-Forwarded-For doesn't count, because it may pass on what a client
// sent.
func TestAnUnnamedProxyDoesNotSayWhereARequestComesFrom(t *testing.T) {
	s := startSite(t, "GRANTD_METRICS_ADDR=127.0.0.1:0")
	for i, want := range []int{400, 400, 400, 429} {
		form := passwordForm("admin", fmt.Sprint("guess number ", i), "")
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/token", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth("web", secret32)
		forge(r)
		r.Header.Set("X-Forwarded-For", fmt.Sprint("203.0.113.", i))
		if status, body := s.do(t, r, ""); status != want {
			t.Errorf("guess %d from an invented network: %d %s, want %d", i+1, status, body, want)
		}
	}
	s.Stop()
	for _, line := range logged(t, s.Stderr()) {
		if line["remote"] != "127.0.0.1" || line["request_id"] == "forged-id" {
			t.Errorf("believed: %v", line)
		}
	}
	if n := strings.Count(s.Stderr(), "trusted_proxies names no proxy"); n != 1 {
		t.Errorf("the log tells %d times that all are one network, want once: metrics have no clients", n)
	}
}
