package redisstore

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore/redistest"
	"github.com/grantd/grantd/storage/watched"
)

// callsOfSeveralTrips are calls that take three round trips or more while Redis knows
// none of the scripts.
var callsOfSeveralTrips = []struct {
	name     string
	replicas int
	do       func(context.Context, storage.Store, storage.Grant) error
}{
	{"swap that comes second, with a replica", 1, swapSecond},
	{"swap that comes second", 0, swapSecond},
	{"end of a grant", 0, func(ctx context.Context, s storage.Store, g storage.Grant) error { return s.DeleteGrant(ctx, g.ID) }},
	{"grants of a user", 0, func(ctx context.Context, s storage.Store, g storage.Grant) error {
		_, _, err := s.ListGrants(ctx, storage.Target{UserID: g.UserID}, "", 10)
		return err
	}},
	{"creation of a user", 0, func(ctx context.Context, s storage.Store, _ storage.Grant) error {
		return s.CreateUser(ctx, storage.User{Name: "bob", ID: "usr_2"})
	}},
	{"deletion of a client", 0, func(ctx context.Context, s storage.Store, _ storage.Grant) error { return s.DeleteClient(ctx, "web") }},
}

// swapSecond swaps the grant as if another swap had been faster.
func swapSecond(ctx context.Context, s storage.Store, g storage.Grant) error {
	g.Access = storage.Digest{1}
	return s.SwapGrant(ctx, g, next(g), storage.Retry{})
}

// Redis may become slow in the middle of a request. Then a call of several round trips
// ends when the request may wait no longer.
func TestACallOfSeveralRoundTripsTakesNoLongerThanARequestMay(t *testing.T) {
	const (
		delay = 330 * time.Millisecond // three of them are too many
		most  = 950*time.Millisecond + 100*time.Millisecond
	)
	master := redistest.Single(t)
	_, port, _ := strings.Cut(master.Addr(), ":")
	redistest.Single(t, "--replicaof", "127.0.0.1 "+port)
	proxy := redistest.Slow(t, master)
	begin := make(chan struct{})
	var calls sync.WaitGroup
	for _, tt := range callsOfSeveralTrips {
		s, clock := openConfirmed(t, proxy.URL(), tt.replicas) // a store for each call, so that the calls share no round trips
		expectRecovery(t, 5*time.Second, func() error { return s.DeleteGrant(t.Context(), storage.NewGrantID("")) })
		g := mustCreate(t, s, newGrant(clock.Now(), userID(), time.Hour))
		calls.Go(func() {
			<-begin
			began := time.Now()
			ctx := storage.WithBudget(t.Context(), new(storage.Budget))
			err := tt.do(ctx, watched.Watch(s, func(context.Context, watched.Call) {}), g)
			if took := time.Since(began); !errors.Is(err, storage.ErrUnavailable) || took > most {
				t.Errorf("%s took %v: %v", tt.name, took, err)
			}
		})
	}
	master.Client().ScriptFlush(t.Context())
	proxy.Delay(delay)
	close(begin)
	calls.Wait()
}
