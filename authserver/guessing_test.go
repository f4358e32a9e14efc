package authserver_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

// tracedStore records the names of the methods that are called.
type tracedStore struct {
	authserver.Store
	mu    sync.Mutex
	calls []string
}

// since returns the calls since the last call of since.
func (s *tracedStore) since() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

func (s *tracedStore) note(call string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
}

func (s *tracedStore) Epoch(ctx context.Context, id storage.GrantID) (uint32, error) {
	s.note("Epoch")
	return s.Store.Epoch(ctx, id)
}

func (s *tracedStore) LoadUser(ctx context.Context, name string) (storage.User, error) {
	s.note("LoadUser")
	return s.Store.LoadUser(ctx, name)
}

func (s *tracedStore) UpdateUser(ctx context.Context, u storage.User) error {
	s.note("UpdateUser")
	return s.Store.UpdateUser(ctx, u)
}

func (s *tracedStore) LoadClient(ctx context.Context, id string) (storage.Client, error) {
	s.note("LoadClient")
	return s.Store.LoadClient(ctx, id)
}

func (s *tracedStore) LoadGuesses(ctx context.Context, key storage.GuessKey) ([]byte, error) {
	s.note("LoadGuesses")
	return s.Store.LoadGuesses(ctx, key)
}

func (s *tracedStore) SwapGuesses(ctx context.Context, key storage.GuessKey, old, next []byte, expiry time.Time) ([]byte, error) {
	s.note("SwapGuesses")
	return s.Store.SwapGuesses(ctx, key, old, next, expiry)
}

func (s *tracedStore) CreateGrant(ctx context.Context, g storage.Grant) error {
	s.note("CreateGrant")
	return s.Store.CreateGrant(ctx, g)
}

// effort is the visible answer to a sign-in attempt, and the work that the
// attempt costs. The time depends on these alone; a test that compared times
// would fail now and then.
type effort struct {
	Status int
	Header http.Header
	Body   string
	Hashes uint64
	Calls  []string
}

func (f *fixture) disable(t *testing.T, name string) {
	t.Helper()
	u, err := f.store.LoadUser(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	u.Disabled = true
	if err := f.store.UpdateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

// Every name is tried for the first time, because a second try needs one
// look-up less in the store, whether the user exists or not.
func TestGuessersLearnNothingOfUsers(t *testing.T) {
	hasher, store := newHasher(t, 64, 1), &tracedStore{}
	f := newFixture(t, func(c *authserver.Config) {
		c.Passwords, store.Store = hasher, c.Store
		c.Store = store
	})
	f.addUser(t, hasher, "carol", "singer789")
	f.disable(t, "bob")
	f.disable(t, "carol")
	attempt := func(username, password string) effort {
		store.since()
		before := hasher.Uses()
		a := f.post(t, passwordForm(username, password), asWeb)
		a.header.Del("Date")
		return effort{a.status, a.header, string(a.body), hasher.Uses() - before, store.since()}
	}

	wrong := attempt("alice", "wrong password")
	t.Run("PW-OWASP-authn-01 a wrong password costs one hash", func(t *testing.T) {
		if wrong.Status != http.StatusBadRequest || wrong.Hashes != 1 || len(wrong.Calls) == 0 {
			t.Errorf("got %+v", wrong)
		}
	})
	for name, c := range map[string]struct{ username, password string }{
		"an unknown user":                      {"mallory", "wrong password"},
		"an unknown user, a password of alice": {"eve", "secret123"},
		"a name that can't be":                 {"a\tb", "wrong password"},
		"a disabled user, the wrong password":  {"bob", "wrong password"},
		"a disabled user, the right password":  {"carol", "singer789"},
	} {
		t.Run("PW-OWASP-authn-01 the same answer for the same work: "+name, func(t *testing.T) {
			if d := cmp.Diff(wrong, attempt(c.username, c.password)); d != "" {
				t.Errorf("(-a wrong password +%s)\n%s", name, d)
			}
		})
	}
	t.Run("PW-OWASP-authn-01 a password that nobody can have costs nothing, whoever it is for", func(t *testing.T) {
		long := strings.Repeat("x", 30000)
		known, unknown := attempt("alice", long), attempt("mallory", long)
		if d := cmp.Diff(known, unknown); d != "" || known.Hashes != 0 || known.Body != wrong.Body {
			t.Errorf("(-known +unknown)\n%s\n%+v", d, known)
		}
	})
}

// Limiting guesses costs a good sign-in two calls of the store: one takes a
// place, the other gives it back.
func TestStepsOfAGoodSignIn(t *testing.T) {
	store := &tracedStore{}
	f := newFixture(t, func(c *authserver.Config) {
		store.Store = c.Store
		c.Store = store
	})
	var calls []string
	for range 2 { // in the first round the server knows nothing of the user yet
		store.since()
		wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
		calls = store.since()
	}
	want := []string{"LoadClient", "SwapGuesses", "LoadUser", "Epoch", "LoadClient", "LoadUser", "SwapGuesses", "CreateGrant"}
	if d := cmp.Diff(want, calls); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestPasswordsDoNotAge(t *testing.T) {
	t.Run("PW-NIST63B-5.1.1.2-08 ten years on the same password is as good", func(t *testing.T) {
		f := newFixture(t)
		f.advance(10 * 365 * 24 * time.Hour)
		wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
	})
}

func TestImportedBcryptHashes(t *testing.T) {
	f := newFixture(t)
	stored := func(name string) string {
		u, err := f.store.LoadUser(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return u.Password
	}
	imported := func(name, password string) {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.store.CreateUser(t.Context(), storage.User{ID: "id-of-" + name, Name: name, Password: string(hash)}); err != nil {
			t.Fatal(err)
		}
	}
	full := strings.Repeat("0123456789ab", 6) // 72 bytes, all that bcrypt reads
	imported("full", full)
	imported("longer", full) // other systems cut longer passwords to this one before they hash
	t.Run("PW-OWASP-storage-02 who had a longer password where bcrypt cut it off isn't locked out", func(t *testing.T) {
		wantError(t, f.post(t, passwordForm("longer", full[:71]+"c"), asWeb), http.StatusBadRequest, "invalid_grant")
		wantToken(t, f.post(t, passwordForm("longer", full+"c"), asWeb))
		if got := stored("longer"); !strings.HasPrefix(got, "$argon2id$") {
			t.Errorf("stored %q", got)
		}
	})
	t.Run("PW-OWASP-storage-02 PW-NIST63B-5.1.1.2-04 from then on all of it counts", func(t *testing.T) {
		wantToken(t, f.post(t, passwordForm("longer", full+"c"), asWeb))
		for _, other := range []string{full, full + "d", full + "cc"} {
			wantError(t, f.post(t, passwordForm("longer", other), asWeb), http.StatusBadRequest, "invalid_grant")
		}
	})
	t.Run("PW-OWASP-storage-02 PW-OWASP-storage-03 a hash of cost 4 doesn't outlive the first sign-in", func(t *testing.T) {
		wantToken(t, f.post(t, passwordForm("full", full), asWeb))
		if got := stored("full"); !strings.HasPrefix(got, "$argon2id$") {
			t.Errorf("stored %q", got)
		}
	})
	t.Run("PW-OWASP-storage-02 afterwards too a 73rd byte counts", func(t *testing.T) {
		wantError(t, f.post(t, passwordForm("full", full+"c"), asWeb), http.StatusBadRequest, "invalid_grant")
		wantToken(t, f.post(t, passwordForm("full", full), asWeb))
	})
}

func TestWeakArgon2HashesAreRenewed(t *testing.T) {
	f := newFixture(t, func(c *authserver.Config) { c.Passwords = newHasher(t, 128, 2) })
	f.addUser(t, newHasher(t, 64, 1), "weak", "old but good password")
	parameters := func() string {
		u, err := f.store.LoadUser(t.Context(), "weak")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(u.Password, "$")[3]
	}
	t.Run("PW-OWASP-storage-03 the parameters are those configured, after a good sign-in", func(t *testing.T) {
		wantError(t, f.post(t, passwordForm("weak", "wrong"), asWeb), http.StatusBadRequest, "invalid_grant")
		if got := parameters(); got != "m=64,t=1,p=1" {
			t.Errorf("parameters %s after a bad sign-in", got)
		}
		wantToken(t, f.post(t, passwordForm("weak", "old but good password"), asWeb))
		if got := parameters(); got != "m=128,t=2,p=1" {
			t.Errorf("parameters %s after a good sign-in", got)
		}
	})
	t.Run("PW-OWASP-storage-03 the password is still the same", func(t *testing.T) {
		wantToken(t, f.post(t, passwordForm("weak", "old but good password"), asWeb))
	})
}

func TestAFloodOfSignIns(t *testing.T) {
	hasher, err := passhash.New(passhash.Params{Memory: 8 << 10, Time: 3, Threads: 1, Slots: 1, Queue: 1})
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(c *authserver.Config) { c.Passwords = hasher })
	before := hasher.Uses()
	answers := make([]answer, 200)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = f.post(t, passwordForm("alice", "secret123"), asWeb) })
	}
	wg.Wait()
	served, busy := uint64(0), 0
	t.Run("PW-OWASP-storage-04 what doesn't fit is a 503 with Retry-After, and costs no hash", func(t *testing.T) {
		for _, a := range answers {
			switch a.status {
			case http.StatusOK:
				served++
				continue
			case http.StatusTooManyRequests: // waited in vain for the user's other sign-ins, on a slow machine
				continue
			}
			busy++
			wantError(t, a, http.StatusServiceUnavailable, "temporarily_unavailable")
			if a.header.Get("Retry-After") != "1" {
				t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
			}
		}
		if served == 0 || busy == 0 || hasher.Uses()-before != served {
			t.Errorf("%d of %d were served and %d found it busy, for %d hashes", served, len(answers), busy, hasher.Uses()-before)
		}
	})
	t.Run("PW-OWASP-storage-04 afterwards all is as before", func(t *testing.T) {
		wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
	})
}
