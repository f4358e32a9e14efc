package watched_test

import (
	"context"
	"errors"
	"iter"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/watched"
)

// open returns a watched store in memory, and a function that returns the calls
// that were reported since it was last called.
func open(t *testing.T) (storage.Store, func() []watched.Call) {
	t.Helper()
	inner, err := embedded.Open(embedded.Memory)
	if err != nil {
		t.Fatal(err)
	}
	var calls []watched.Call
	s := watched.Watch(inner, func(ctx context.Context, c watched.Call) {
		if ctx != t.Context() {
			t.Errorf("%s is told with another context", c.Method)
		}
		calls = append(calls, c)
	})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, func() []watched.Call {
		told := calls
		calls = nil
		return told
	}
}

func TestEveryMethodIsWatched(t *testing.T) {
	s, told := open(t)
	seen := 0
	for name, call := range everyMethod(s) {
		began := time.Now()
		returned := call(t.Context())

		calls := told()
		if len(calls) != 1 {
			t.Errorf("%s: told of %d calls", name, len(calls))
			continue
		}
		seen++
		c := calls[0]
		if want := snake(name); c.Method.String() != want {
			t.Errorf("%s is told as %s, want %s", name, c.Method, want)
		}
		if c.Err != returned { //nolint:errorlint // the very same
			t.Errorf("%s returned %v, told %v", name, returned, c.Err)
		}
		if c.Began.Before(began) || c.Took < 0 || c.Took > time.Since(began) {
			t.Errorf("%s: began %v, took %v", name, c.Began, c.Took)
		}
	}
	if seen != watched.Methods {
		t.Errorf("%d methods are watched, and %d have names", seen, watched.Methods)
	}
}

func TestNobodyNeedsToBeTold(t *testing.T) {
	inner, err := embedded.Open(embedded.Memory)
	if err != nil {
		t.Fatal(err)
	}
	s := watched.Watch(inner, nil)
	if err := errors.Join(s.Ping(t.Context()), s.Close()); err != nil {
		t.Error(err)
	}
}

// given returns arguments, by type, that a store doesn't refuse without
// looking. The arguments of a type are used in order.
func given() map[reflect.Type][]any {
	now := time.Now().UTC().Truncate(time.Millisecond)
	g := storage.Grant{
		ID: storage.NewGrantID("usr_1"), Type: storage.Password, UserID: "usr_1", Username: "alice", ClientID: "web",
		Scope: "read", AccessScope: "read", Generation: 1, Access: storage.Digest{1}, Refresh: storage.Digest{2},
		Created: now, Issued: now, AccessExpiry: now.Add(time.Hour), RefreshExpiry: now.Add(time.Hour), End: now.Add(time.Hour),
	}
	next := g
	next.Generation, next.Access = g.Generation+1, storage.Digest{9}
	return map[reflect.Type][]any{
		reflect.TypeFor[storage.Grant]():        {g, next},
		reflect.TypeFor[storage.Target]():       {storage.Target{UserID: "usr_1"}},
		reflect.TypeFor[storage.Revocation]():   {storage.Revocation{Target: storage.Target{UserID: "usr_1"}}},
		reflect.TypeFor[int]():                  {1},
		reflect.TypeFor[[]storage.AuditEvent](): {[]storage.AuditEvent{{}}},
	}
}

// everyMethod yields each method of the interface but Close, including future ones. A
// method is called with the arguments of given, and with zero values for the others,
// which the store may refuse. Its last result is returned if that is an error.
func everyMethod(s storage.Store) iter.Seq2[string, func(context.Context) error] {
	return func(yield func(string, func(context.Context) error) bool) {
		for method := range reflect.TypeFor[storage.Store]().Methods() {
			if method.Name == "Close" {
				continue
			}
			call := reflect.ValueOf(s).MethodByName(method.Name)
			if !yield(method.Name, func(ctx context.Context) error {
				args, known := []reflect.Value{reflect.ValueOf(ctx)}, given()
				for in := 1; in < call.Type().NumIn(); in++ {
					kind := call.Type().In(in)
					if values := known[kind]; len(values) > 0 {
						args, known[kind] = append(args, reflect.ValueOf(values[0])), values[1:]
						continue
					}
					args = append(args, reflect.Zero(kind))
				}
				perform := call.Call
				if call.Type().IsVariadic() {
					perform = call.CallSlice
				}
				results := perform(args)
				err, _ := results[len(results)-1].Interface().(error)
				return err
			}) {
				return
			}
		}
	}
}

func snake(name string) string {
	return strings.ToLower(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(name, "${1}_${2}"))
}

// A method that passed on the context of its caller would let the store go on
// when the budget is spent.
func TestEveryMethodIsBoundedByTheBudget(t *testing.T) {
	inner, err := embedded.Open(embedded.Memory)
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	var told error
	s := watched.Watch(inner, func(_ context.Context, c watched.Call) { told = c.Err })
	for name, call := range everyMethod(s) {
		whole := new(storage.Budget)
		if _ = call(storage.WithBudget(t.Context(), whole)); errors.Is(told, storage.ErrUnavailable) {
			t.Errorf("%s with a whole budget: %v", name, told)
		}
		if reflect.ValueOf(whole).Elem().IsZero() {
			t.Errorf("%s took nothing from the budget", name)
		}
		spent := new(storage.Budget)
		spent.Spend(time.Hour)
		if _ = call(storage.WithBudget(t.Context(), spent)); !errors.Is(told, storage.ErrSpent) {
			t.Errorf("%s without time left: %v, want %v", name, told, storage.ErrSpent)
		}
	}
}

func TestWhatWasKeptIsReturned(t *testing.T) {
	s, told := open(t)
	if err := s.CreateUser(t.Context(), storage.User{ID: "usr_1", Name: "alice"}); err != nil {
		t.Fatal(err)
	}
	u, err := s.LoadUser(t.Context(), "alice")
	if err != nil || u.ID != "usr_1" || u.Revision != 1 {
		t.Errorf("got %+v, %v", u, err)
	}
	if calls := told(); len(calls) != 2 || calls[0].Method != watched.CreateUser || calls[1].Method != watched.LoadUser {
		t.Errorf("told %+v", calls)
	}
}

func TestWatchingAllocatesNothing(t *testing.T) {
	inner, err := embedded.Open(embedded.Memory)
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	var calls int
	s := watched.Watch(inner, func(context.Context, watched.Call) { calls++ })
	id := storage.NewGrantID("nobody")
	bare := testing.AllocsPerRun(200, func() { _, _ = inner.LoadGrant(t.Context(), id) })
	ctx := storage.WithBudget(t.Context(), new(storage.Budget))
	with := testing.AllocsPerRun(200, func() { _, _ = s.LoadGrant(ctx, id) })
	if with > bare || calls == 0 {
		t.Errorf("%v allocations a call, %v unwatched, %d calls told", with, bare, calls)
	}
}
