package authserver_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
)

// The limits that Config.Unthrottled documents.
const (
	guessesOfOneClient  = 20
	guessesOfOneNetwork = 120
)

// place is where the requests of a fixture come from.
type place struct{ atomic.Value }

func (p *place) move(address string) { p.Store(netip.MustParseAddr(address)) }

// newThrottledFixture returns a fixture whose requests come from 192.0.2.7,
// until the test moves the place.
func newThrottledFixture(t *testing.T) (*fixture, *place) {
	t.Helper()
	p := &place{}
	p.move("192.0.2.7")
	f := newFixture(t, func(c *authserver.Config) {
		c.RemoteAddr = func(*http.Request) netip.Addr { return p.Load().(netip.Addr) }
	})
	return f, p
}

// guess tries n wrong secrets of web, and expects each to be refused as wrong,
// not as throttled.
func guess(t *testing.T, f *fixture, n int) {
	t.Helper()
	for i := range n {
		as := basic("web", fmt.Sprint("guessed-secret-", i))
		wantError(t, f.post(t, form("grant_type", "client_credentials"), as), http.StatusUnauthorized, "invalid_client")
	}
}

// wantThrottled fails the test unless the answer is a 429 with that Retry-After.
func wantThrottled(t *testing.T, a answer, seconds int) {
	t.Helper()
	wantError(t, a, http.StatusTooManyRequests, "temporarily_unavailable")
	if got := a.header.Get("Retry-After"); got != strconv.Itoa(seconds) {
		t.Errorf("Retry-After is %q, want %d", got, seconds)
	}
}

func TestFailedClientAuthenticationsAreThrottled(t *testing.T) {
	f, at := newThrottledFixture(t)
	service := func() answer { return f.post(t, form("grant_type", "client_credentials"), basic("svc", "s3cret3")) }
	signInWeb := func() answer { return f.post(t, passwordForm("alice", "secret123"), asWeb) }
	pair := wantToken(t, signInWeb())
	for range 2 * guessesOfOneClient { // successes cost nothing
		wantToken(t, service())
	}
	guess(t, f, guessesOfOneClient)

	for name, send := range map[string]func() answer{
		"at /token":                 signInWeb,
		"at /token, in the body":    func() answer { return f.post(t, bodyClient("web", webSecret)) },
		"at /token, for a refresh":  func() answer { return f.post(t, refreshForm(pair.text("refresh_token")), asWeb) },
		"at /revoke":                func() answer { return f.revoke(t, form("token", "x"), asWeb) },
		"at /introspect":            func() answer { return f.send(t, http.MethodPost, "/introspect", "token=x", asWeb) },
		"with another wrong secret": func() answer { return f.post(t, passwordForm("alice", "secret123"), basic("web", "wrong")) },
	} {
		t.Run("6749-2.3.1-07 after so many failures the client is refused "+name+", also with its secret", func(t *testing.T) {
			wantThrottled(t, send(), 3)
		})
	}
	t.Run("the event tells it without a secret or an unproved id", func(t *testing.T) {
		wantThrottled(t, signInWeb(), 3)
		ev := f.events.last(t)
		var e *authserver.Error
		if !errors.As(ev.Err, &e) || e.Status != http.StatusTooManyRequests || ev.ClientID != "" {
			t.Errorf("noted %+v", ev)
		}
		if text := ev.Err.Error(); !strings.Contains(text, "too many failed client authentications") || strings.Contains(text, "secret") {
			t.Errorf("the log would say %q", text)
		}
	})
	t.Run("6749-2.3.1-07 another client of the network is served", func(t *testing.T) { wantToken(t, service()) })
	t.Run("a public client is served", func(t *testing.T) {
		wantToken(t, f.post(t, passwordForm("alice", "secret123", "client_id", "spa")))
		wantToken(t, f.post(t, passwordForm("alice", "secret123"), basic("spa", "")))
	})
	t.Run("another network is served, also as that client", func(t *testing.T) {
		for _, address := range []string{"192.0.2.8", "2001:db8::7"} {
			at.move(address)
			wantToken(t, signInWeb())
		}
		at.move("192.0.2.7")
	})
	t.Run("the IPv4 address in IPv6 is the same network", func(t *testing.T) {
		at.move("::ffff:192.0.2.7")
		wantThrottled(t, signInWeb(), 3)
		at.move("192.0.2.7")
	})
	t.Run("3 s later there is one more try, and a success doesn't use it up", func(t *testing.T) {
		f.advance(1500 * time.Millisecond)
		wantThrottled(t, signInWeb(), 2)
		f.advance(1500 * time.Millisecond)
		wantToken(t, signInWeb())
		wantToken(t, signInWeb())
		guess(t, f, 1)
		wantThrottled(t, signInWeb(), 3)
	})
	t.Run("a minute later all is forgotten", func(t *testing.T) {
		f.advance(time.Minute)
		guess(t, f, guessesOfOneClient)
		wantThrottled(t, signInWeb(), 3)
	})
}

// The test of the requirement as it is written.
func TestAHundredGuesses(t *testing.T) {
	for _, path := range []string{"/token", "/revoke", "/introspect"} {
		id := map[string]string{"/token": "6749-2.3.1-07 ", "/revoke": "6749-2.3.1-07 7009-5-01 ", "/introspect": "6749-2.3.1-07 "}[path]
		t.Run(id+path, func(t *testing.T) {
			f := newFixture(t)
			throttled := 0
			for i := range 100 {
				a := f.send(t, http.MethodPost, path, "token=x&grant_type=client_credentials", basic("web", "wrong"))
				if a.status == http.StatusTooManyRequests {
					wantThrottled(t, a, 3)
					throttled++
				} else if wantError(t, a, http.StatusUnauthorized, "invalid_client"); throttled > 0 {
					t.Fatalf("guess %d was let through after a refusal", i)
				}
			}
			if throttled != 100-guessesOfOneClient {
				t.Errorf("%d of 100 guesses were refused", throttled)
			}
			wantError(t, f.post(t, refreshForm("x"), basic("web2", "s3cret2")), http.StatusBadRequest, "invalid_grant")
		})
	}
}

func TestGuessingWithManyClientIDsIsThrottled(t *testing.T) {
	f, at := newThrottledFixture(t)
	try := func(id string) answer { return f.post(t, form("grant_type", "client_credentials"), basic(id, "guess")) }
	at.move("2001:db8::1")
	for i := range guessesOfOneNetwork {
		at.move(fmt.Sprintf("2001:db8::%x", i+1)) // one /64
		id := fmt.Sprint("client-", i)
		if i%2 == 0 {
			id = strings.Repeat("x", 300) + id // too long to exist
		}
		wantError(t, try(id), http.StatusUnauthorized, "invalid_client")
	}
	wantThrottled(t, try("another"), 1)
	wantThrottled(t, f.post(t, form("grant_type", "client_credentials"), basic("svc", "s3cret3")), 1)
	wantToken(t, f.post(t, passwordForm("alice", "secret123", "client_id", "spa")))
	at.move("2001:db8:0:1::1")
	wantError(t, try("another"), http.StatusUnauthorized, "invalid_client")
	at.move("2001:db8::1")
	f.advance(500 * time.Millisecond)
	wantError(t, try("another"), http.StatusUnauthorized, "invalid_client")
	wantThrottled(t, try("another"), 1)
}

// atOnce sends n requests at the same time, and returns the number of answers
// by status.
func atOnce(n int, send func(i int) answer) map[int]int {
	statuses := make(chan int, n)
	for i := range n {
		go func() { statuses <- send(i).status }()
	}
	counts := map[int]int{}
	for range n {
		counts[<-statuses]++
	}
	return counts
}

func TestGuessesOfSecretsAtOnceAreNoMoreThanInTurn(t *testing.T) {
	f, _ := newThrottledFixture(t)
	credentials := form("grant_type", "client_credentials")
	service := func(int) answer { return f.post(t, credentials, basic("svc", "s3cret3")) }
	wrong := func(i int) answer { return f.post(t, credentials, basic("svc", fmt.Sprint("wrong", i))) }
	t.Run("right ones all pass", func(t *testing.T) {
		if got := atOnce(150, service); got[http.StatusOK] != 150 {
			t.Errorf("got %v", got)
		}
	})
	t.Run("6749-2.3.1-07 wrong ones are told as many times as in turn", func(t *testing.T) {
		got := atOnce(150, wrong)
		if got[http.StatusUnauthorized] != guessesOfOneClient || got[http.StatusTooManyRequests] != 150-guessesOfOneClient {
			t.Errorf("got %v", got)
		}
	})
	t.Run("6749-2.3.1-07 and one, when one came back", func(t *testing.T) {
		f.advance(3 * time.Second)
		if got := atOnce(50, wrong); got[http.StatusUnauthorized] != 1 || got[http.StatusTooManyRequests] != 49 {
			t.Errorf("got %v", got)
		}
	})
	t.Run("right ones all pass, when one came back", func(t *testing.T) {
		f.advance(3 * time.Second)
		if got := atOnce(150, service); got[http.StatusOK] != 150 {
			t.Errorf("got %v", got)
		}
	})
}

// Basic credentials that can be read in two ways are two guesses.
func TestBothReadingsCount(t *testing.T) {
	raw := func(id, secret string) change {
		return func(r *http.Request) { r.SetBasicAuth(id, secret) }
	}
	credentials := form("grant_type", "client_credentials")
	t.Run("6749-2.3.1-07 of the secret", func(t *testing.T) {
		f, _ := newThrottledFixture(t)
		for i := range guessesOfOneClient / 2 {
			wantError(t, f.post(t, credentials, raw("svc", fmt.Sprint("a+b", i))), http.StatusUnauthorized, "invalid_client")
		}
		wantThrottled(t, f.post(t, credentials, basic("svc", "wrong")), 3)
	})
	t.Run("6749-2.3.1-07 of the id", func(t *testing.T) {
		f, _ := newThrottledFixture(t)
		for i := range guessesOfOneClient {
			id := []string{"odd+id", "odd%2bid"}[i%2]
			wantError(t, f.post(t, credentials, raw(id, fmt.Sprint("wrong", i))), http.StatusUnauthorized, "invalid_client")
		}
		wantThrottled(t, f.post(t, form("grant_type", "client_credentials", "client_id", "odd+id", "client_secret", "x")), 3)
	})
}

func TestWhatIsNoGuessIsNotThrottled(t *testing.T) {
	f, at := newThrottledFixture(t)
	rs1 := basic("rs1", "rs1-secret")
	for name, send := range map[string]func() answer{
		"an unknown client without a secret": func() answer { return f.post(t, form("grant_type", "client_credentials", "client_id", "ghost")) },
		"no client":                          func() answer { return f.post(t, passwordForm("alice", "secret123")) },
		"Basic that isn't base64": func() answer {
			return f.post(t, passwordForm("alice", "secret123"), header("Authorization", "Basic !!!"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range guessesOfOneNetwork + 1 {
				wantError(t, send(), http.StatusUnauthorized, "invalid_client")
			}
		})
	}
	t.Run("garbage that a stranger sends to a resource server, which asks about it", func(t *testing.T) {
		for range guessesOfOneNetwork + 1 {
			if a := f.send(t, http.MethodPost, "/introspect", "token=garbage", rs1); a.status != http.StatusOK {
				t.Fatalf("got %d %s", a.status, a.body)
			}
		}
	})
	t.Run("a wrong user password, which is no client's", func(t *testing.T) {
		for range guessesOfOneClient + 1 {
			wantError(t, f.post(t, passwordForm("alice", "wrong"), asWeb), http.StatusBadRequest, "invalid_grant")
		}
	})
	t.Run("a store that is down, which says nothing of the secret", func(t *testing.T) {
		f.store.set(func(s *faultyStore) { s.fault = errors.New("down") })
		for range guessesOfOneClient + 1 {
			wantError(t, f.post(t, passwordForm("alice", "secret123"), asWeb), http.StatusInternalServerError, "server_error")
		}
		f.store.set(func(s *faultyStore) { s.fault = nil })
	})
	t.Run("without an address there is no network to count for", func(t *testing.T) {
		at.Store(netip.Addr{})
		guess(t, f, guessesOfOneClient+1)
	})
}

func TestWithoutRemoteAddrTheConnectionsAddressCounts(t *testing.T) {
	f := newFixture(t, func(c *authserver.Config) { c.RemoteAddr = nil })
	guess(t, f, guessesOfOneClient)
	wantThrottled(t, f.post(t, form("grant_type", "client_credentials"), basic("web", "wrong")), 3)
}

func TestThrottleOff(t *testing.T) {
	f := newFixture(t, func(c *authserver.Config) { c.Unthrottled = true })
	guess(t, f, guessesOfOneNetwork+1)
	guessPasswords(t, f, "alice", guessesFromOne+1)
	wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
}

// stalledStore holds up sign-ins after they took their place, as a slow hash would,
// until let is closed.
type stalledStore struct {
	authserver.Store
	begun chan struct{} // receives once for each sign-in that waits
	let   chan struct{} // closed to let all go
}

func (s *stalledStore) Epoch(ctx context.Context, id storage.GrantID) (uint32, error) {
	select {
	case <-s.let:
	default:
		s.begun <- struct{}{}
		<-s.let
	}
	return s.Store.Epoch(ctx, id)
}

// Right passwords that come faster than they can be judged wait, but not for ever. A
// request that is turned away isn't told of failed sign-ins, because none failed.
func TestACrowdOfGoodSignInsIsNotTakenForGuesses(t *testing.T) {
	store := &stalledStore{begun: make(chan struct{}), let: make(chan struct{})}
	f := newFixture(t, func(c *authserver.Config) {
		c.RemoteAddr = func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.7") }
		store.Store = c.Store
		c.Store = store
	})
	good := passwordForm("alice", "secret123")
	var wg sync.WaitGroup
	for range 3 { // as many as may be judged at once
		wg.Go(func() {
			if a := f.post(t, good, asWeb); a.status != http.StatusOK {
				t.Errorf("one of those that were first: %d %s", a.status, a.body)
			}
		})
		<-store.begun
	}
	a := f.post(t, good, asWeb)
	wantThrottled(t, a, 1)
	if got := a.text("error_description"); got != "Too many sign-ins of one user at the same time. Repeat the request after the time in Retry-After." {
		t.Errorf("it is told %q", got)
	}
	close(store.let)
	wg.Wait()
	wantToken(t, f.post(t, good, asWeb))
}
