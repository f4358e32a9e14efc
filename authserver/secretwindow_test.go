package authserver_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

// A client's secret may be replaced with an overlap, so that programs with the
// old secret have time to learn the new one.
func TestTwoSecretsWhileTheWindowIsOpen(t *testing.T) {
	const fresh = "another secret"
	rotate := func(t *testing.T, f *fixture, id string, overlap time.Duration) {
		t.Helper()
		c, err := f.store.Store.LoadClient(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		c.PreviousSecret, c.PreviousUntil = c.Secret, f.now().Add(overlap)
		c.Secret = storage.NewSecretVerifier(fresh)
		if err := f.store.UpdateClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(f *fixture, secret string) answer {
		return f.post(t, form("grant_type", "client_credentials"), basic("svc", secret))
	}

	t.Run("both are good until it closes, then the new one alone", func(t *testing.T) {
		f := newFixture(t)
		rotate(t, f, "svc", time.Hour)
		wantToken(t, ask(f, "s3cret3"))
		wantToken(t, ask(f, fresh))
		wantError(t, ask(f, "s3cret4"), http.StatusUnauthorized, "invalid_client")
		f.advance(time.Hour)
		wantError(t, ask(f, "s3cret3"), http.StatusUnauthorized, "invalid_client")
		wantToken(t, ask(f, fresh))
	})
	t.Run("a client that is remembered loses its old secret at that instant too", func(t *testing.T) {
		f := newFixture(t)
		rotate(t, f, "rs1", 500*time.Millisecond)
		token := signIn(t, f).text("access_token")
		introspect := func(secret string) answer {
			return f.send(t, http.MethodPost, "/introspect", form("token", token).Encode(), basic("rs1", secret))
		}
		active(t, introspect("rs1-secret"))
		f.advance(500 * time.Millisecond)
		wantError(t, introspect("rs1-secret"), http.StatusUnauthorized, "invalid_client")
		active(t, introspect(fresh))
	})
	t.Run("no secret at all is none of them", func(t *testing.T) {
		f := newFixture(t)
		rotate(t, f, "secretless", time.Hour) // which had no secret before
		wantError(t, f.post(t, form("grant_type", "client_credentials"), basic("secretless", "")), http.StatusUnauthorized, "invalid_client")
	})
}
