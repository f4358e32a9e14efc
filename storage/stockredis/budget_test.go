package stockredis

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

// The look-up of a stock token is counted in the request's budget, and doesn't
// wait longer than the rest of it.
func TestLookupsAreWithinTheBudgetOfTheRequest(t *testing.T) {
	b := newBench(t)
	token := b.issue(nil)
	whole := new(storage.Budget)
	if _, err := b.AccessGrant(storage.WithBudget(t.Context(), whole), token.Access); err != nil {
		t.Fatal(err)
	}
	if reflect.ValueOf(whole).Elem().IsZero() {
		t.Error("nothing was taken from the budget")
	}

	b.redis.Stop()
	nearly := new(storage.Budget)
	nearly.Spend(900 * time.Millisecond)
	began := time.Now()
	_, err := b.AccessGrant(storage.WithBudget(t.Context(), nearly), token.Access)
	if took := time.Since(began); !errors.Is(err, storage.ErrUnavailable) || took > 300*time.Millisecond {
		t.Errorf("with 50 ms left: %v after %v", err, took)
	}
	if !nearly.Spent() {
		t.Error("the wait wasn't counted")
	}
	b.redis.Cont()
	if _, err := b.AccessGrant(t.Context(), token.Access); err != nil { // succeeds at once, since no circuit is open
		t.Errorf("another request: %v", err)
	}
}
