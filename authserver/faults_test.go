package authserver_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
)

func (e *events) add(_ context.Context, ev authserver.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
}

// The store's methods that can be made to fail, or to run a hook.

func (s *faultyStore) failing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

func (s *faultyStore) LoadClient(ctx context.Context, id string) (storage.Client, error) {
	if err := s.failing(); err != nil {
		return storage.Client{}, err
	}
	c, err := s.Store.LoadClient(ctx, id)
	s.mu.Lock()
	after := s.afterClient
	s.mu.Unlock()
	if after != nil {
		after()
	}
	return c, err
}

func (s *faultyStore) SwapGuesses(ctx context.Context, key storage.GuessKey, old, next []byte, expiry time.Time) ([]byte, error) {
	s.mu.Lock()
	err := s.guesses
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return s.Store.SwapGuesses(ctx, key, old, next, expiry)
}

func (s *faultyStore) LoadGrant(ctx context.Context, id storage.GrantID) (storage.Grant, error) {
	s.set(func(s *faultyStore) { s.grantLoads++ })
	if err := s.failing(); err != nil {
		return storage.Grant{}, err
	}
	return s.Store.LoadGrant(ctx, id)
}

func (s *faultyStore) SwapGrant(ctx context.Context, old, next storage.Grant, r storage.Retry) error {
	if err := s.failing(); err != nil {
		return err
	}
	return s.Store.SwapGrant(ctx, old, next, r)
}

func (s *faultyStore) CreateGrant(ctx context.Context, g storage.Grant) error {
	s.mu.Lock()
	hook := s.beforeCreate
	s.mu.Unlock()
	if hook != nil {
		hook()
	}
	return s.Store.CreateGrant(ctx, g)
}

func TestStoreDown(t *testing.T) {
	f := newFixture(t)
	pair := wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
	f.store.set(func(s *faultyStore) { s.fault = storage.ErrUnavailable })

	for name, body := range map[string]func() answer{
		"password":      func() answer { return f.post(t, passwordForm("alice", "secret123"), asWeb) },
		"refresh_token": func() answer { return f.post(t, refreshForm(pair.text("refresh_token")), asWeb) },
		"client":        func() answer { return f.post(t, passwordForm("alice", "secret123"), basic("ghost", "x")) },
	} {
		t.Run(name+" is a 503 with Retry-After, never an invalid_grant or invalid_client", func(t *testing.T) {
			a := wantError(t, body(), http.StatusServiceUnavailable, "temporarily_unavailable")
			if a.header.Get("Retry-After") != "1" {
				t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
			}
		})
	}

	f.store.set(func(s *faultyStore) { s.fault = nil })
	t.Run("nothing was spent: the refresh token works when the store is back", func(t *testing.T) {
		wantToken(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb))
	})
}

func TestRevocationDuringSignIn(t *testing.T) {
	t.Run("a user who is disabled while signing in gets nothing", func(t *testing.T) {
		f := newFixture(t)
		f.store.set(func(s *faultyStore) {
			s.beforeCreate = func() {
				u, err := f.store.LoadUser(t.Context(), "alice")
				if err != nil || u.Disabled {
					return
				}
				u.Disabled = true
				if err := f.store.UpdateUser(t.Context(), u); err != nil {
					t.Error(err)
				}
				if _, err := f.store.Revoke(t.Context(), storage.Target{UserID: u.ID}); err != nil {
					t.Error(err)
				}
			}
		})
		wantError(t, f.post(t, passwordForm("alice", "secret123"), asWeb), http.StatusBadRequest, "invalid_grant")
		if n := f.grants(t); n != 0 {
			t.Errorf("%d grants live on", n)
		}
	})

	t.Run("a client that is deleted while signing in gets nothing", func(t *testing.T) {
		f := newFixture(t)
		f.store.set(func(s *faultyStore) {
			s.beforeCreate = func() {
				if err := f.store.DeleteClient(t.Context(), "svc"); err != nil {
					t.Error(err)
				}
				if _, err := f.store.Revoke(t.Context(), storage.Target{ClientID: "svc"}); err != nil {
					t.Error(err)
				}
			}
		})
		wantError(t, f.post(t, form("grant_type", "client_credentials"), basic("svc", "s3cret3")), http.StatusUnauthorized, "invalid_client")
	})

	t.Run("a client that is deleted as soon as it was looked at gets nothing", func(t *testing.T) {
		f := newFixture(t)
		var once sync.Once
		f.store.set(func(s *faultyStore) {
			s.afterClient = func() {
				once.Do(func() {
					if err := f.store.DeleteClient(t.Context(), "svc"); err != nil {
						t.Error(err)
					}
					if _, err := f.store.Revoke(t.Context(), storage.Target{ClientID: "svc"}); err != nil {
						t.Error(err)
					}
				})
			}
		})
		wantError(t, f.post(t, form("grant_type", "client_credentials"), basic("svc", "s3cret3")), http.StatusUnauthorized, "invalid_client")
		if n := f.grants(t); n != 0 {
			t.Errorf("%d grants live on", n)
		}
	})

	t.Run("an unrelated revocation only makes the sign-in begin again", func(t *testing.T) {
		f := newFixture(t)
		rounds := 0
		f.store.set(func(s *faultyStore) {
			s.beforeCreate = func() {
				if rounds++; rounds == 1 {
					if _, err := f.store.Revoke(t.Context(), storage.Target{All: true}); err != nil {
						t.Error(err)
					}
				}
			}
		})
		a := wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
		if rounds != 2 || !f.valid(t, a.text("access_token")) {
			t.Errorf("issued after %d rounds, valid: %v", rounds, f.valid(t, a.text("access_token")))
		}
	})

	t.Run("revocations without end are a 503", func(t *testing.T) {
		f := newFixture(t)
		f.store.set(func(s *faultyStore) {
			s.beforeCreate = func() {
				if _, err := f.store.Revoke(t.Context(), storage.Target{All: true}); err != nil {
					t.Error(err)
				}
			}
		})
		wantError(t, f.post(t, passwordForm("alice", "secret123"), asWeb), http.StatusServiceUnavailable, "temporarily_unavailable")
	})
}

// epochs counts the calls of Epoch, and can make them fail.
type epochs struct {
	authserver.Store
	asked int
	fault error
}

func (s *epochs) Epoch(ctx context.Context, id storage.GrantID) (uint32, error) {
	s.asked++
	if s.fault != nil {
		return 0, s.fault
	}
	return s.Store.Epoch(ctx, id)
}

// For client_credentials the epoch is read before the client is loaded, but
// only after every check that needs no store.
func TestTheStoreIsAskedForNothingThatIsRefusedAnyway(t *testing.T) {
	store := &epochs{fault: storage.ErrUnavailable}
	f := newFixture(t, func(c *authserver.Config) {
		c.RemoteAddr = func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.7") }
		store.Store, c.Store = c.Store, store
	})
	own := form("grant_type", "client_credentials")
	wantError(t, f.post(t, own, header("Authorization", "Bearer x")), http.StatusUnauthorized, "invalid_client")
	wantError(t, f.post(t, form("grant_type", "client_credentials", "client_secret", "a"), basic("svc", "s3cret3")), http.StatusBadRequest, "invalid_request")
	wantError(t, f.post(t, own, basic("svc", "s3cret3")), http.StatusServiceUnavailable, "temporarily_unavailable")
	store.fault = nil
	for f.post(t, own, basic("svc", "wrong")).status != http.StatusTooManyRequests {
	}
	if store.asked = 0; f.post(t, own, basic("svc", "wrong")).status != http.StatusTooManyRequests || store.asked != 0 {
		t.Errorf("a request that was refused unseen asked for %d epochs", store.asked)
	}
}

// slowEnding ends grants slowly, and fails if the context has ended or still
// has the budget of a request.
type slowEnding struct{ authserver.Store }

func (s *slowEnding) DeleteGrant(ctx context.Context, id storage.GrantID) error {
	time.Sleep(100 * time.Millisecond)
	if err := ctx.Err(); err != nil || storage.BudgetOf(ctx) != nil {
		return storage.ErrUnavailable
	}
	return s.Store.DeleteGrant(ctx, id)
}

// A stolen token must not live on because the request that reveals the theft
// has no time left.
func TestAGrantEndsThoughNobodyWaitsForIt(t *testing.T) {
	for name, request := range map[string]func(spent, current string) (path string, body url.Values){
		"logout": func(_, current string) (string, url.Values) { return "/revoke", form("token", current) },
		"reuse":  func(spent, _ string) (string, url.Values) { return "/token", refreshForm(spent) },
	} {
		t.Run(name, func(t *testing.T) {
			store := &slowEnding{}
			f := newFixture(t, func(c *authserver.Config) { store.Store, c.Store = c.Store, store })
			first := wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
			second := wantToken(t, f.post(t, refreshForm(first.text("refresh_token")), asWeb))
			f.advance(time.Hour / 2) // past the window of a retry
			path, body := request(first.text("refresh_token"), second.text("refresh_token"))
			budget := new(storage.Budget)
			budget.Spend(940 * time.Millisecond)
			r := httptest.NewRequestWithContext(storage.WithBudget(t.Context(), budget), http.MethodPost, path, strings.NewReader(body.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.SetBasicAuth("web", webSecret)
			w := httptest.NewRecorder()
			f.server.Routes()[path].ServeHTTP(w, r)
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
				t.Errorf("%d %s, want 503", w.Code, w.Body)
			}
			hurried, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if err := f.server.Wait(hurried); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waiting for it for a moment: %v", err)
			}
			if err := f.server.Wait(t.Context()); err != nil || f.valid(t, second.text("access_token")) {
				t.Errorf("the grant lives on: %v", err)
			}
		})
	}
}
