package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// Plain http goes to this machine only, however its name is spelled. It takes no proxy,
// since a proxy elsewhere would see the token.
func TestACommandOnThisMachineTakesNoProxy(t *testing.T) {
	var asked atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer proxy.Close()
	dir := t.TempDir()
	g := launch{args: []string{"dev", "--addr", "127.0.0.1:0"}, dir: dir}.start(t)
	token := tokenOf(t, g.URL, "demo-admin", "demo-admin-secret", url.Values{"grant_type": {"client_credentials"}, "scope": {"admin"}})
	env := []string{"GRANTD_TOKEN=" + token, "HTTP_PROXY=" + proxy.URL, "NO_PROXY=", "no_proxy="}
	for _, host := range []string{"127.0.0.1", "localhost", "LOCALHOST"} {
		server := strings.Replace(g.URL, "127.0.0.1", host, 1)
		if users := must(t, launch{args: []string{"user", "list", "--server", server}, dir: dir, env: env}); !strings.Contains(users, "alice") {
			t.Errorf("%s: %s", server, users)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the proxy was given %d requests", n)
	}
}
