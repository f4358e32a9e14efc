package authserver_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
)

// The limits that the documentation of package throttle states.
const (
	freeGuesses       = 3
	firstDelay        = 5 // seconds
	guessesFromOne    = 100
	guessesFromOthers = 50
)

// guessPasswords tries n different wrong passwords, and expects each to be
// refused as wrong, not as throttled.
func guessPasswords(t *testing.T, f *fixture, username string, n int) {
	t.Helper()
	for i := range n {
		wantError(t, f.post(t, passwordForm(username, fmt.Sprint("guess ", username, i)), asWeb), http.StatusBadRequest, "invalid_grant")
	}
}

// wait waits as long as the answer says.
func (f *fixture) wait(t *testing.T, a answer) {
	t.Helper()
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		t.Fatalf("Retry-After is %q", a.header.Get("Retry-After"))
	}
	f.advance(time.Duration(seconds) * time.Second)
}

// The test of the requirement as it is written.
func TestGuessingPasswordsIsThrottled(t *testing.T) {
	f, at := newThrottledFixture(t)
	guessPasswords(t, f, "alice", freeGuesses)
	t.Run("6749-4.3.2-05 after three failures even the right password is refused", func(t *testing.T) {
		wantThrottled(t, f.post(t, passwordForm("alice", "secret123"), asWeb), firstDelay)
		wantThrottled(t, f.post(t, passwordForm("alice", "wrong"), asWeb), firstDelay)
	})
	t.Run("6749-4.3.2-05 bob is unaffected", func(t *testing.T) { wantToken(t, f.post(t, passwordForm("bob", "builder456"), asWeb)) })
	t.Run("so is another network", func(t *testing.T) {
		at.move("192.0.2.8")
		wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
		at.move("192.0.2.7")
	})
	t.Run("and what needs no password of hers", func(t *testing.T) {
		wantToken(t, f.post(t, form("grant_type", "client_credentials"), basic("svc", "s3cret3")))
	})
	t.Run("PW-OWASP-authn-03 Retry-After tells when the right password works again", func(t *testing.T) {
		f.wait(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
		wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
	})
	t.Run("a success forgets the failures", func(t *testing.T) {
		guessPasswords(t, f, "alice", freeGuesses-1)
		wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
	})
}

func TestAHundredAndOneGuesses(t *testing.T) {
	t.Run("PW-NIST63B-5.2.2-01 from anywhere, as any client: 50 are judged", func(t *testing.T) {
		f, at := newThrottledFixture(t)
		judged := 0
		for i := range 101 {
			at.move(fmt.Sprintf("10.0.%d.1", i))
			client := []change{asWeb, basic("short", webSecret), basic("once", webSecret)}[i%3]
			a := f.post(t, passwordForm("alice", fmt.Sprint("guess", i)), client)
			if a.status == http.StatusTooManyRequests {
				wantThrottled(t, a, 60)
				continue
			}
			wantError(t, a, http.StatusBadRequest, "invalid_grant")
			judged++
		}
		if judged != guessesFromOthers {
			t.Errorf("%d were judged", judged)
		}
	})
	t.Run("PW-NIST63B-5.2.2-01 from one network: ten in a quarter of an hour", func(t *testing.T) {
		f := newFixture(t)
		start, judged := f.now(), 0
		for i := 0; f.now().Sub(start) < 15*time.Minute; i++ {
			a := f.post(t, passwordForm("alice", fmt.Sprint("guess", i)), asWeb)
			if a.status == http.StatusTooManyRequests {
				f.wait(t, a)
				continue
			}
			wantError(t, a, http.StatusBadRequest, "invalid_grant")
			judged++
		}
		if judged != 10 {
			t.Errorf("%d were judged", judged)
		}
	})
}

func TestThrottleCantBeDodged(t *testing.T) {
	bare := func(username, password string) answerer {
		return func(t *testing.T, f *fixture) answer {
			return f.post(t, passwordForm(username, password), asWeb)
		}
	}
	for name, send := range map[string]answerer{
		"by case":                 bare("ALICE", "secret123"),
		"in full width":           bare("\uff41\uff4c\uff49\uff43\uff45", "secret123"),
		"in mixed width and case": bare("A\uff2cice", "secret123"),
		"with the client in the body": func(t *testing.T, f *fixture) answer {
			return f.post(t, passwordForm("alice", "secret123", "client_id", "web", "client_secret", webSecret))
		},
		"as another client": func(t *testing.T, f *fixture) answer {
			return f.post(t, passwordForm("alice", "secret123"), basic("short", webSecret))
		},
		"as a public client": func(t *testing.T, f *fixture) answer {
			return f.post(t, passwordForm("alice", "secret123", "client_id", "spa"))
		},
		"with the bare form": func(t *testing.T, f *fixture) answer {
			return f.post(t, form("username", "alice", "password", "secret123"))
		},
		"with a narrow scope": func(t *testing.T, f *fixture) answer {
			return f.post(t, passwordForm("alice", "secret123", "scope", "read"), asWeb)
		},
		"for one audience": func(t *testing.T, f *fixture) answer {
			return f.post(t, passwordForm("alice", "secret123", "resource", apiTest), asWeb)
		},
		"with a password that failed before": bare("alice", "guess alice0"),
		"with forged headers": func(t *testing.T, f *fixture) answer {
			return f.post(t, passwordForm("alice", "secret123"), asWeb, header("X-Forwarded-For", "203.0.113.9"), header("Forwarded", "for=203.0.113.9"),
				header("X-Real-Ip", "203.0.113.9"), header("True-Client-Ip", "203.0.113.9"), header("CF-Connecting-IP", "203.0.113.9"))
		},
	} {
		t.Run("6749-4.3.2-05 "+name, func(t *testing.T) {
			f := newFixture(t, func(c *authserver.Config) { c.DefaultClient = "spa" })
			guessPasswords(t, f, "alice", freeGuesses)
			wantThrottled(t, send(t, f), firstDelay)
		})
	}
	for name, spellings := range map[string][]string{
		"by normal forms of the name": {"zo\u00eb", "zoe\u0308", "ZO\u00cb", "Zoe\u0308"},
		"by case, one after another":  {"alice", "Alice", "aLice", "alIce"},
	} {
		t.Run("6749-4.3.2-05 "+name, func(t *testing.T) {
			f := newFixture(t)
			for i, username := range spellings {
				a := f.post(t, passwordForm(username, fmt.Sprint(i)), asWeb)
				if i < freeGuesses {
					wantError(t, a, http.StatusBadRequest, "invalid_grant")
				} else {
					wantThrottled(t, a, firstDelay)
				}
			}
		})
	}
	t.Run("names with spaces are nobody's, and count for the network", func(t *testing.T) {
		f := newFixture(t)
		for i := range guessesFromOne {
			name := "alice" + fmt.Sprintf("%*s", i+1, "")
			wantError(t, f.post(t, passwordForm(name, "secret123"), asWeb), http.StatusBadRequest, "invalid_grant")
		}
		wantThrottled(t, f.post(t, passwordForm("bob", "builder456"), asWeb), 10)
	})
}

type answerer func(*testing.T, *fixture) answer

func TestManyUsersFromOneNetwork(t *testing.T) {
	f, at := newThrottledFixture(t)
	for i := range guessesFromOne {
		at.move(fmt.Sprintf("2001:db8::%x", i+1)) // one /64
		guessPasswords(t, f, fmt.Sprint("user", i), 1)
	}
	wantThrottled(t, f.post(t, passwordForm("alice", "secret123"), asWeb), 10)
	if ev := f.events.last(t); ev.Act != "" {
		t.Errorf("a refusal is an act: %+v", ev)
	}
	at.move("2001:db8:0:1::1")
	wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
	at.move("2001:db8::1")
	f.advance(10 * time.Second)
	wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
	wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb)) // a success costs nothing
	guessPasswords(t, f, "bob", 1)
	wantThrottled(t, f.post(t, passwordForm("alice", "secret123"), asWeb), 10)
}

func TestAStrangerCantShutTheOwnerOut(t *testing.T) {
	f, at := newThrottledFixture(t)
	owner := func() answer { return f.post(t, passwordForm("alice", "secret123"), asWeb) }
	wantToken(t, owner()) // makes this network a known one
	refused := 0
	for i := range 200 {
		at.move(fmt.Sprintf("10.0.%d.1", i))
		if f.post(t, passwordForm("alice", fmt.Sprint("guess", i)), asWeb).status == http.StatusTooManyRequests {
			refused++
		}
		if i%50 == 0 {
			at.move("192.0.2.7")
			wantToken(t, owner())
		}
	}
	if refused != 200-guessesFromOthers {
		t.Errorf("%d were refused", refused)
	}
	at.move("192.0.2.7")
	t.Run("PW-OWASP-authn-03 at home the owner is served throughout", func(t *testing.T) { wantToken(t, owner()) })
	t.Run("a neighbour at home can't tell that the owner is known there", func(t *testing.T) {
		known := f.post(t, passwordForm("alice", "the neighbour's"), asWeb)
		at.move("10.1.1.1")
		strange := f.post(t, passwordForm("alice", "a stranger's"), asWeb)
		for _, a := range []answer{known, strange} {
			wantThrottled(t, a, 60)
		}
	})
	t.Run("PW-OWASP-authn-03 elsewhere the owner is served when it is over", func(t *testing.T) {
		at.move("198.51.100.7")
		a := owner()
		wantThrottled(t, a, 60)
		f.wait(t, a)
		wantToken(t, owner())
	})
}

func TestWithoutAnAddressTheUsersLimitHolds(t *testing.T) {
	f, at := newThrottledFixture(t)
	at.Store(netip.Addr{})
	guessPasswords(t, f, "alice", guessesFromOthers)
	wantThrottled(t, f.post(t, passwordForm("alice", "secret123"), asWeb), 60)
	wantToken(t, f.post(t, passwordForm("bob", "builder456"), asWeb))
}

func TestTheSameWrongPasswordCountsOnce(t *testing.T) {
	f := newFixture(t)
	for range 100 {
		wantError(t, f.post(t, passwordForm("alice", "an old password"), asWeb), http.StatusBadRequest, "invalid_grant")
	}
	guessPasswords(t, f, "alice", freeGuesses-2)
	wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
}

func TestGuessesAtOnce(t *testing.T) {
	f := newFixture(t)
	at := func(n int, password func(i int) string) map[int]int {
		answers := make([]answer, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { answers[i] = f.post(t, passwordForm("alice", password(i)), asWeb) })
		}
		wg.Wait()
		statuses := map[int]int{}
		for _, a := range answers {
			statuses[a.status]++
			if a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") == "" {
				t.Error("a 429 without Retry-After")
			}
		}
		return statuses
	}
	t.Run("twenty sign-ins all succeed", func(t *testing.T) {
		if got := at(20, func(int) string { return "secret123" }); got[http.StatusOK] != 20 {
			t.Errorf("answers: %v", got)
		}
	})
	t.Run("6749-4.3.2-05 of eighty guesses three are judged", func(t *testing.T) {
		got := at(80, func(i int) string { return fmt.Sprint("guess", i) })
		if got[http.StatusBadRequest] != freeGuesses || got[http.StatusTooManyRequests] != 80-freeGuesses {
			t.Errorf("answers: %v", got)
		}
	})
}

// No answer tells whether a user exists, however often one asks.
func TestUnknownUsersAreThrottledAlike(t *testing.T) {
	f, at := newThrottledFixture(t)
	f.disable(t, "bob")
	type seen struct {
		Status int
		Retry  string
		Body   string
	}
	attempts := func(network int, username string) (all []seen) {
		at.move(fmt.Sprintf("10.0.%d.1", network))
		for i := range 2*freeGuesses + 2 {
			a := f.post(t, passwordForm(username, fmt.Sprint("guess", i)), asWeb)
			all = append(all, seen{a.status, a.header.Get("Retry-After"), string(a.body)})
			if i == freeGuesses+1 {
				f.advance(firstDelay * time.Second)
			}
		}
		return all
	}
	known := attempts(0, "alice")
	if known[freeGuesses].Status != http.StatusTooManyRequests || known[freeGuesses+2].Status != http.StatusBadRequest {
		t.Errorf("answers: %v", known)
	}
	for i, username := range []string{"mallory", "bob", "a\tb", "\xff", "al ice"} {
		t.Run(fmt.Sprintf("PW-OWASP-authn-02 the same answers as for a user: name %d", i+1), func(t *testing.T) {
			if username == "\xff" {
				username = "\uffff" // a form that isn't UTF-8 is refused as a whole
			}
			if d := cmp.Diff(known, attempts(i+1, username)); d != "" {
				t.Errorf("(-alice +%q)\n%s", username, d)
			}
		})
	}
}

// The median of the times of 60 attempts each, in turn. The assertion is loose,
// for machines that do other things too; the figure is in the log.
func TestUnknownUsersTakeAsLong(t *testing.T) {
	at := &place{}
	f := newFixture(t, func(c *authserver.Config) {
		c.Passwords = newHasher(t, 4096, 1)
		c.RemoteAddr = func(*http.Request) netip.Addr { return at.Load().(netip.Addr) }
	})
	took := map[bool][]time.Duration{}
	for i := range 120 {
		at.move(fmt.Sprintf("10.0.%d.1", i))
		known := i%2 == 0
		username := map[bool]string{true: "alice", false: "mallory"}[known]
		f.advance(time.Minute) // the user's limit
		form, start := passwordForm(username, fmt.Sprint("guess", i)), time.Now()
		wantError(t, f.post(t, form, asWeb), http.StatusBadRequest, "invalid_grant")
		took[known] = append(took[known], time.Since(start))
	}
	median := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2])
	}
	ratio := median(took[false]) / median(took[true])
	t.Logf("unknown/known: ratio of medians over %d trials %.3f", len(took[true]), ratio)
	if ratio < 0.5 || ratio > 2 {
		t.Errorf("the ratio of medians is %.2f", ratio)
	}
}

// A server that was restarted knows all earlier guesses, and so does another
// server on the same store.
func TestARestartForgetsNoGuesses(t *testing.T) {
	var config authserver.Config
	f := newFixture(t, func(c *authserver.Config) { config = *c })
	guessPasswords(t, f, "alice", freeGuesses)
	another, err := authserver.New(config)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(another.Handler())
	t.Cleanup(server.Close)
	f.url = server.URL
	wantThrottled(t, f.post(t, passwordForm("alice", "secret123"), asWeb), firstDelay)
	f.advance(firstDelay * time.Second)
	wantError(t, f.post(t, passwordForm("alice", "another guess"), asWeb), http.StatusBadRequest, "invalid_grant")
	wantThrottled(t, f.post(t, passwordForm("alice", "secret123"), asWeb), 2*firstDelay)
}

func TestTheTrailIsToldOnceThatGuessesAreRefused(t *testing.T) {
	f := newFixture(t)
	told := 0
	for i := range 20 {
		f.post(t, passwordForm("alice", fmt.Sprint("guess", i)), asWeb)
		ev := f.events.last(t)
		if !ev.Throttled {
			continue
		}
		told++
		if ev.Act != storage.ActSignIn || ev.Username != "alice" || i != freeGuesses-1 {
			t.Errorf("guess %d: %+v", i+1, ev)
		}
	}
	if told != 1 {
		t.Errorf("it was told %d times", told)
	}
}

func TestAStoreThatCantCount(t *testing.T) {
	f := newFixture(t)
	f.store.set(func(s *faultyStore) { s.guesses = storage.ErrUnavailable })
	for name, body := range map[string]url.Values{"right": passwordForm("alice", "secret123"), "wrong": passwordForm("alice", "x"), "unknown": passwordForm("eve", "x")} {
		t.Run(name, func(t *testing.T) {
			wantError(t, f.post(t, body, asWeb), http.StatusServiceUnavailable, "temporarily_unavailable")
		})
	}
	wantError(t, f.post(t, passwordForm("alice", "x"), basic("web", "wrong")), http.StatusServiceUnavailable, "temporarily_unavailable")
	if ev := f.events.last(t); !errors.Is(ev.Err, storage.ErrUnavailable) {
		t.Errorf("noted %+v", ev)
	}
	f.store.set(func(s *faultyStore) { s.guesses = nil })
	wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
}
