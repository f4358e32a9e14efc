package throttle

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/storage"
)

// goneStore can be gone: then its calls fail at once. While goes is set, the next change
// is still made, but its answer is lost, and the store is gone from then on.
type goneStore struct {
	*lateStore
	gone, goes atomic.Bool
}

func (s *goneStore) SwapGuesses(ctx context.Context, key storage.GuessKey, old, next []byte, until time.Time) ([]byte, error) {
	if s.gone.Load() {
		return nil, storage.ErrUnavailable
	}
	kept, err := s.lateStore.SwapGuesses(ctx, key, old, next, until)
	if s.goes.Load() {
		s.gone.Store(true)
		return nil, storage.ErrUnavailable
	}
	return kept, err
}

func newGone(t *testing.T) (*goneStore, *Limiter) {
	t.Helper()
	late, l := newLate(t, 0)
	s := &goneStore{lateStore: late}
	l.store = s
	return s, l
}

// begin begins a guess from home and returns its place.
func begin(t *testing.T, l *Limiter, password string) *Place {
	t.Helper()
	p, err := l.Begin(t.Context(), at(home, password))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Outcomes that a store missed while it was gone reach it when it is back, long before the
// places expire. The callers got their errors at once.
func TestAStoreThatWasGoneIsToldTheOutcomes(t *testing.T) {
	for name, row := range map[string]struct {
		end  func(*Place) error
		want entry
	}{
		"wrong": {func(p *Place) error { _, err := p.Failed(t.Context()); return err }, entry{Failures: free}},
		"right": {func(p *Place) error { return p.Succeeded(t.Context()) }, entry{Known: 1}},
		"unjudged": {func(p *Place) error {
			p.Leave(t.Context())
			return storage.ErrUnavailable
		}, entry{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, l := newGone(t)
				var under []*Place
				for i := range free {
					under = append(under, begin(t, l, fmt.Sprint(i)))
				}
				store.gone.Store(true)
				for _, p := range under {
					began := time.Now()
					if err := row.end(p); !errors.Is(err, storage.ErrUnavailable) || time.Since(began) != 0 {
						t.Errorf("%v after %v", err, time.Since(began))
					}
				}
				time.Sleep(2 * maxSettling)
				if n := places(t, l); n != free {
					t.Fatalf("%d places while it is gone", n)
				}
				store.gone.Store(false)
				time.Sleep(settlingPause)
				synctest.Wait()
				got := homeEntry(t, l)
				if len(got.Places) != 0 || got.Failures != row.want.Failures || (got.Known != 0) != (row.want.Known != 0) {
					t.Errorf("left is %+v", got)
				}
				if n := l.unsettled.Load(); n != 0 {
					t.Errorf("%d are unsettled", n)
				}
			})
		})
	}
}

// homeEntry returns the entry of home in the user's record.
func homeEntry(t *testing.T, l *Limiter) entry {
	t.Helper()
	record, err := l.store.LoadGuesses(t.Context(), mustKey(t, l))
	if err != nil {
		t.Fatal(err)
	}
	if e := decode(record, time.Now()).at(home); e != nil {
		return *e
	}
	return entry{}
}

// A place that the store gave is given back if the answer was lost.
func TestAPlaceOfAStoreThatWentAwayIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := newGone(t)
		store.goes.Store(true)
		if p, err := l.Begin(t.Context(), at(home, "right")); !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("%v, %v", p, err)
		}
		if n := places(t, l); n != 1 {
			t.Fatalf("%d places, want the one that wasn't answered", n)
		}
		store.goes.Store(false)
		store.gone.Store(false)
		time.Sleep(settlingPause)
		synctest.Wait()
		if n := places(t, l); n != 0 {
			t.Errorf("%d places are taken", n)
		}
	})
}

// Retries of outcomes are bounded in time and in number, and end with the
// process.
func TestTryingAgainEnds(t *testing.T) {
	leave := func(t *testing.T) (*goneStore, *Limiter) {
		t.Helper()
		store, l := newGone(t)
		p := begin(t, l, "right")
		store.gone.Store(true)
		p.Leave(t.Context())
		return store, l
	}
	ended := func(t *testing.T, l *Limiter) {
		t.Helper()
		began := time.Now()
		if err := l.Wait(t.Context()); err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if d := l.desks.known[mustKey(t, l)]; d.users != 0 {
			t.Errorf("%d use the desk", d.users)
		}
	}
	t.Run("with the process", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, l := leave(t)
			ended(t, l)
		})
	})
	t.Run("when the place is over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, l := leave(t)
			time.Sleep(placeLife)
			synctest.Wait()
			if n := l.unsettled.Load(); n != 0 {
				t.Errorf("%d are tried again", n)
			}
			ended(t, l)
		})
	})
	t.Run("at once when too many do", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store, l := newGone(t)
			p := begin(t, l, "right")
			l.unsettled.Store(maxUnsettled)
			store.gone.Store(true)
			p.Leave(t.Context())
			store.gone.Store(false)
			time.Sleep(placeLife / 2)
			if n := l.unsettled.Load(); n != maxUnsettled || places(t, l) != 1 {
				t.Errorf("%d are tried again, and %d places are taken", n, places(t, l))
			}
			ended(t, l)
		})
	})
}

// A sign-in that waited in vain for the guesses of a dead process gets in at once if it
// comes back after the time that it was told. While guesses come and go, that time is
// short.
func TestWhoeverIsToldToWaitGetsInThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, died := newGone(t)
		lives := New(store, died.keys, time.Now)
		refused := func() *Refusal {
			t.Helper()
			_, err := lives.Begin(t.Context(), at(home, "right"))
			var refusal *Refusal
			if !errors.As(err, &refusal) || !refusal.Crowded {
				t.Fatalf("got %v", err)
			}
			return refusal
		}
		for i := range free {
			begin(t, died, fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		r := refused()
		if want := placeLife - time.Second - patience; r.Wait != want {
			t.Errorf("it waits %v, want %v", r.Wait, want)
		}
		time.Sleep(r.Wait)
		began := time.Now()
		last := begin(t, lives, "right")
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it waits for %v once more", waited)
		}
		last.Leave(t.Context())

		for i := range free {
			begin(t, died, fmt.Sprint(i))
			time.Sleep(time.Millisecond)
		}
		go func() { // another guess comes while the refused one waits
			time.Sleep(patience / 2)
			r := decode(store.record(mustKey(t, died)), time.Now())
			r.at(home).Places[0] = mark{99, time.Now().Add(placeLife).UnixMilli()}
			text, _ := r.encode()
			store.put(mustKey(t, died), text)
		}()
		if r := refused(); r.Wait != time.Second {
			t.Errorf("while others come it waits %v", r.Wait)
		}
	})
}

func (s *lateStore) record(key storage.GuessKey) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records[key]
}

func (s *lateStore) put(key storage.GuessKey, record []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[key] = record
}

// A guess whose judging takes longer than its place lasts counts only if there is room for
// it then; otherwise it is refused.
func TestAGuessThatOutlivesItsPlaceIsNoneMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := newGone(t)
		wrong, right, twice := begin(t, l, "a"), begin(t, l, "right"), begin(t, l, "b")
		time.Sleep(placeLife)
		for i := range free { // guesses that came later
			if last, err := begin(t, l, fmt.Sprint(i)).Failed(t.Context()); err != nil || last != (i == free-1) {
				t.Fatalf("failure %d: %v, %v", i, last, err)
			}
		}
		for name, end := range map[string]func() error{
			"a wrong one":  func() error { _, err := wrong.Failed(t.Context()); return err },
			"a right one":  func() error { return right.Succeeded(t.Context()) },
			"another more": func() error { _, err := twice.Failed(t.Context()); return err },
		} {
			var refusal *Refusal
			if err := end(); !errors.As(err, &refusal) || refusal.Crowded || refusal.Wait != firstDelay {
				t.Errorf("%s: %v", name, err)
			}
		}
		if e := homeEntry(t, l); e.Failures != free || e.Known != 0 {
			t.Errorf("left is %+v, of which something tells what was right", e)
		}
	})
}

func TestAGuessThatOutlivesItsPlaceIsToldIfThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := newGone(t)
		wrong, right := begin(t, l, "a"), begin(t, l, "right")
		time.Sleep(placeLife)
		begin(t, l, "b")
		if _, err := wrong.Failed(t.Context()); err != nil {
			t.Errorf("a wrong one: %v", err)
		}
		if err := right.Succeeded(t.Context()); err != nil {
			t.Errorf("a right one: %v", err)
		}
		if e := homeEntry(t, l); e.Failures != 0 || e.Known == 0 || len(e.Places) != 1 {
			t.Errorf("left is %+v", e)
		}
	})
}
