package throttle

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/opaque"
)

// nodes are limiters on one store, with a clock that stands still unless it is
// moved.
type nodes struct {
	store *embedded.Store
	keys  *opaque.Keyring
	skew  atomic.Int64
	tried atomic.Int64
}

func newNodes(t *testing.T) *nodes {
	t.Helper()
	n := &nodes{}
	store, err := embedded.Open(embedded.Memory, embedded.WithClock(n.now))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	n.store = store
	if n.keys, err = opaque.NewKeyring(opaque.NewKey(1)); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *nodes) now() time.Time          { return start.Add(time.Duration(n.skew.Load())) }
func (n *nodes) advance(d time.Duration) { n.skew.Add(int64(d)) }
func (n *nodes) node() *Limiter          { return New(n.store, n.keys, n.now) }

func at(network netip.Prefix, password string) Attempt {
	return Attempt{Username: "alice", Password: password, Network: network}
}

// try is a sign-in, whose password takes a while to judge. It returns whether it
// was judged.
func try(t *testing.T, l *Limiter, a Attempt, right bool) bool {
	t.Helper()
	p, err := l.Begin(t.Context(), a)
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return false
	}
	if err != nil {
		t.Error(err)
		return false
	}
	defer p.Leave(t.Context())
	time.Sleep(2 * time.Millisecond)
	if right {
		err = p.Succeeded(t.Context())
	} else {
		_, err = p.Failed(t.Context())
	}
	if err != nil {
		t.Error(err)
	}
	return true
}

// together tries n passwords at once, at the nodes in turn, and returns how many were
// judged.
func (n *nodes) together(t *testing.T, passwords int, nodes []*Limiter, right bool) (judged int) {
	t.Helper()
	var wg sync.WaitGroup
	var count atomic.Int64
	for i := range passwords {
		wg.Go(func() {
			if try(t, nodes[i%len(nodes)], at(home, fmt.Sprint(n.tried.Add(1))), right) {
				count.Add(1)
			}
		})
	}
	wg.Wait()
	return int(count.Load())
}

func TestGuessesAtOnceAreNoMoreThanInTurn(t *testing.T) {
	n := newNodes(t)
	all := []*Limiter{n.node(), n.node(), n.node()}
	if judged := n.together(t, 80, all, false); judged != free {
		t.Errorf("%d of 80 guesses at once were judged, want %d", judged, free)
	}
	n.advance(firstDelay)
	if judged := n.together(t, 80, all, false); judged != 1 {
		t.Errorf("%d of 80 guesses at once were judged after the delay, want 1", judged)
	}
}

func TestSignInsAtOnceAllSucceed(t *testing.T) {
	n := newNodes(t)
	all := []*Limiter{n.node(), n.node()}
	for round := range 2 { // the second has failures before
		if judged := n.together(t, 40, all, true); judged != 40 {
			t.Errorf("round %d: %d of 40 sign-ins at once succeeded", round, judged)
		}
		for i := range free - 1 {
			try(t, all[0], at(home, fmt.Sprint("wrong", i)), false)
		}
	}
	desk := all[0].desks.open(mustKey(t, all[0]))
	if r := decode(desk.record, n.now()); len(r.Networks) != 1 || len(r.at(home).Places) != 0 {
		t.Errorf("left is %+v", r)
	}
}

func mustKey(t *testing.T, l *Limiter) storage.GuessKey {
	t.Helper()
	key, err := l.userKey(t.Context(), "alice", false)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestAGuessOfWhoHangsUpCounts(t *testing.T) {
	n := newNodes(t)
	l := n.node()
	for i := range free {
		ctx, cancel := context.WithCancel(t.Context())
		p, err := l.Begin(ctx, at(home, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if last, err := p.Failed(ctx); err != nil || last != (i == free-1) {
			t.Errorf("failure %d: last is %v, %v", i+1, last, err)
		}
		p.Leave(ctx)
	}
	var refusal *Refusal
	if _, err := n.node().Begin(t.Context(), at(home, "x")); !errors.As(err, &refusal) || refusal.Wait != firstDelay {
		t.Errorf("another node: %v", err)
	}
}

func TestWhatWasNotJudgedDoesNotCount(t *testing.T) {
	l := newNodes(t).node()
	for range 10 * free {
		p, err := l.Begin(t.Context(), at(home, "x"))
		if err != nil {
			t.Fatal(err)
		}
		p.Leave(t.Context())
		p.Leave(t.Context())
	}
	if record, err := l.store.LoadGuesses(t.Context(), mustKey(t, l)); record != nil || err != nil {
		t.Errorf("left is %s, %v", record, err)
	}
}

func TestWaitingEnds(t *testing.T) {
	l := newNodes(t).node()
	for range free {
		if _, err := l.Begin(t.Context(), at(home, "x")); err != nil { // and it is never told what became of it
			t.Fatal(err)
		}
	}
	t.Run("with the request", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := l.Begin(ctx, at(home, "x")); !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("at once when too many do", func(t *testing.T) {
		l.waiting.Add(maxWaiting)
		defer l.waiting.Add(-maxWaiting)
		var refusal *Refusal
		if _, err := l.Begin(t.Context(), at(home, "x")); !errors.As(err, &refusal) || refusal.Wait != time.Second {
			t.Errorf("got %v", err)
		}
	})
	t.Run("after a while", func(t *testing.T) {
		var refusal *Refusal
		if _, err := l.Begin(t.Context(), at(home, "x")); !errors.As(err, &refusal) || refusal.Wait != time.Second {
			t.Errorf("got %v", err)
		}
	})
	if n := l.waiting.Load(); n != 0 {
		t.Errorf("%d wait", n)
	}
}

func TestANetworkIsLimitedOverAllUsers(t *testing.T) {
	n := newNodes(t)
	a, b := n.node(), n.node()
	fails := func(l *Limiter, user int) (last bool) {
		t.Helper()
		p, err := l.Begin(t.Context(), Attempt{Username: fmt.Sprint("user", user), Password: "x", Network: home})
		if err != nil {
			t.Fatalf("user %d: %v", user, err)
		}
		if last, err = p.Failed(t.Context()); err != nil {
			t.Fatal(err)
		}
		return last
	}
	for i := range networkRate.burst {
		if last := fails([]*Limiter{a, b}[i%2], i); last != (i == networkRate.burst-1) {
			t.Errorf("failure %d: last is %v", i+1, last)
		}
	}
	var refusal *Refusal
	_, err := b.Begin(t.Context(), Attempt{Username: "bob", Password: "x", Network: home})
	if !errors.As(err, &refusal) || refusal.Wait != networkRate.every {
		t.Errorf("the node of the last failure: %v", err)
	}
	fails(n.node(), 1000) // a node that just began learns it from its first failure
	if p, err := b.Begin(t.Context(), Attempt{Username: "bob", Password: "x", Network: office}); err != nil {
		t.Errorf("another network: %v", err)
	} else {
		p.Leave(t.Context())
	}
}

func TestClientsShareTheirLimit(t *testing.T) {
	n := newNodes(t)
	all := []*Limiter{n.node(), n.node()}
	for i := range clientRate.burst {
		last, err := all[i%2].ClientFailed(t.Context(), home, "web")
		if err != nil || last != (i == clientRate.burst-1) {
			t.Errorf("failure %d: last is %v, %v", i+1, last, err)
		}
	}
	if wait := all[1].ClientWait(home, "web"); wait != clientRate.every {
		t.Errorf("the node of the last failure waits %s", wait)
	}
	restarted := n.node()
	if last, err := restarted.ClientFailed(t.Context(), home, "web"); last || err != nil {
		t.Errorf("a failure that was one too many: last is %v, %v", last, err)
	}
	if wait := restarted.ClientWait(home, "web"); wait != clientRate.every {
		t.Errorf("a node that just began waits %s after a failure", wait)
	}
	if wait := restarted.ClientWait(home, "other"); wait != 0 {
		t.Errorf("another client waits %s", wait)
	}
}

// failing is a store that can't keep guesses.
type failing struct{ storage.Guesses }

func (failing) SwapGuesses(context.Context, storage.GuessKey, []byte, []byte, time.Time) ([]byte, error) {
	return nil, storage.ErrUnavailable
}

func TestWithoutAStore(t *testing.T) {
	n := newNodes(t)
	l := New(failing{n.store}, n.keys, n.now)
	if _, err := l.Begin(t.Context(), at(home, "x")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Begin: %v", err)
	}
	for range clientRate.burst {
		if _, err := l.ClientFailed(t.Context(), home, "web"); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("ClientFailed: %v", err)
		}
	}
	if wait := l.ClientWait(home, "web"); wait != clientRate.every {
		t.Errorf("what the store couldn't count isn't counted here: the wait is %s", wait)
	}
}

// A flood from everywhere is bounded, and doesn't wash away the bucket of one
// who guesses a lot.
func TestMemoryIsBounded(t *testing.T) {
	var b buckets
	guessed := bucket{kindClient, home, "web"}
	b.adopt(guessed, level{full: start.Add(clientRate.span())})
	for i := range 3 * maxBuckets {
		b.adopt(bucket{kindClient, stranger(i), fmt.Sprint(i)}, level{full: start.Add(clientRate.every)})
	}
	if n := len(b.known); n > maxBuckets {
		t.Errorf("%d buckets, want %d at most", n, maxBuckets)
	}
	if wait := b.wait(guessed, start); wait != clientRate.every {
		t.Errorf("the guesser waits %s, want %s", wait, clientRate.every)
	}
	var d desks
	kept := d.open(storage.GuessKey{255})
	for i := range 3 * maxDesks {
		d.close(d.open(storage.GuessKey{0, byte(i >> 8), byte(i)}))
	}
	if n := len(d.known); n > maxDesks || d.open(storage.GuessKey{255}) != kept {
		t.Errorf("%d desks, want %d at most, with the one in use", n, maxDesks)
	}
}

func TestListAndLift(t *testing.T) {
	n := newNodes(t)
	l := n.node()
	list := func() []Throttled {
		t.Helper()
		all, err := l.List(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if all := list(); len(all) != 0 {
		t.Errorf("at first: %+v", all)
	}
	try(t, l, at(office, "right"), true)
	for i := range free {
		try(t, l, at(home, fmt.Sprint(i)), false)
	}
	try(t, l, at(office, "wrong"), false)
	want := []Throttled{{office, 1, time.Time{}}, {home, free, start.Add(firstDelay)}, {netip.Prefix{}, free, time.Time{}}}
	if all := list(); fmt.Sprint(all) != fmt.Sprint(want) {
		t.Errorf("listed %+v, want %+v", all, want)
	}
	if err := n.node().Lift(t.Context(), "alice"); err != nil { // at another node
		t.Fatal(err)
	}
	if all := list(); len(all) != 0 {
		t.Errorf("afterwards: %+v", all)
	}
	time.Sleep(fresh)
	if !try(t, l, at(home, "0"), false) {
		t.Error("still refused")
	}
	if r := decode(l.desks.open(mustKey(t, l)).record, n.now()); r.at(office) == nil || r.at(office).Known == 0 {
		t.Error("the network that the user is known at isn't any more")
	}
	if err := l.Lift(t.Context(), "nobody"); err != nil {
		t.Errorf("somebody who was never guessed at: %v", err)
	}
}

func TestNetworkOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := NetworkOf(netip.MustParseAddr(address)); got.String() != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	if got := NetworkOf(netip.Addr{}); got.IsValid() {
		t.Errorf("no address: %s", got)
	}
}
