package watched_test

import (
	"context"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/watched"
)

// open is a watched store in memory, and what was told of it since it was asked.
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

// Every method of the interface, those that it gets some day too, is called with
// nothing in its arguments: the store may refuse that, and is watched doing it.
func TestEveryMethodIsWatched(t *testing.T) {
	s, told := open(t)
	methods := reflect.TypeFor[storage.Store]()
	seen := 0
	for method := range methods.Methods() {
		if method.Name == "Close" {
			continue
		}
		call := reflect.ValueOf(s).MethodByName(method.Name)
		args := []reflect.Value{reflect.ValueOf(t.Context())}
		fixed := call.Type().NumIn()
		if call.Type().IsVariadic() {
			fixed--
		}
		for in := 1; in < fixed; in++ {
			args = append(args, reflect.Zero(call.Type().In(in)))
		}
		began := time.Now()
		results := call.Call(args)
		returned, _ := results[len(results)-1].Interface().(error)

		calls := told()
		if len(calls) != 1 {
			t.Errorf("%s: told of %d calls", method.Name, len(calls))
			continue
		}
		seen++
		c := calls[0]
		if want := snake(method.Name); c.Method.String() != want {
			t.Errorf("%s is told as %s, want %s", method.Name, c.Method, want)
		}
		if c.Err != returned { //nolint:errorlint // the very same
			t.Errorf("%s returned %v, told %v", method.Name, returned, c.Err)
		}
		if c.Began.Before(began) || c.Took < 0 || c.Took > time.Since(began) {
			t.Errorf("%s: began %v, took %v", method.Name, c.Began, c.Took)
		}
	}
	if seen != watched.Methods {
		t.Errorf("%d methods are watched, and %d have names", seen, watched.Methods)
	}
}

func snake(name string) string {
	return strings.ToLower(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(name, "${1}_${2}"))
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
	with := testing.AllocsPerRun(200, func() { _, _ = s.LoadGrant(t.Context(), id) })
	if with > bare || calls == 0 {
		t.Errorf("%v allocations a call, %v unwatched, %d calls told", with, bare, calls)
	}
}
