package authserver_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

func TestAChangedClientIsNoticed(t *testing.T) {
	asService := basic("svc", "s3cret3")
	ask := func(t *testing.T, f *fixture, as change) answer {
		t.Helper()
		return f.post(t, form("grant_type", "client_credentials"), as)
	}
	load := func(t *testing.T, f *fixture) storage.Client {
		t.Helper()
		c, err := f.store.Store.LoadClient(t.Context(), "svc")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}

	t.Run("a new secret works at once", func(t *testing.T) {
		f := newFixture(t)
		wantToken(t, ask(t, f, asService))
		c := load(t, f)
		c.Secret = storage.NewSecretVerifier("another secret")
		if err := f.store.UpdateClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		wantToken(t, ask(t, f, basic("svc", "another secret")))
		wantError(t, ask(t, f, asService), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("the old secret gets nothing, also while it is remembered", func(t *testing.T) {
		f := newFixture(t)
		wantToken(t, ask(t, f, asService))
		c := load(t, f)
		c.Secret = storage.NewSecretVerifier("another secret")
		if err := f.store.UpdateClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		wantError(t, ask(t, f, asService), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("a client that was deleted and made anew is another", func(t *testing.T) {
		f := newFixture(t)
		f.store.set(func(s *faultyStore) {
			s.beforeCreate = func() {
				c := load(t, f)
				if c.Secret.Verify("another secret") {
					return
				}
				c.Secret = storage.NewSecretVerifier("another secret")
				for _, err := range []error{f.store.DeleteClient(t.Context(), "svc"), f.store.CreateClient(t.Context(), c)} {
					if err != nil {
						t.Error(err)
					}
				}
				if _, err := f.store.Revoke(t.Context(), storage.Target{ClientID: "svc"}); err != nil {
					t.Error(err)
				}
			}
		})
		wantError(t, ask(t, f, asService), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("a right that was taken away is gone", func(t *testing.T) {
		f := newFixture(t)
		wantToken(t, ask(t, f, asService))
		c := load(t, f)
		c.Grants = []string{"password"}
		if err := f.store.UpdateClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		wantError(t, ask(t, f, asService), http.StatusBadRequest, "unauthorized_client")
	})
	t.Run("a deleted client gets nothing", func(t *testing.T) {
		f := newFixture(t)
		wantToken(t, ask(t, f, asService))
		if err := f.store.DeleteClient(t.Context(), "svc"); err != nil {
			t.Fatal(err)
		}
		wantError(t, ask(t, f, asService), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("a deleted client can't refresh what was revoked with it", func(t *testing.T) {
		f := newFixture(t)
		pair := wantToken(t, f.post(t, refreshForm(signIn(t, f).text("refresh_token")), asWeb))
		if err := f.store.DeleteClient(t.Context(), "web"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.store.Revoke(t.Context(), storage.Target{ClientID: "web"}); err != nil {
			t.Fatal(err)
		}
		wantError(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb), http.StatusBadRequest, "invalid_grant")
		f.advance(time.Second)
		wantError(t, f.post(t, refreshForm(pair.text("refresh_token")), asWeb), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("a deleted resource server learns of tokens for a second more, and nothing stale", func(t *testing.T) {
		f := newFixture(t)
		first := signIn(t, f)
		introspect := func() answer {
			return f.send(t, http.MethodPost, "/introspect", form("token", first.text("access_token")).Encode(), basic("rs1", "rs1-secret"))
		}
		active(t, introspect())
		if err := f.store.DeleteClient(t.Context(), "rs1"); err != nil {
			t.Fatal(err)
		}
		active(t, introspect())
		f.post(t, refreshForm(first.text("refresh_token")), asWeb)
		inactive(t, introspect())
		f.advance(time.Second)
		wantError(t, introspect(), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("an authentication that fails always looks", func(t *testing.T) {
		f := newFixture(t)
		wantError(t, ask(t, f, basic("late", "a late secret")), http.StatusUnauthorized, "invalid_client")
		if err := f.store.CreateClient(t.Context(), storage.Client{
			ID: "late", Secret: storage.NewSecretVerifier("a late secret"), Grants: []string{"client_credentials"}, Scopes: []string{"read"},
		}); err != nil {
			t.Fatal(err)
		}
		wantToken(t, ask(t, f, basic("late", "a late secret")))
	})
}

// Introspection notices at once that this process deleted a client, even if
// another request was just loading it.
func TestAForgottenClientIsNoticedAtOnce(t *testing.T) {
	introspect := func(t *testing.T, f *fixture, token string) answer {
		t.Helper()
		return f.send(t, http.MethodPost, "/introspect", form("token", token).Encode(), basic("rs1", "rs1-secret"))
	}
	end := func(t *testing.T, f *fixture) {
		t.Helper()
		if err := f.store.DeleteClient(t.Context(), "rs1"); err != nil {
			t.Error(err)
		}
		f.server.ForgetClient("rs1")
	}
	t.Run("though it was remembered", func(t *testing.T) {
		f := newFixture(t)
		token := signIn(t, f).text("access_token")
		active(t, introspect(t, f, token))
		end(t, f)
		wantError(t, introspect(t, f, token), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("though it was being loaded", func(t *testing.T) {
		f := newFixture(t)
		token := signIn(t, f).text("access_token")
		f.store.set(func(s *faultyStore) { s.afterClient = func() { end(t, f) } })
		active(t, introspect(t, f, token))
		f.store.set(func(s *faultyStore) { s.afterClient = nil })
		wantError(t, introspect(t, f, token), http.StatusUnauthorized, "invalid_client")
	})
}
