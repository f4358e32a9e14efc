package resource_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
)

// legacyTokens knows only the token "legacy", and fails for the token
// "unknowable".
type legacyTokens struct{ asked int }

func (l *legacyTokens) AccessGrant(_ context.Context, token string) (storage.Grant, error) {
	l.asked++
	switch token {
	case "legacy":
		return storage.Grant{UserID: "usr_alice", Username: "alice", ClientID: "web", AccessScope: "read", AccessExpiry: signIn.Add(time.Hour), End: signIn.Add(time.Hour)}, nil
	case "unknowable":
		return storage.Grant{}, fmt.Errorf("%w: redis", storage.ErrUnavailable)
	}
	return storage.Grant{}, fmt.Errorf("%w: never heard of it", storage.ErrNotFound)
}

func TestLegacyTokens(t *testing.T) {
	a := newAPI(t)
	l := &legacyTokens{}
	v := resource.NewStoreValidator(a.keys, a.store, resource.WithClock(a.now), resource.WithLegacy(l))

	id, err := v.Validate(t.Context(), "legacy")
	if err != nil || id.Subject != "usr_alice" || id.ClientID != "web" || !id.HasScope("read") {
		t.Errorf("got %+v, %v", id, err)
	}
	if _, err := v.Validate(t.Context(), "made-up"); !errors.Is(err, resource.ErrInvalidToken) {
		t.Errorf("%v, want ErrInvalidToken", err)
	}
	if _, err := v.Validate(t.Context(), "unknowable"); err == nil || errors.Is(err, resource.ErrInvalidToken) {
		t.Errorf("%v: says something of the token", err)
	}
	asked := l.asked
	if asked != 3 {
		t.Errorf("asked %d times, want 3", asked)
	}
	token := a.accessToken(t)
	if _, err := v.Validate(t.Context(), token); err != nil || l.asked != asked {
		t.Errorf("a token of our own was looked up elsewhere: %v", err)
	}
}
