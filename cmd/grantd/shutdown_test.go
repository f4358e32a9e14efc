package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

// lateEnding is a store that ends a grant only when let is closed. When the store is
// closed, it looks whether the grant is still there.
type lateEnding struct {
	storage.Store
	ending chan storage.GrantID
	let    chan struct{}
	closed chan struct{}
	found  error // the result of looking for the grant
}

func (s *lateEnding) DeleteGrant(ctx context.Context, id storage.GrantID) error {
	s.ending <- id
	select {
	case <-s.let:
		return s.Store.DeleteGrant(ctx, id)
	case <-s.closed:
		return storage.ErrUnavailable
	}
}

func (s *lateEnding) Close() error {
	_, s.found = s.LoadGrant(context.Background(), <-s.ending)
	close(s.closed)
	return s.Store.Close()
}

// lateProcess runs a process on such a store until it is stopped.
func lateProcess(t *testing.T, grace time.Duration) (s *lateEnding, addr string, stop func(), ended <-chan error) {
	t.Helper()
	p := newHere(t, io.Discard)
	s = &lateEnding{Store: p.store, ending: make(chan storage.GrantID, 1), let: make(chan struct{}), closed: make(chan struct{})}
	p.store, p.config.ShutdownTimeout = s, grace
	addr, stop, ended = p.runHere(t)
	return s, addr, stop, ended
}

// A logout that was answered 503, because the store took too long, is finished
// before the store is closed. But a store that hangs doesn't keep the process
// from ending.
func TestStopFinishesWhatRequestsBegan(t *testing.T) {
	for _, row := range []struct {
		name  string
		grace time.Duration
		slow  bool // the grant isn't ended in time
	}{{"in time", 10 * time.Second, false}, {"not in time", 50 * time.Millisecond, true}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s, addr, stop, ended := lateProcess(t, row.grace)
			_, pair := tokenFor(t, "http://"+addr, "demo", "demo-secret", passwordForm("alice", "secret123", ""))
			access, _ := pair["access_token"].(string)
			status, answer := postForm(t, "http://"+addr+"/revoke", "demo", "demo-secret", url.Values{"token": {access}})
			if status != http.StatusServiceUnavailable {
				t.Fatalf("the logout was answered %d %s, want 503", status, answer)
			}
			stop()
			waitClosed(t, addr)
			if !row.slow {
				select {
				case <-s.closed:
				case <-time.After(200 * time.Millisecond): // a process that doesn't wait would have closed it by then
				}
				close(s.let)
			}
			err := <-ended
			if told := err != nil && strings.Contains(err.Error(), "shutdown_timeout"); told != row.slow || !told && err != nil {
				t.Errorf("the process ended with %v", err)
			}
			if gone := errors.Is(s.found, storage.ErrNotFound); gone == row.slow || !gone && s.found != nil {
				t.Errorf("when the store was closed, it said of the grant: %v", s.found)
			}
		})
	}
}

// Clients that keep their connections learn during shutdown_delay that they
// have to go elsewhere. So none is in the middle of a request when the
// connections are closed.
func TestClientsThatKeepConnectionsPartDuringTheDelay(t *testing.T) {
	p := newHere(t, io.Discard)
	p.config.ShutdownDelay = time.Second
	addr, stop, ended := p.runHere(t)
	ask := func() (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/token", strings.NewReader("grant_type=client_credentials"))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("demo", "demo-secret")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.GetBody = nil // a POST that is never sent twice
		res, err := http.DefaultClient.Do(r)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		return res, err
	}
	await(t, 20*time.Second, "a server that is ready", func() bool { res, err := ask(); return err == nil && res.StatusCode == http.StatusOK && !res.Close })
	stop()
	await(t, time.Second, "an answer that closes its connection", func() bool {
		res, err := ask()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("while it stops: %v, %v", res, err)
		}
		return res.Close
	})
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
