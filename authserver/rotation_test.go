package authserver_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// RFC 9700 section 2.2.2: only rotation protects the refresh token of a public
// client, and no configuration turns rotation off.
func TestRotationForPublicClients(t *testing.T) {
	for name, options := range map[string][]option{"by default": nil, "without a retry window": {withoutRetries}} {
		f := newFixture(t, options...)
		refresh := func(token string) answer { return f.post(t, refreshForm(token, "client_id", "spa")) }
		first := wantToken(t, f.post(t, passwordForm("alice", "secret123", "client_id", "spa"))).text("refresh_token")
		second := wantToken(t, refresh(first)).text("refresh_token")
		third := wantToken(t, refresh(second)).text("refresh_token")
		t.Run("9700-2.2.2-01 every refresh gives a new token, "+name, func(t *testing.T) {
			if second == "" || third == "" || first == second || second == third || first == third {
				t.Errorf("got %q, %q and %q", first, second, third)
			}
		})
		t.Run("9700-2.2.2-01 and the old one is dead, "+name, func(t *testing.T) {
			f.advance(time.Minute)
			wantError(t, refresh(second), http.StatusBadRequest, "invalid_grant")
		})
	}
}

// RFC 9700 section 4.14.2: whether a client gets refresh tokens at all is set
// for each client.
func TestRefreshTokensAreAPrivilegeOfClients(t *testing.T) {
	f := newFixture(t)
	for name, c := range map[string]struct {
		client change
		want   bool
	}{
		"one that may refresh":      {asWeb, true},
		"one that may not":          {basic("once", webSecret), false},
		"another that may, as well": {basic(oddID, oddSecret), true},
	} {
		t.Run("9700-4.14.2-01 "+name, func(t *testing.T) {
			a := wantToken(t, f.post(t, passwordForm("alice", "secret123"), c.client))
			if _, got := a.json["refresh_token"]; got != c.want {
				t.Errorf("got %s", a.body)
			}
		})
	}
}

func TestReplayOfARotatedToken(t *testing.T) {
	f := newFixture(t)
	other := signIn(t, f)
	var family []answer
	for pair := signIn(t, f); len(family) < 3; pair = wantToken(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb)) {
		family = append(family, pair)
	}
	replay := f.post(t, refreshForm(family[0].text("refresh_token")), asWeb)

	t.Run("9700-4.14.2-03 it is refused", func(t *testing.T) {
		wantError(t, replay, http.StatusBadRequest, "invalid_grant")
	})
	t.Run("9700-4.14.2-03 the operator is told", func(t *testing.T) {
		if err := f.events.last(t).Err; err == nil || !strings.Contains(err.Error(), "used again") {
			t.Errorf("noted %v", err)
		}
	})
	t.Run("9700-4.14.2-03 the newest refresh token ends", func(t *testing.T) {
		wantError(t, f.post(t, refreshForm(family[2].text("refresh_token")), asWeb), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("9700-4.14.2-03 all access tokens of the family end", func(t *testing.T) {
		for _, pair := range family {
			wantInactive(t, f, pair.text("access_token"))
		}
	})
	t.Run("9700-4.14.2-03 another sign-in of the user goes on", func(t *testing.T) { wantAlive(t, f, other) })
}

// A thief and the owner may use a token at the same instant. If the first
// simply won, nobody would notice the theft.
func TestReplayAtTheSameInstant(t *testing.T) {
	const crowd = 32
	race := func(t *testing.T, f *fixture, token string) (won []answer) {
		answers := make([]answer, crowd)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() { answers[i] = f.post(t, refreshForm(token), asWeb) })
		}
		wg.Wait()
		for _, a := range answers {
			if a.status == http.StatusOK {
				won = append(won, a)
			} else {
				wantError(t, a, http.StatusBadRequest, "invalid_grant")
			}
		}
		return won
	}
	t.Run("9700-4.14.2-04 without a retry window one succeeds at most, and the family ends", func(t *testing.T) {
		f := newFixture(t, withoutRetries)
		won := race(t, f, signIn(t, f).text("refresh_token"))
		if len(won) > 1 {
			t.Fatalf("%d of %d got a successor", len(won), crowd)
		}
		if n := f.grants(t); n != 0 {
			t.Errorf("%d grants live on, though the token was used %d times", n, crowd)
		}
		for _, a := range won {
			wantDead(t, f, a)
		}
	})
	t.Run("9700-4.14.2-04 within the window all get the same successor, the only one", func(t *testing.T) {
		f := newFixture(t)
		won := race(t, f, signIn(t, f).text("refresh_token"))
		if len(won) != crowd {
			t.Fatalf("%d of %d got an answer", len(won), crowd)
		}
		for _, a := range won {
			if a.text("refresh_token") != won[0].text("refresh_token") || a.text("access_token") != won[0].text("access_token") {
				t.Fatal("one refresh token has two successors")
			}
		}
		if n := f.grants(t); n != 1 {
			t.Errorf("%d grants are alive", n)
		}
		wantAlive(t, f, won[0])
	})
}

// A refresh token names its grant, so a changed token must not reach another
// grant.
func TestChangedRefreshTokens(t *testing.T) {
	f := newFixture(t)
	own, other := signIn(t, f), signIn(t, f)
	token := own.text("refresh_token")
	refused := func(t *testing.T, forged string) {
		t.Helper()
		wantError(t, f.post(t, refreshForm(forged), asWeb), http.StatusBadRequest, "invalid_grant")
	}
	t.Run("9700-4.14.2-05 no character can be changed", func(t *testing.T) {
		for i := range token {
			for _, c := range []byte("A7_") {
				if token[i] != c {
					refused(t, token[:i]+string(c)+token[i+1:])
				}
			}
		}
	})
	t.Run("9700-4.14.2-05 the family can't be exchanged", func(t *testing.T) {
		mine, theirs := rawToken(t, token), rawToken(t, other.text("refresh_token"))
		const family = 1 + 16 // the key and the grant
		for _, forged := range [][]byte{
			append(theirs[:family:family], mine[family:]...),
			append(mine[:family:family], theirs[family:]...),
		} {
			refused(t, "grt_"+base64.RawURLEncoding.EncodeToString(forged))
		}
	})
	t.Run("9700-4.14.2-05 none of that spent or ended anything", func(t *testing.T) {
		wantAlive(t, f, own)
		wantAlive(t, f, other)
	})
}

// rawToken returns the decoded bytes of the token after its prefix.
func rawToken(t *testing.T, token string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(token[len("grt_"):])
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestInactivityEndsARefreshToken(t *testing.T) {
	const day = 24 * time.Hour
	t.Run("9700-4.14.2-07 unused for 14 days it has expired", func(t *testing.T) {
		f := newFixture(t)
		pair := signIn(t, f)
		f.advance(14 * day)
		wantError(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("9700-4.14.2-07 used daily it goes on, for 90 days", func(t *testing.T) {
		f := newFixture(t)
		pair := signIn(t, f)
		for range 89 {
			f.advance(day)
			pair = wantToken(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb))
		}
		f.advance(day)
		wantError(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb), http.StatusBadRequest, "invalid_grant")
	})
}

// RFC 9700 section 2.3: nobody gets more than was asked for.
func TestLeastPrivilege(t *testing.T) {
	f := newFixture(t)
	asRoot, asService := basic("root", "s3cret4"), basic("svc", "s3cret3") // all scopes; read and write
	for name, a := range map[string]answer{
		"the password grant":                     f.post(t, passwordForm("alice", "secret123"), asWeb),
		"a client that may do all, and an admin": f.post(t, passwordForm("admin", "admin-admin"), asRoot),
		"the client credentials grant":           f.post(t, form("grant_type", "client_credentials"), asService),
	} {
		t.Run("9700-2.3-01 the default scope, unasked, for "+name, func(t *testing.T) {
			if wantToken(t, a); a.text("scope") != "read" {
				t.Errorf("scope is %q", a.text("scope"))
			}
		})
	}
	for name, a := range map[string]answer{
		"the password grant":                   f.post(t, passwordForm("admin", "admin-admin", "scope", "read admin"), asWeb),
		"a public client":                      f.post(t, passwordForm("alice", "secret123", "scope", "write", "client_id", "spa")),
		"the client credentials grant":         f.post(t, form("grant_type", "client_credentials", "scope", "admin"), asService),
		"a user who is no admin, asking alone": f.post(t, passwordForm("alice", "secret123", "scope", "admin"), asRoot),
	} {
		t.Run("9700-2.3-01 no more than the client or the user may, by "+name, func(t *testing.T) {
			wantError(t, a, http.StatusBadRequest, "invalid_scope")
		})
	}
}
