package redisstore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// A record of a newer version is unavailable: neither accepted nor said to be
// gone.
func TestRecordsOfANewerVersionAreUnavailable(t *testing.T) {
	ctx, server := t.Context(), redistest.Single(t)
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	second := next(g)
	err := errors.Join(s.SwapGrant(ctx, g, second, retry(second)),
		s.CreateUser(ctx, storage.User{Name: "alice"}), s.CreateClient(ctx, storage.Client{ID: "demo"}), s.CreateKey(ctx, storage.Key{ID: 1}),
		s.CreateReceipt(ctx, storage.Receipt{ID: "rev_1", Target: storage.Target{UserID: "u1"}}))
	if err != nil {
		t.Fatal(err)
	}
	c := server.Client()
	for _, key := range []string{grantKey(g.ID), retryKey(g.ID)} {
		c.SetRange(ctx, key, 0, "\x02")
	}
	for _, key := range []string{"grantd:user:alice", "grantd:client:demo"} {
		c.Set(ctx, key, strings.Replace(c.Get(ctx, key).Val(), "{", `{"until":1,`, 1), 0)
	}
	c.Set(ctx, "grantd:receipt:rev_1", strings.Replace(c.Get(ctx, "grantd:receipt:rev_1").Val(), `"target":{`, `"target":{"until":1,`, 1), 0)
	c.HSet(ctx, keysKey, "1", strings.Replace(c.HGet(ctx, keysKey, "1").Val(), "{", `{"until":1,`, 1))

	third := next(second)
	calls := map[string]func() error{
		"LoadGrant":    func() error { _, err := s.LoadGrant(ctx, g.ID); return err },
		"LoadRetry":    func() error { _, err := s.LoadRetry(ctx, g.ID); return err },
		"SwapGrant":    func() error { return s.SwapGrant(ctx, g, second, storage.Retry{}) }, // a swap that comes second
		"ListGrants":   func() error { _, _, err := s.ListGrants(ctx, storage.Target{UserID: "u1"}, "", 9); return err },
		"LoadUser":     func() error { _, err := s.LoadUser(ctx, "alice"); return err },
		"ListUsers":    func() error { _, err := s.ListUsers(ctx, "", 9); return err },
		"LoadClient":   func() error { _, err := s.LoadClient(ctx, "demo"); return err },
		"ListKeys":     func() error { _, err := s.ListKeys(ctx); return err },
		"LoadReceipt":  func() error { _, err := s.LoadReceipt(ctx, "rev_1"); return err },
		"ListReceipts": func() error { _, err := s.ListReceipts(ctx, "", 9); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}

	// The grant can be ended all the same, since no sweep of this version deletes
	// the floor that ends it.
	r, err := s.Revoke(ctx, storage.Target{UserID: "u1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(ctx, r, nil); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("sweep: %v", err)
	}
	c.SetRange(ctx, grantKey(g.ID), 0, "\x01") // as a version that knows the record would read it
	if _, err := s.LoadGrant(ctx, g.ID); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the grant after its revocation: %v", err)
	}
	if err := s.SwapGrant(ctx, second, third, storage.Retry{}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("swap after its revocation: %v", err)
	}
}

// A floor of a kind that a newer version brought makes every call fail; none
// overlooks it.
func TestAFloorOfANewerKindIsUnavailable(t *testing.T) {
	ctx, server := t.Context(), redistest.Single(t)
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	const floors = "\x00\x00\x00\x01\x00\x00\x00\x00" + "\x00\x00\x00\x01n\x00\x0210"
	server.Client().Set(ctx, floorsKey(g.ID.Partition()), floors, 0)
	for name, call := range map[string]func() error{
		"LoadGrant": func() error { _, err := s.LoadGrant(ctx, g.ID); return err },
		"SwapGrant": func() error { return s.SwapGrant(ctx, g, next(g), storage.Retry{}) },
		"Revoke":    func() error { _, err := s.Revoke(ctx, storage.Target{UserID: "u1"}); return err },
		"Unswept":   func() error { _, err := s.Unswept(ctx); return err },
	} {
		if err := call(); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := server.Client().Get(ctx, floorsKey(g.ID.Partition())).Val(); got != floors {
		t.Errorf("the floors are %q now", got)
	}
}
