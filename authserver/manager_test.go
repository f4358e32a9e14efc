package authserver

import (
	"errors"
	"testing"
	"time"

	"github.com/go-oauth2/oauth2/v4"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/opaque"
)

// The toolkit's manager can be asked about the tokens that it issued.
func TestManagerKnowsItsTokens(t *testing.T) {
	store, err := embedded.Open(embedded.Memory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	keys, err := opaque.NewKeyring(opaque.NewKey(1))
	if err != nil {
		t.Fatal(err)
	}
	hasher, err := passhash.New(passhash.Params{Memory: 64, Time: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Issuer: "https://as.test", Store: store, Keys: keys, Passwords: hasher, Scopes: []string{"read"}})
	if err != nil {
		t.Fatal(err)
	}

	issue := func() tokenResponse {
		client := storage.Client{ID: "web", Grants: []string{grantPassword, grantRefreshToken}}
		begun := beginning{id: storage.NewGrantID("u1"), client: client, user: storage.User{ID: "u1", Name: "alice"}}
		begun.epoch, err = store.Epoch(t.Context(), begun.id)
		if err != nil {
			t.Fatal(err)
		}
		req := tokenRequest{params: params{"grant_type": grantPassword}, client: client, event: &Event{}}
		pair, err := s.issue(t.Context(), req, begun, "read")
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	m := s.issuer.manager

	pair := issue()
	info, err := m.LoadAccessToken(t.Context(), pair.accessToken)
	if err != nil || info.GetUserID() != "u1" || info.GetClientID() != "web" || info.GetScope() != "read" || info.GetAccessExpiresIn() != time.Hour {
		t.Errorf("LoadAccessToken gives %+v (%v)", info, err)
	}
	if info, err = m.LoadRefreshToken(t.Context(), pair.refreshToken); err != nil || info.GetUserID() != "u1" {
		t.Errorf("LoadRefreshToken gives %+v (%v)", info, err)
	}
	if _, err = m.LoadAccessToken(t.Context(), pair.refreshToken); err == nil {
		t.Error("a refresh token passes for an access token")
	}
	if err := m.RemoveAccessToken(t.Context(), pair.accessToken); err != nil {
		t.Fatal(err)
	}
	if _, err := m.LoadRefreshToken(t.Context(), pair.refreshToken); err == nil {
		t.Error("the refresh token survived the removal of its access token")
	}
	if err := m.RemoveRefreshToken(t.Context(), pair.refreshToken); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}

	pair = issue()
	if err := m.RemoveRefreshToken(t.Context(), pair.refreshToken); err != nil {
		t.Fatal(err)
	}
	if _, err := m.LoadAccessToken(t.Context(), pair.accessToken); err == nil {
		t.Error("the access token survived the removal of its refresh token")
	}

	// The manager issues nothing for a client that hasn't authenticated.
	_, err = m.GenerateAccessToken(t.Context(), oauth2.PasswordCredentials, &oauth2.TokenGenerateRequest{ClientID: "web", UserID: "u1"})
	if err == nil || errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("issuing without a sign-in: %v", err)
	}
}

func TestNewNamesEveryFault(t *testing.T) {
	_, err := New(Config{DefaultScopes: []string{"nosuch"}, Scopes: []string{`re"ad`}, Audiences: []string{"/relative"}, RetryWindow: time.Hour, AccessLifetime: time.Millisecond, RefreshAbsolute: time.Hour, Realm: `"`})
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 11 {
		t.Errorf("got %v, want 11 faults", err)
	}
}
