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

// nodes makes limiters on one store, with a clock that stands still unless it
// is moved.
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

// try signs in with a password that takes a while to judge. It reports whether
// the password was judged, not refused.
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

// together tries so many passwords at once, at the nodes in turn, and returns
// how many were judged.
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
	for round := range 2 { // before the second round there are failures
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

// hangingUp is a store whose caller hangs up just after a record was replaced.
type hangingUp struct {
	storage.Guesses
	hangUp context.CancelFunc
}

func (h hangingUp) SwapGuesses(ctx context.Context, key storage.GuessKey, old, next []byte, expiry time.Time) ([]byte, error) {
	now, err := h.Guesses.SwapGuesses(ctx, key, old, next, expiry)
	h.hangUp()
	if gone := ctx.Err(); err == nil && gone != nil {
		return nil, fmt.Errorf("%w: %w", storage.ErrUnavailable, gone)
	}
	return now, err
}

// A caller that hangs up while a place is being taken leaves no place behind,
// however often that happens.
func TestWhoHangsUpEarlyTakesNoPlace(t *testing.T) {
	n := newNodes(t)
	for range 2 * free {
		ctx, cancel := context.WithCancel(t.Context())
		l := New(hangingUp{n.store, cancel}, n.keys, n.now)
		if p, err := l.Begin(ctx, at(home, "right")); !errors.Is(err, context.Canceled) {
			t.Fatalf("%v, %v; want one who hung up", p, err)
		}
	}
	if !try(t, n.node(), at(home, "right"), true) {
		t.Error("a sign-in after them is refused")
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
		if _, err := l.Begin(t.Context(), at(home, "x")); err != nil { // never gets its outcome
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
		if _, err := l.Begin(t.Context(), at(home, "x")); !errors.As(err, &refusal) || *refusal != (Refusal{time.Second, true}) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("after a while", func(t *testing.T) {
		var refusal *Refusal
		if _, err := l.Begin(t.Context(), at(home, "x")); !errors.As(err, &refusal) || *refusal != (Refusal{time.Second, true}) {
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
	began := n.node() // a new node learns the limit from its first failure
	p, err := began.Begin(t.Context(), Attempt{Username: "user1000", Password: "x", Network: home})
	if err != nil {
		t.Fatal(err)
	}
	if last, err := p.Failed(t.Context()); last || !errors.As(err, &refusal) || refusal.Wait != networkRate.every {
		t.Errorf("a node that just began: last is %v, %v", last, err)
	}
	if _, err := began.Begin(t.Context(), Attempt{Username: "bob", Password: "x", Network: home}); !errors.As(err, &refusal) {
		t.Errorf("a node that learnt it: %v", err)
	}
	if p, err := b.Begin(t.Context(), Attempt{Username: "bob", Password: "x", Network: office}); err != nil {
		t.Errorf("another network: %v", err)
	} else {
		p.Leave(t.Context())
	}
}

// fails tries a wrong secret for each of the clients, from home. The error may
// be of Try or of Failed.
func fails(t *testing.T, l *Limiter, clients ...string) (last bool, err error) {
	t.Helper()
	trial, err := l.Try(home, clients...)
	if err != nil {
		return false, err
	}
	return trial.Failed(t.Context())
}

// waits returns how long home has to wait as these clients.
func waits(t *testing.T, l *Limiter, clients ...string) time.Duration {
	t.Helper()
	_, err := l.Try(home, clients...)
	var refusal *Refusal
	if err != nil && !errors.As(err, &refusal) {
		t.Fatal(err)
	}
	if refusal == nil {
		return 0
	}
	return refusal.Wait
}

func TestClientsShareTheirLimit(t *testing.T) {
	n := newNodes(t)
	all := []*Limiter{n.node(), n.node()}
	for i := range clientRate.burst {
		last, err := fails(t, all[i%2], "web")
		if err != nil || last != (i == clientRate.burst-1) {
			t.Errorf("failure %d: last is %v, %v", i+1, last, err)
		}
	}
	if wait := waits(t, all[1], "web"); wait != clientRate.every {
		t.Errorf("the node of the last failure waits %s", wait)
	}
	restarted := n.node()
	var refusal *Refusal
	if last, err := fails(t, restarted, "web"); last || !errors.As(err, &refusal) || refusal.Wait != clientRate.every {
		t.Errorf("a failure that was one too many: last is %v, %v", last, err)
	}
	if wait := waits(t, restarted, "web"); wait != clientRate.every {
		t.Errorf("a node that just began waits %s after a failure", wait)
	}
	if wait := waits(t, restarted, "other"); wait != 0 {
		t.Errorf("another client waits %s", wait)
	}
}

// outcome is a Place or a Trial, which takes the outcome of a guess.
type outcome interface {
	Succeeded(ctx context.Context) error
	Failed(ctx context.Context) (last bool, err error)
}

// tellAll begins n guesses, then tells all their outcomes at once, and returns
// how many were accepted. begin returns nil for a guess that is refused.
func tellAll(t *testing.T, n int, begin func(i int) outcome, right func(i int) bool) (told int) {
	t.Helper()
	begun := make([]outcome, n)
	for i := range begun {
		begun[i] = begin(i)
	}
	var wg sync.WaitGroup
	var count atomic.Int64
	for i, o := range begun {
		if o == nil {
			continue
		}
		wg.Go(func() {
			var err error
			if right(i) {
				err = o.Succeeded(t.Context())
			} else {
				_, err = o.Failed(t.Context())
			}
			if err == nil {
				count.Add(1)
			} else if !errors.As(err, new(*Refusal)) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return int(count.Load())
}

// secretsAtOnce tries n secrets of web at once, at the nodes in turn, and returns how
// many outcomes were accepted.
func secretsAtOnce(t *testing.T, n int, nodes []*Limiter, right func(i int) bool) (told int) {
	t.Helper()
	return tellAll(t, n, func(i int) outcome {
		if trial, err := nodes[i%len(nodes)].Try(home, "web"); err == nil {
			return trial
		}
		return nil
	}, right)
}

func always(right bool) func(int) bool { return func(int) bool { return right } }

func TestSecretsAtOnceAreNoMoreThanInTurn(t *testing.T) {
	n := newNodes(t)
	all := []*Limiter{n.node(), n.node(), n.node()}
	if told := secretsAtOnce(t, 150, all[:1], always(false)); told != clientRate.burst {
		t.Errorf("%d of 150 wrong secrets at once were told, want %d", told, clientRate.burst)
	}
	if wait := waits(t, all[0], "other"); wait != 0 {
		t.Errorf("what wasn't told was taken from other clients: the wait is %s", wait)
	}
	for range 3 {
		n.advance(clientRate.every)
		if told := secretsAtOnce(t, 150, all, always(false)); told != 1 {
			t.Errorf("%d of 150 wrong secrets at once were told later, by three nodes, want 1", told)
		}
		if told := secretsAtOnce(t, 150, all, always(true)); told != 0 {
			t.Errorf("%d of 150 right ones were told then", told)
		}
	}
}

func TestGoodSecretsAtOnceAllPass(t *testing.T) {
	n := newNodes(t)
	l := []*Limiter{New(failing{n.store}, n.keys, n.now)} // fails if a store is asked
	if told := secretsAtOnce(t, 1000, l, always(true)); told != 1000 {
		t.Errorf("%d of 1000 at once", told)
	}
	l[0] = n.node()
	for range clientRate.burst - 1 {
		if _, err := fails(t, l[0], "web"); err != nil {
			t.Fatal(err)
		}
	}
	l[0].store = failing{n.store}
	if told := secretsAtOnce(t, 1000, l, always(true)); told != 1000 {
		t.Errorf("%d of 1000 at once, when one failure is left", told)
	}
}

// A right secret isn't accepted while the store still counts a failure that may
// be the last.
func TestARightSecretWaitsForFailuresThatAreBeingCounted(t *testing.T) {
	n := newNodes(t)
	a, b := n.node(), n.node()
	for range clientRate.burst {
		if _, err := fails(t, a, "web"); err != nil {
			t.Fatal(err)
		}
	}
	slow := &slowStore{Guesses: n.store, asked: make(chan struct{}), answer: make(chan struct{})}
	b.store = slow
	wrong, right := mustTry(t, b), mustTry(t, b)
	done := make(chan error, 2)
	go func() { _, err := wrong.Failed(t.Context()); done <- err }()
	<-slow.asked
	go func() { done <- right.Succeeded(t.Context()) }()
	select {
	case err := <-done:
		t.Errorf("told before the store answered: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(slow.answer)
	for range 2 {
		if err := <-done; !errors.As(err, new(*Refusal)) {
			t.Errorf("got %v", err)
		}
	}
}

func mustTry(t *testing.T, l *Limiter) *Trial {
	t.Helper()
	trial, err := l.Try(home, "web")
	if err != nil {
		t.Fatal(err)
	}
	return trial
}

// slowStore closes asked at the first call, and answers when answer is closed.
type slowStore struct {
	storage.Guesses
	asked, answer chan struct{}
	once          sync.Once
}

func (s *slowStore) SwapGuesses(ctx context.Context, k storage.GuessKey, old, next []byte, until time.Time) ([]byte, error) {
	s.once.Do(func() { close(s.asked) })
	<-s.answer
	return s.Guesses.SwapGuesses(ctx, k, old, next, until)
}

func TestEverySecretOfARequestCounts(t *testing.T) {
	l := newNodes(t).node()
	for range clientRate.burst/2 - 1 {
		if last, err := fails(t, l, "web", "web"); last || err != nil {
			t.Fatalf("last is %v, %v", last, err)
		}
	}
	if _, err := fails(t, l, "web", "w%65b"); err != nil { // makes 19 failures of web
		t.Fatal(err)
	}
	if wait := waits(t, l, "web", "web"); wait != clientRate.every {
		t.Errorf("two with one left wait %s", wait)
	}
	if wait := waits(t, l, "web"); wait != 0 {
		t.Errorf("one with one left waits %s", wait)
	}
	if last, err := fails(t, l, "web"); !last || err != nil {
		t.Errorf("the last: %v, %v", last, err)
	}
	if left := clientsRate.left(l.buckets.known[bucket{kind: kindClients, network: home}].full, start); left != clientsRate.burst-clientRate.burst-1 {
		t.Errorf("%d are left for all clients", left)
	}
}

// passwordsAtOnce tries passwords of n users from home at once, at the nodes in turn,
// and returns how many outcomes were accepted.
func passwordsAtOnce(t *testing.T, n int, user string, nodes []*Limiter, right bool) (told int) {
	t.Helper()
	return tellAll(t, n, func(i int) outcome {
		a := Attempt{Username: fmt.Sprint(user, i), Password: "x", Network: home}
		if place, err := nodes[i%len(nodes)].Begin(t.Context(), a); err == nil {
			return place
		}
		return nil
	}, always(right))
}

func TestGuessesAtManyUsersAtOnceAreNoMoreThanInTurn(t *testing.T) {
	n := newNodes(t)
	all := []*Limiter{n.node(), n.node()}
	if told := passwordsAtOnce(t, 150, "at first", all[:1], true); told != 150 {
		t.Errorf("%d of 150 sign-ins at once succeeded", told)
	}
	if told := passwordsAtOnce(t, 150, "a", all[:1], false); told != networkRate.burst {
		t.Errorf("%d of 150 guesses at once were told, want %d", told, networkRate.burst)
	}
	for i := range 3 {
		n.advance(networkRate.every)
		if told := passwordsAtOnce(t, 40, fmt.Sprint("b", i), all, false); told != 1 {
			t.Errorf("%d of 40 guesses at once were told later, by two nodes, want 1", told)
		}
	}
	n.advance(networkRate.every)
	if told := passwordsAtOnce(t, 40, "c", all, true); told != 40 {
		t.Errorf("%d of 40 sign-ins at once succeeded, when one failure is left", told)
	}
}

// As for the secret above. The wrong password takes its turn at the network's limit before the
// user's record is written.
func TestARightPasswordWaitsForFailuresThatAreBeingCounted(t *testing.T) {
	n := newNodes(t)
	l := n.node()
	begin := func(user string) *Place {
		t.Helper()
		p, err := l.Begin(t.Context(), Attempt{Username: user, Password: "x", Network: home})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if told := passwordsAtOnce(t, networkRate.burst-1, "a", []*Limiter{l}, false); told != networkRate.burst-1 {
		t.Fatalf("%d were told", told)
	}
	wrong, right := begin("bob"), begin("alice")
	slow := &slowStore{Guesses: n.store, asked: make(chan struct{}), answer: make(chan struct{})}
	l.store = slow
	failed, succeeded := make(chan error, 1), make(chan error, 1)
	go func() { _, err := wrong.Failed(t.Context()); failed <- err }()
	<-slow.asked
	go func() { succeeded <- right.Succeeded(t.Context()) }()
	time.Sleep(20 * time.Millisecond)
	close(slow.answer)
	if err := <-failed; err != nil {
		t.Errorf("the wrong one: %v", err)
	}
	if err := <-succeeded; !errors.As(err, new(*Refusal)) {
		t.Errorf("the right one: %v", err)
	}
	right.Leave(t.Context())
}

// A right password isn't accepted if other guesses emptied the bucket while it was
// judged, and it doesn't make the network known to the user.
func TestARightPasswordThatCameTooLateIsNotTold(t *testing.T) {
	l := newNodes(t).node()
	p, err := l.Begin(t.Context(), at(home, "right"))
	if err != nil {
		t.Fatal(err)
	}
	if told := passwordsAtOnce(t, 150, "a", []*Limiter{l}, false); told != networkRate.burst {
		t.Errorf("%d were told", told)
	}
	if err := p.Succeeded(t.Context()); !errors.As(err, new(*Refusal)) {
		t.Errorf("got %v", err)
	}
	p.Leave(t.Context())
	if record, err := l.store.LoadGuesses(t.Context(), mustKey(t, l)); record != nil || err != nil {
		t.Errorf("left is %s, %v", record, err)
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
		if _, err := fails(t, l, "web"); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("Failed: %v", err)
		}
	}
	if wait := waits(t, l, "web"); wait != clientRate.every {
		t.Errorf("what the store couldn't count isn't counted here: the wait is %s", wait)
	}
	l.store = n.store
	n.advance(clientRate.every)
	if last, err := fails(t, l, "web"); !last || err != nil {
		t.Errorf("when the store is back: %v, %v", last, err)
	}
	if _, err := fails(t, n.node(), "web"); !errors.As(err, new(*Refusal)) {
		t.Errorf("another node isn't told then: %v", err)
	}
}

// stalled is a store that stops answering: its calls end with their context.
type stalled struct {
	storage.Guesses
	stops atomic.Bool
}

func (s *stalled) SwapGuesses(ctx context.Context, key storage.GuessKey, old, next []byte, expiry time.Time) ([]byte, error) {
	if !s.stops.Load() {
		return s.Guesses.SwapGuesses(ctx, key, old, next, expiry)
	}
	<-ctx.Done()
	return nil, fmt.Errorf("%w: %w", storage.ErrUnavailable, ctx.Err())
}

// A sign-in that leaves doesn't wait any longer for a store that doesn't
// answer.
func TestLeavingDoesNotWaitForAStalledStore(t *testing.T) {
	n := newNodes(t)
	store := &stalled{Guesses: n.store}
	l := New(store, n.keys, n.now)
	p, err := l.Begin(t.Context(), at(home, "x"))
	if err != nil {
		t.Fatal(err)
	}
	store.stops.Store(true)
	began := time.Now()
	p.Leave(t.Context())
	if took := time.Since(began); took > time.Second {
		t.Errorf("leaving took %v", took)
	}
	store.stops.Store(false)
	if !try(t, l, at(home, "x"), true) {
		t.Error("the place that couldn't be given back shuts the user out")
	}
}

// A flood from everywhere takes bounded memory, and doesn't displace the bucket
// of a client with many guesses.
func TestMemoryIsBounded(t *testing.T) {
	var b buckets
	guessed, used := charge{bucket{kindClient, home, "web"}, 1}, bucket{kindClient, home, "used"}
	count := func(of bucket, full time.Time) {
		g := b.open(of)
		b.adopt(g, level{full: full})
		b.close(g)
	}
	count(guessed.bucket, start.Add(clientRate.span()))
	inUse := b.open(used)
	for i := range 3 * maxBuckets {
		count(bucket{kindClient, stranger(i), fmt.Sprint(i)}, start.Add(clientRate.every))
	}
	if n := len(b.known); n > maxBuckets {
		t.Errorf("%d buckets, want %d at most", n, maxBuckets)
	}
	if b.find(used) != inUse {
		t.Error("the bucket in use is forgotten")
	}
	if wait := b.wait([]charge{guessed}, start); wait != clientRate.every {
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
	if err := n.node().Lift(t.Context(), "alice"); err != nil { // lifted at another node
		t.Fatal(err)
	}
	if all := list(); len(all) != 0 {
		t.Errorf("afterwards: %+v", all)
	}
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
