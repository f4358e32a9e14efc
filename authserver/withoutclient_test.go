package authserver_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// abandoned serves a POST whose client has closed the connection or its half of
// it. Like net/http, it can't tell the two apart.
func abandoned(t *testing.T, f *fixture, path string, form url.Values, id, secret string) *httptest.ResponseRecorder {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	leave()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(id, secret)
	w := httptest.NewRecorder()
	f.server.Handler().ServeHTTP(w, r)
	return w
}

func TestARequestIsDoneThoughItsClientClosed(t *testing.T) {
	f := newFixture(t)
	t.Run("a refresh", func(t *testing.T) {
		pair := signIn(t, f)
		if w := abandoned(t, f, "/token", refreshForm(pair.text("refresh_token")), "web", webSecret); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		wantInactive(t, f, pair.text("access_token"))
	})
	t.Run("client_credentials", func(t *testing.T) {
		if w := abandoned(t, f, "/token", form("grant_type", "client_credentials"), "svc", "s3cret3"); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	t.Run("a logout", func(t *testing.T) {
		pair := signIn(t, f)
		if w := abandoned(t, f, "/revoke", form("token", pair.text("refresh_token")), "web", webSecret); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		wantInactive(t, f, pair.text("access_token"))
	})
	t.Run("but nothing is hashed for who is gone", func(t *testing.T) {
		w := abandoned(t, f, "/token", form("grant_type", "password", "username", "alice", "password", "secret123"), "web", webSecret)
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// Without a bound, clients that send requests and leave would make them pile
// up.
func TestRequestsThatGoOnWithoutTheirClientsAreBounded(t *testing.T) {
	const many = 256
	f := newFixture(t)
	pair := signIn(t, f)
	logout := func() int {
		return abandoned(t, f, "/revoke", form("token", pair.text("refresh_token")), "web", webSecret).Code
	}
	arrived, leave := make(chan struct{}), make(chan struct{})
	f.store.set(func(s *faultyStore) {
		s.afterClient = func() { arrived <- struct{}{}; <-leave }
	})
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			if code := logout(); code != http.StatusOK {
				t.Errorf("one of %d: %d", many, code)
			}
		})
		<-arrived
	}
	f.store.set(func(s *faultyStore) { s.afterClient = nil })
	if code := logout(); code != http.StatusServiceUnavailable {
		t.Errorf("beside %d others: %d", many, code)
	}
	close(leave)
	all.Wait()
	if code := logout(); code != http.StatusOK {
		t.Errorf("after them: %d", code)
	}
}
