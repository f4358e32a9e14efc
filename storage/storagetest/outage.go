package storagetest

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

var outageChecks = []check{
	{"a cancelled context is no answer about a record", cancelled},
	{"an unreachable store says so, and soon", unreachable},
}

// patience is how long a call may take on a store that can't be reached.
const patience = 10 * time.Second

// calls returns calls of every method, on records that exist and on others.
func calls(t *testing.T, f Fixture) map[string]func(ctx context.Context) error {
	g, s := created(t, f, alice, web), f.Store
	absent := newGrant(f, alice, web)
	u, c := createdUser(t, f, "alice"), createdClient(t, f, web)
	createdKey(t, f, 1)
	r, receipt := revoke(t, f, storage.Target{UserID: bob}), createdReceipt(t, f)
	all := map[string]func(context.Context) error{
		"CreateGrant":        func(ctx context.Context) error { return s.CreateGrant(ctx, absent) },
		"LoadGrant":          func(ctx context.Context) error { return second(s.LoadGrant(ctx, g.ID)) },
		"LoadGrant, unknown": func(ctx context.Context) error { return second(s.LoadGrant(ctx, absent.ID)) },
		"SwapGrant":          func(ctx context.Context) error { return s.SwapGrant(ctx, g, successor(f, g), storage.Retry{}) },
		"SwapGrant, unknown": func(ctx context.Context) error {
			return s.SwapGrant(ctx, absent, successor(f, absent), retryOf(f, absent, time.Minute))
		},
		"LoadRetry":             func(ctx context.Context) error { return second(s.LoadRetry(ctx, g.ID)) },
		"DeleteGrant":           func(ctx context.Context) error { return s.DeleteGrant(ctx, absent.ID) },
		"Epoch":                 func(ctx context.Context) error { return second(s.Epoch(ctx, g.ID)) },
		"Revoke":                func(ctx context.Context) error { return second(s.Revoke(ctx, storage.Target{UserID: bob})) },
		"Revoke, all":           func(ctx context.Context) error { return second(s.Revoke(ctx, storage.Target{ClientID: cli})) },
		"Sweep":                 func(ctx context.Context) error { return second(s.Sweep(ctx, r, nil)) },
		"Unswept":               func(ctx context.Context) error { return second(s.Unswept(ctx)) },
		"Survivors":             func(ctx context.Context) error { return second(s.Survivors(ctx, r)) },
		"CountGrants":           func(ctx context.Context) error { return second(s.CountGrants(ctx, storage.Target{UserID: alice})) },
		"CountGrants, all":      func(ctx context.Context) error { return second(s.CountGrants(ctx, storage.Target{All: true})) },
		"CreateReceipt":         func(ctx context.Context) error { return s.CreateReceipt(ctx, newReceipt(f)) },
		"LoadReceipt":           func(ctx context.Context) error { return second(s.LoadReceipt(ctx, receipt.ID)) },
		"UpdateReceipt":         func(ctx context.Context) error { return s.UpdateReceipt(ctx, receipt) },
		"DeleteReceipt":         func(ctx context.Context) error { return s.DeleteReceipt(ctx, "rev_unknown") },
		"ListReceipts":          func(ctx context.Context) error { return second(s.ListReceipts(ctx, "", 10)) },
		"ListGrants":            listCall(s, storage.Target{UserID: alice}),
		"ListGrants, client":    listCall(s, storage.Target{ClientID: web}),
		"CreateUser":            func(ctx context.Context) error { return s.CreateUser(ctx, newUser(f, "carol")) },
		"LoadUser":              func(ctx context.Context) error { return second(s.LoadUser(ctx, "alice")) },
		"LoadUser, unknown":     func(ctx context.Context) error { return second(s.LoadUser(ctx, "nobody")) },
		"UpdateUser":            func(ctx context.Context) error { return s.UpdateUser(ctx, u) },
		"UpdateUser, unknown":   func(ctx context.Context) error { return s.UpdateUser(ctx, newUser(f, "nobody")) },
		"DeleteUser":            func(ctx context.Context) error { return s.DeleteUser(ctx, "nobody") },
		"ListUsers":             func(ctx context.Context) error { return second(s.ListUsers(ctx, "", 10)) },
		"CreateClient":          func(ctx context.Context) error { return s.CreateClient(ctx, newClient(f, cli)) },
		"LoadClient":            func(ctx context.Context) error { return second(s.LoadClient(ctx, web)) },
		"LoadClient, unknown":   func(ctx context.Context) error { return second(s.LoadClient(ctx, "nothing")) },
		"UpdateClient":          func(ctx context.Context) error { return s.UpdateClient(ctx, c) },
		"UpdateClient, unknown": func(ctx context.Context) error { return s.UpdateClient(ctx, newClient(f, "nothing")) },
		"DeleteClient":          func(ctx context.Context) error { return s.DeleteClient(ctx, "nothing") },
		"ListClients":           func(ctx context.Context) error { return second(s.ListClients(ctx, "", 10)) },
		"CreateKey":             func(ctx context.Context) error { return s.CreateKey(ctx, newKey(f, 2)) },
		"ListKeys":              func(ctx context.Context) error { return second(s.ListKeys(ctx)) },
		"DeleteKey":             func(ctx context.Context) error { return s.DeleteKey(ctx, 9) },
		"LoadGuesses":           func(ctx context.Context) error { return second(s.LoadGuesses(ctx, guessKey(1))) },
		"SwapGuesses": func(ctx context.Context) error {
			return second(s.SwapGuesses(ctx, guessKey(1), nil, []byte("x"), f.Now().Add(time.Hour)))
		},
		"Ping": s.Ping,
	}
	maps.Copy(all, auditCalls(f))
	return all
}

// second returns the error of a call that returns a value as well.
func second[T any](_ T, err error) error { return err }

func listCall(s storage.Store, target storage.Target) func(context.Context) error {
	return func(ctx context.Context) error {
		_, _, err := s.ListGrants(ctx, target, "", 10)
		return err
	}
}

// wantUnavailable fails unless err says that the store can't answer, and nothing
// about the record.
func wantUnavailable(t *testing.T, name string, err error) {
	t.Helper()
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("%s: got error %v, want %v", name, err, storage.ErrUnavailable)
	}
	for _, other := range []error{storage.ErrNotFound, storage.ErrExists, storage.ErrConflict, storage.ErrRevoked} {
		if errors.Is(err, other) {
			t.Errorf("%s: got error %v, which is also %v", name, err, other)
		}
	}
}

func cancelled(t *testing.T, f Fixture) {
	all := calls(t, f)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancelLate()
	for name, call := range all {
		wantUnavailable(t, name+", cancelled", call(gone))
		wantUnavailable(t, name+", late", call(late))
	}
	wantErr(t, "Ping with another context", f.Store.Ping(t.Context()), nil)
}

func unreachable(t *testing.T, f Fixture) {
	all := calls(t, f)
	delete(all, "Epoch") // it may return an older epoch that the store remembers
	f.Break()
	type outcome struct {
		name string
		err  error
	}
	outcomes := make(chan outcome, len(all))
	for name, call := range all {
		go func() { outcomes <- outcome{name, call(t.Context())} }()
	}
	deadline := time.After(patience)
	for range all {
		select {
		case o := <-outcomes:
			wantUnavailable(t, o.name, o.err)
			delete(all, o.name)
		case <-deadline:
			for name := range all {
				t.Errorf("%s has not returned after %v", name, patience)
			}
			return
		}
	}
	if got := f.Store.Health(t.Context()); got.State != storage.Down {
		t.Errorf("health: %+v, want state %s", got, storage.Down)
	}
}

func wantHealth(t *testing.T, s storage.Store, want storage.Health) {
	t.Helper()
	if got := s.Health(t.Context()); got != want {
		t.Errorf("health: %+v, want %+v", got, want)
	}
}
