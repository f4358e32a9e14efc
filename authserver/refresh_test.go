package authserver_test

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

func withoutRetries(c *authserver.Config) { c.RetryWindow = 0 }

func signIn(t *testing.T, f *fixture) answer {
	t.Helper()
	return wantToken(t, f.post(t, passwordForm("alice", "secret123", "scope", "read write"), asWeb))
}

func TestRefresh(t *testing.T) {
	f := newFixture(t)
	first := signIn(t, f)
	second := wantToken(t, f.post(t, refreshForm(first.text("refresh_token")), asWeb))

	t.Run("6749-6-10 both tokens are new and the old access token has ended", func(t *testing.T) {
		if second.text("refresh_token") == first.text("refresh_token") || second.text("access_token") == first.text("access_token") {
			t.Error("a token was given out again")
		}
		if f.valid(t, first.text("access_token")) || !f.valid(t, second.text("access_token")) {
			t.Error("want the old access token dead and the new one alive")
		}
	})
	t.Run("6749-6-07 without a scope the access token has all that was granted", func(t *testing.T) {
		if second.text("scope") != "read write" {
			t.Errorf("scope is %q", second.text("scope"))
		}
	})
	t.Run("6749-6-11 refresh_token missing", func(t *testing.T) {
		wantError(t, f.post(t, form("grant_type", "refresh_token"), asWeb), http.StatusBadRequest, "invalid_request")
	})
	t.Run("6749-6-05 6749-5.2-02 a revoked one is a 400 invalid_grant", func(t *testing.T) {
		gone := signIn(t, f).text("refresh_token")
		wantDone(t, f.revoke(t, form("token", gone), asWeb))
		wantError(t, f.post(t, refreshForm(gone), asWeb), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("6749-5.2-11 a client without the refresh grant", func(t *testing.T) {
		wantError(t, f.post(t, refreshForm(second.text("refresh_token")), basic("once", webSecret)), http.StatusBadRequest, "unauthorized_client")
	})
	for name, token := range map[string]string{
		"garbage":         "garbage",
		"an access token": second.text("access_token"),
		"a forged one":    mint(t, f.keys),
		"one of a stranger's key": func() string {
			keys, err := opaque.NewKeyring(opaque.NewKey(1))
			if err != nil {
				t.Fatal(err)
			}
			return mint(t, keys)
		}(),
	} {
		t.Run("6749-6-05 6749-5.2-02 "+name+" is a 400 invalid_grant", func(t *testing.T) {
			wantError(t, f.post(t, refreshForm(token), asWeb), http.StatusBadRequest, "invalid_grant")
		})
	}
	t.Run("none of that spent or ended anything", func(t *testing.T) {
		wantToken(t, f.post(t, refreshForm(second.text("refresh_token")), asWeb))
	})
}

func mint(t *testing.T, keys *opaque.Keyring) string {
	t.Helper()
	token, _ := keys.Mint(opaque.Refresh, storage.NewGrantID("nobody"), 1)
	return token
}

func TestRefreshIsBoundToItsClient(t *testing.T) {
	f := newFixture(t)
	web := signIn(t, f).text("refresh_token")
	spa := wantToken(t, f.post(t, passwordForm("alice", "secret123", "client_id", "spa"))).text("refresh_token")

	t.Run("6749-6-03 6749-5.2-10 another client with its own good secret", func(t *testing.T) {
		wantError(t, f.post(t, refreshForm(web), basic("web2", "s3cret2")), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("6749-6-04 another public client", func(t *testing.T) {
		wantError(t, f.post(t, refreshForm(spa, "client_id", "cli")), http.StatusBadRequest, "invalid_grant")
		wantError(t, f.post(t, refreshForm(web, "client_id", "spa")), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("6749-6-04 a public client that doesn't name itself", func(t *testing.T) {
		wantError(t, f.post(t, refreshForm(spa)), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("6749-6-02 credentials that are sent are checked", func(t *testing.T) {
		wantError(t, f.post(t, refreshForm(spa), basic("spa", "wrong")), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("a stranger's attempt spends nothing, also with a spent token", func(t *testing.T) {
		next := wantToken(t, f.post(t, refreshForm(web), asWeb)).text("refresh_token")
		f.advance(time.Minute)
		wantError(t, f.post(t, refreshForm(web), basic("web2", "s3cret2")), http.StatusBadRequest, "invalid_grant")
		wantToken(t, f.post(t, refreshForm(next), asWeb))
		wantToken(t, f.post(t, refreshForm(spa, "client_id", "spa")))
	})
}

func TestRefreshScope(t *testing.T) {
	f := newFixture(t)
	token := wantToken(t, f.post(t, passwordForm("alice", "secret123", "scope", "read"), asWeb)).text("refresh_token")
	t.Run("6749-6-06 more than was granted is refused and spends nothing", func(t *testing.T) {
		wantError(t, f.post(t, refreshForm(token, "scope", "read write"), asWeb), http.StatusBadRequest, "invalid_scope")
		wantToken(t, f.post(t, refreshForm(token), asWeb))
	})

	token = signIn(t, f).text("refresh_token")
	narrowed := wantToken(t, f.post(t, refreshForm(token, "scope", "read"), asWeb))
	t.Run("6749-6-09 less than was granted narrows the access token", func(t *testing.T) {
		told := wantActive(t, f, narrowed.text("access_token"))
		if told.text("scope") != "read" || narrowed.text("scope") != "read" {
			t.Errorf("scope is %q to resource servers and %q in the answer", told.text("scope"), narrowed.text("scope"))
		}
	})
	t.Run("6749-6-07 6749-6-08 and the refresh token keeps all of it", func(t *testing.T) {
		again := wantToken(t, f.post(t, refreshForm(narrowed.text("refresh_token")), asWeb))
		if again.text("scope") != "read write" {
			t.Errorf("scope is %q", again.text("scope"))
		}
	})
}

func TestRefreshLifetimes(t *testing.T) {
	const day = 24 * time.Hour
	t.Run("6749-6-05 a refresh token lives 14 days when it isn't used", func(t *testing.T) {
		f := newFixture(t)
		token := signIn(t, f).text("refresh_token")
		f.advance(14*day - time.Second)
		token = wantToken(t, f.post(t, refreshForm(token), asWeb)).text("refresh_token")
		f.advance(14 * day)
		wantError(t, f.post(t, refreshForm(token), asWeb), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("it may live shorter than its access token", func(t *testing.T) {
		f := newFixture(t, func(c *authserver.Config) { c.RefreshIdle = 10 * time.Minute })
		pair := signIn(t, f)
		f.advance(10 * time.Minute)
		wantError(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb), http.StatusBadRequest, "invalid_grant")
		if !f.valid(t, pair.text("access_token")) {
			t.Error("the access token ended with it")
		}
	})
	t.Run("a sign-in ends after 90 days however often it is refreshed", func(t *testing.T) {
		f := newFixture(t)
		pair := signIn(t, f)
		for range 8 {
			f.advance(10 * day)
			pair = wantToken(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb))
		}
		f.advance(10*day - 10*time.Second)
		pair = wantToken(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb))
		if pair.json["expires_in"] != json.Number("10") {
			t.Errorf("expires_in is %v, want the 10 seconds that are left", pair.json["expires_in"])
		}
		f.advance(10 * time.Second)
		wantError(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("a node whose clock is behind can refresh", func(t *testing.T) {
		f := newFixture(t)
		token := signIn(t, f).text("refresh_token")
		f.advance(-2 * time.Second)
		wantToken(t, f.post(t, refreshForm(token), asWeb))
	})
}

func TestRefreshRetry(t *testing.T) {
	samePair := func(t *testing.T, a, b answer) {
		t.Helper()
		for _, member := range []string{"access_token", "refresh_token", "scope"} {
			if a.text(member) != b.text(member) {
				t.Errorf("%s differs", member)
			}
		}
	}
	t.Run("a repeated refresh gets the same pair within the window", func(t *testing.T) {
		f := newFixture(t)
		token := signIn(t, f).text("refresh_token")
		lost := wantToken(t, f.post(t, refreshForm(token), asWeb))
		f.advance(10*time.Second - time.Millisecond)
		samePair(t, lost, wantToken(t, f.post(t, refreshForm(token), asWeb)))
		wantToken(t, f.post(t, refreshForm(lost.text("refresh_token")), asWeb))
	})
	t.Run("6749-6-10 after the window it is reuse and ends the grant", func(t *testing.T) {
		f := newFixture(t)
		other := signIn(t, f)
		token := signIn(t, f).text("refresh_token")
		current := wantToken(t, f.post(t, refreshForm(token), asWeb))
		f.advance(10 * time.Second)
		wantError(t, f.post(t, refreshForm(token), asWeb), http.StatusBadRequest, "invalid_grant")
		wantError(t, f.post(t, refreshForm(current.text("refresh_token")), asWeb), http.StatusBadRequest, "invalid_grant")
		if f.valid(t, current.text("access_token")) {
			t.Error("the access token of the ended grant is still valid")
		}
		if !f.valid(t, other.text("access_token")) {
			t.Error("another grant of the same user was ended too")
		}
	})
	t.Run("6749-10.4-03 a public client's, which anybody could present, is reuse too", func(t *testing.T) {
		f := newFixture(t)
		stolen := wantToken(t, f.post(t, passwordForm("alice", "secret123", "client_id", "spa"))).text("refresh_token")
		next := wantToken(t, f.post(t, refreshForm(stolen, "client_id", "spa")))
		f.advance(10 * time.Second)
		wantError(t, f.post(t, refreshForm(stolen, "client_id", "spa")), http.StatusBadRequest, "invalid_grant")
		wantError(t, f.post(t, refreshForm(next.text("refresh_token"), "client_id", "spa")), http.StatusBadRequest, "invalid_grant")
		wantInactive(t, f, next.text("access_token"))
	})
	t.Run("the window ends when the successor is used", func(t *testing.T) {
		f := newFixture(t)
		token := signIn(t, f).text("refresh_token")
		next := wantToken(t, f.post(t, refreshForm(token), asWeb)).text("refresh_token")
		wantToken(t, f.post(t, refreshForm(next), asWeb))
		wantError(t, f.post(t, refreshForm(token), asWeb), http.StatusBadRequest, "invalid_grant")
		if f.grants(t) != 0 {
			t.Error("reuse did not end the grant")
		}
	})
	t.Run("6749-10.4-03 with the window off every repetition is reuse", func(t *testing.T) {
		f := newFixture(t, withoutRetries)
		token := signIn(t, f).text("refresh_token")
		next := wantToken(t, f.post(t, refreshForm(token), asWeb)).text("refresh_token")
		wantError(t, f.post(t, refreshForm(token), asWeb), http.StatusBadRequest, "invalid_grant")
		wantError(t, f.post(t, refreshForm(next), asWeb), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("a repetition that asks for another scope is refused and ends nothing", func(t *testing.T) {
		f := newFixture(t)
		token := signIn(t, f).text("refresh_token")
		next := wantToken(t, f.post(t, refreshForm(token, "scope", "read"), asWeb))
		wantError(t, f.post(t, refreshForm(token, "scope", "write"), asWeb), http.StatusBadRequest, "invalid_scope")
		samePair(t, next, wantToken(t, f.post(t, refreshForm(token, "scope", "read"), asWeb)))
	})
	t.Run("a genuine tag on a token that was never issued ends nothing", func(t *testing.T) {
		f := newFixture(t)
		token := signIn(t, f).text("refresh_token")
		next := wantToken(t, f.post(t, refreshForm(token), asWeb)).text("refresh_token")
		parsed, err := f.keys.Parse(opaque.Refresh, token)
		if err != nil {
			t.Fatal(err)
		}
		for generation := range uint32(4) {
			if generation == 0 {
				continue // older than the retry window: the server can't tell it from reuse
			}
			forged, _ := f.keys.Mint(opaque.Refresh, parsed.Grant, generation)
			wantError(t, f.post(t, refreshForm(forged), asWeb), http.StatusBadRequest, "invalid_grant")
		}
		wantToken(t, f.post(t, refreshForm(next), asWeb))
	})
}

func TestConcurrentRefresh(t *testing.T) {
	f := newFixture(t)
	for range 5 {
		token := signIn(t, f).text("refresh_token")
		answers := make([]answer, 32)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() { answers[i] = f.post(t, refreshForm(token), asWeb) })
		}
		wg.Wait()
		pairs := map[string]bool{}
		for _, a := range answers {
			wantToken(t, a)
			pairs[a.text("access_token")+a.text("refresh_token")] = true
		}
		if len(pairs) != 1 {
			t.Fatalf("one refresh token got %d successors", len(pairs))
		}
		wantToken(t, f.post(t, refreshForm(answers[0].text("refresh_token")), asWeb))
	}
}

func TestRefreshRacesRevocation(t *testing.T) {
	f := newFixture(t)
	for range 20 {
		token := signIn(t, f).text("refresh_token")
		var wg sync.WaitGroup
		var pair answer
		wg.Go(func() { pair = f.post(t, refreshForm(token), asWeb) })
		wg.Go(func() {
			if _, err := f.store.Revoke(context.Background(), storage.Target{UserID: "id-of-alice"}); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if pair.status == http.StatusOK && f.valid(t, pair.text("access_token")) {
			t.Fatal("a token of a revoked user is valid")
		}
		if n := f.grants(t); n != 0 {
			t.Fatalf("%d grants live on", n)
		}
	}
}
