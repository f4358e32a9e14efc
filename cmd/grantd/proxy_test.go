package main

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func mustProxies(t testing.TB, texts ...string) proxies {
	t.Helper()
	p, err := parseProxies(texts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestClientAddressBehindProxies(t *testing.T) {
	p := mustProxies(t, "10.0.0.0/8", "192.0.2.1", "2001:db8::/32")
	tests := []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"no proxy", "198.51.100.7:1", nil, "198.51.100.7"},
		{"a stranger's header is not believed", "198.51.100.7:1", []string{"203.0.113.9"}, "198.51.100.7"},
		{"one proxy", "10.0.0.1:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"the rightmost untrusted counts", "10.0.0.1:1", []string{"1.1.1.1, 203.0.113.9, 10.2.3.4"}, "203.0.113.9"},
		{"several lines are one list", "10.0.0.1:1", []string{"1.1.1.1", "203.0.113.9", "192.0.2.1"}, "203.0.113.9"},
		{"all trusted: the leftmost", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"garbage stops the walk", "10.0.0.1:1", []string{"203.0.113.9, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"no header", "10.0.0.1:1", nil, "10.0.0.1"},
		{"with ports", "10.0.0.1:1", []string{"203.0.113.9:555"}, "203.0.113.9"},
		{"IPv6", "[2001:db8::1]:1", []string{"2001:db9::7"}, "2001:db9::7"},
		{"mapped IPv4 is IPv4", "[::ffff:10.0.0.1]:1", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
	}
	for _, tt := range tests {
		t.Run("9700-4.13-01 "+tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = tt.peer
			r.Header["X-Forwarded-For"] = tt.forwarded
			if got := p.client(r, peer(r)); got != netip.MustParseAddr(tt.want) {
				t.Errorf("client %s, want %s", got, tt.want)
			}
		})
	}
}

// RFC 6750 section 5.2: the token stays protected between proxy and server.
// Only trusted peers can say that it was protected on its way to the proxy.
func TestSecure(t *testing.T) {
	p := mustProxies(t, "10.0.0.1")
	tests := []struct {
		name, peer string
		tls        bool
		proto      []string
		want       bool
	}{
		{"TLS", "198.51.100.7:1", true, nil, true},
		{"plain", "198.51.100.7:1", false, nil, false},
		{"a stranger says https", "198.51.100.7:1", false, []string{"https"}, false},
		{"the proxy says https", "10.0.0.1:1", false, []string{"https"}, true},
		{"the proxy says HTTPS", "10.0.0.1:1", false, []string{"HTTPS"}, true},
		{"the proxy says http", "10.0.0.1:1", false, []string{"http"}, false},
		{"the proxy says nothing", "10.0.0.1:1", false, nil, false},
		{"one hop was plain", "10.0.0.1:1", false, []string{"http, https"}, false},
		{"one hop was plain, in two lines", "10.0.0.1:1", false, []string{"https", "http"}, false},
		{"all hops were https", "10.0.0.1:1", false, []string{"https,https"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = tt.peer
			r.Header["X-Forwarded-Proto"] = tt.proto
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			if got := p.secure(r); got != tt.want {
				t.Errorf("secure %v, want %v", got, tt.want)
			}
		})
	}
}

func TestParseProxies(t *testing.T) {
	for _, bad := range []string{"", "proxy", "10.0.0.0/33", "10.0.0", "fe80::1%eth0"} {
		if _, err := parseProxies([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if !mustProxies(t, "10.1.2.3/8").trust(netip.MustParseAddr("10.255.0.1")) {
		t.Error("a range is its network, whatever the host bits")
	}
}

// RFC 6749 section 2.3.1: a secret that came by plain http is not processed.
func TestPlainHTTPIsRefusedBeforeAnythingIsProcessed(t *testing.T) {
	called := false
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true })
	h := demandTLS(mustProxies(t, "10.0.0.1"))(next)
	for _, tt := range []struct {
		peer string
		want int
	}{{"198.51.100.7:1", http.StatusForbidden}, {"10.0.0.1:1", http.StatusOK}} {
		called = false
		r := httptest.NewRequest("POST", "/token", nil)
		r.RemoteAddr = tt.peer
		r.Header.Set("X-Forwarded-Proto", "https")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.want || called != (tt.want == http.StatusOK) {
			t.Errorf("from %s: %d, handler called: %v", tt.peer, w.Code, called)
		}
		if !called && !strings.HasPrefix(w.Body.String(), `{"error":"invalid_request","error_description":"The server accepts only https.`) {
			t.Errorf("body %s", w.Body)
		}
	}
}
