package authserver_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

func TestClientCredentials(t *testing.T) {
	f := newFixture(t)
	asService := basic("svc", "s3cret3")
	a := wantToken(t, f.post(t, form("grant_type", "client_credentials", "scope", "write"), asService))

	t.Run("6749-4.4-01 a confidential client gets a token", func(t *testing.T) { wantActive(t, f, a.text("access_token")) })
	t.Run("6749-4.4.3-01 there is no refresh token", func(t *testing.T) {
		if _, has := a.json["refresh_token"]; has {
			t.Errorf("got %s", a.body)
		}
	})
	t.Run("the grant has no user and ends with its access token", func(t *testing.T) {
		token, err := f.keys.Parse(opaque.Access, a.text("access_token"))
		if err != nil {
			t.Fatal(err)
		}
		g, err := f.store.LoadGrant(t.Context(), token.Grant)
		if err != nil || g.UserID != "" || g.Username != "" || g.Type != storage.ClientCredentials || g.ClientID != "svc" || g.AccessScope != "write" {
			t.Errorf("grant is %+v (%v)", g, err)
		}
		if !g.Expiry().Equal(f.now().Add(time.Hour)) {
			t.Errorf("the grant lives until %v", g.Expiry())
		}
	})
	t.Run("6749-2.3-01 6749-4.4-01 a public client may not, even if it is listed", func(t *testing.T) {
		wantError(t, f.post(t, form("grant_type", "client_credentials", "client_id", "cli")), http.StatusBadRequest, "unauthorized_client")
		wantError(t, f.post(t, form("grant_type", "client_credentials", "client_id", "spa")), http.StatusBadRequest, "unauthorized_client")
		wantError(t, f.post(t, form("grant_type", "client_credentials"), basic("spa", "anything")), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("6749-4.4.2-01 the client has to prove that it is the one", func(t *testing.T) {
		wantError(t, f.post(t, form("grant_type", "client_credentials", "client_id", "svc")), http.StatusUnauthorized, "invalid_client")
		wantError(t, f.post(t, form("grant_type", "client_credentials"), basic("svc", "wrong")), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("6749-5.2-11 a client that is not listed for it", func(t *testing.T) {
		wantError(t, f.post(t, form("grant_type", "client_credentials"), asWeb), http.StatusBadRequest, "unauthorized_client")
	})
	t.Run("6749-5.2-13 more than the client may", func(t *testing.T) {
		wantError(t, f.post(t, form("grant_type", "client_credentials", "scope", "admin"), asService), http.StatusBadRequest, "invalid_scope")
	})
	t.Run("a client that is allowed admin gets it", func(t *testing.T) {
		a := wantToken(t, f.post(t, form("grant_type", "client_credentials", "scope", "admin"), basic("root", "s3cret4")))
		if a.text("scope") != "admin" {
			t.Errorf("scope is %q", a.text("scope"))
		}
	})
}
