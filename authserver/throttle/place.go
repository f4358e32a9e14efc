package throttle

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/grantd/grantd/storage"
)

// Place is a guess that is under way.
type Place struct {
	limiter *Limiter
	key     storage.GuessKey
	network netip.Prefix
	id      uint64        // of this place, among those of the user
	digest  uint64        // of the password
	desk    *desk         // nil once the outcome is told, or being told
	asked   bool          // the store was asked for it
	held    bool          // others left no room
	slow    bool          // the store was, when it was asked last
	others  time.Duration // see verdict
}

const (
	// patience is how long a guess waits for those under way at most.
	patience = 4 * time.Second

	// glance is how long the guesses of other nodes may go on unnoticed.
	glance = 100 * time.Millisecond

	// blink is how long whoever has hardly any budget left waits while a password is
	// hashed, before it looks whether that is still so.
	blink = 10 * time.Millisecond

	// maxWaiting bounds the guesses that wait in this process.
	maxWaiting = 512

	// maxSettling bounds what is written though the request ended, each time that it is
	// tried.
	maxSettling = 2 * time.Second

	// settlingPause is before it is tried again: what the store couldn't be told.
	settlingPause = 500 * time.Millisecond

	// maxUnsettled bounds the outcomes that are tried again in this process. What is
	// beyond leaves its place to placeLife.
	maxUnsettled = 1024

	// maxSwaps is how often a change of a record is tried, if others change it too.
	maxSwaps = 100
)

// giveUp closes a place that wasn't had. When the store failed while it was being taken,
// or the client hung up, or had waited for long enough, the store may have given it all the
// same, and three of those would leave no room for the user until they are taken for dead.
func (p *Place) giveUp(ctx context.Context, why error) {
	if p.asked && !errors.As(why, new(*Refusal)) {
		p.Leave(ctx)
		return
	}
	p.close()
}

// await takes the place as soon as there is room.
func (p *Place) await(ctx context.Context) error {
	deadline := time.Now().Add(patience)
	for {
		v, changed, err := p.take(ctx)
		switch {
		case err != nil:
			return err
		case v.wait > 0:
			return v.refusal()
		case !v.hold:
			p.others = v.others
			return nil
		}
		p.held = true
		if err := p.pause(ctx, v, changed, deadline); err != nil {
			return err
		}
	}
}

// pause returns nil when it is worth while to try again, after a verdict to hold.
func (p *Place) pause(ctx context.Context, v verdict, changed <-chan struct{}, deadline time.Time) error {
	l := p.limiter
	defer l.waiting.Add(-1)
	left := time.Until(deadline)
	if l.waiting.Add(1) > maxWaiting || left <= 0 {
		return v.refusal()
	}
	left = min(glance, left)
	if p.slow {
		if storage.BudgetOf(ctx).Spent() {
			return fmt.Errorf("throttle: %w", storage.ErrSpent)
		}
		var done func()
		left, done = p.withinBudget(ctx, left)
		defer done()
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-changed:
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("throttle: %w: %w", storage.ErrUnavailable, context.Cause(ctx))
	}
}

// withinBudget begins a wait for guesses that are under way, where the store is slow. It
// returns how long that may last, at most as long as was asked for. done counts it as a
// wait for the store, but for the time in which one of their passwords was hashed.
func (p *Place) withinBudget(ctx context.Context, most time.Duration) (left time.Duration, done func()) {
	budget, began := storage.BudgetOf(ctx), time.Now()
	before, hashing := p.desk.hashing.read()
	left = budget.Left()
	if hashing {
		left = max(left, blink)
	}
	return min(most, left), func() {
		ran, _ := p.desk.hashing.read()
		budget.Spend(time.Since(began) - (ran - before))
	}
}

// take takes the place if the verdict admits it; changed is closed when to ask again.
// A record that was seen before is good enough to be replaced, and to wait by for a
// moment, but to refuse somebody it has to be one that was loaded since: so lifting
// is in force at once, and of many that are refused at once one asks for all. Whoever
// has none takes the same steps as who has one.
func (p *Place) take(ctx context.Context) (v verdict, changed <-chan struct{}, err error) {
	d, began := p.desk, time.Now()
	enter := d.enter
	if p.held && !p.slow {
		enter = d.enterLater
	}
	if err := enter(ctx); err != nil {
		return v, nil, err
	}
	defer d.leave()
	defer func() { p.slow = d.took > slow }()
	for range maxSwaps {
		now := p.limiter.now()
		r := decode(d.record, now)
		v = r.judge(p.network, now)
		switch {
		case v.admits() && !d.seen.IsZero():
			r.enter(p.network, p.id, now)
			p.asked = true
			if swapped, err := p.swap(ctx, r, now); swapped || err != nil {
				return v, nil, err
			}
		case !d.seen.Before(began), v.hold && time.Since(d.seen) < fresh:
			return v, d.changed, nil
		default:
			if err := p.look(ctx); err != nil {
				return v, nil, err
			}
		}
	}
	return v, nil, errContended
}

// look lets the desk see the record that is there.
func (p *Place) look(ctx context.Context) error {
	asked := time.Now()
	record, err := p.limiter.store.LoadGuesses(ctx, p.key)
	if err == nil {
		p.desk.saw(record, asked)
	}
	return err
}

// swap puts r in the place of the record that the desk remembers. When that isn't
// there any more it returns false, and the desk has the one that is.
func (p *Place) swap(ctx context.Context, r *record, now time.Time) (bool, error) {
	r.tidy(now)
	next, until := r.encode()
	asked := time.Now()
	kept, err := p.limiter.store.SwapGuesses(ctx, p.key, p.desk.record, next, until)
	if err != nil && !errors.Is(err, storage.ErrConflict) {
		return false, err
	}
	p.desk.saw(kept, asked)
	return err == nil, nil
}

// change changes the record, whatever others do to it. An outcome that is known is
// told to the end, whoever hung up: else hanging up would be a way to guess. On an error
// do may not have run yet.
func (p *Place) change(ctx context.Context, do func(r *record, now time.Time)) error {
	return p.tell(context.WithoutCancel(ctx), do)
}

// conclude is change by an outcome, unless it comes too late: then nothing is changed, so
// that nothing tells a wrong password from a right one, and it returns a [Refusal].
func (p *Place) conclude(ctx context.Context, do func(r *record, now time.Time)) error {
	network, id := p.network, p.id
	var late *Refusal
	err := p.change(ctx, func(r *record, now time.Time) {
		if late = r.overdue(network, id, now); late == nil {
			do(r, now)
		}
	})
	if err == nil && late != nil {
		return late
	}
	return err
}

// tell is changeWithin to its end in the background, which the caller waits for as long
// as ctx allows, and its budget: one that is spent on a slow store mustn't leave a place
// behind that is taken. Nor must a store that is gone for a while: the caller has its error
// at once, and what became of a place is told again.
func (p *Place) tell(ctx context.Context, do func(r *record, now time.Time)) error {
	teller := *p
	p.desk = nil
	return p.limiter.background.Finish(ctx, maxSettling, func(ctx context.Context) error {
		err := teller.changeWithin(ctx, do)
		if err == nil || !teller.asked {
			teller.close()
			return err
		}
		teller.tellLater(ctx, do)
		return err
	})
}

// tellLater has tellAgain run in the background, unless that many do, and closes the place.
func (p *Place) tellLater(ctx context.Context, do func(r *record, now time.Time)) {
	l := p.limiter
	if l.unsettled.Add(1) > maxUnsettled {
		l.unsettled.Add(-1)
		p.close()
		return
	}
	l.background.Go(ctx, placeLife, func(ctx context.Context) error {
		defer l.unsettled.Add(-1)
		defer p.close()
		return p.tellAgain(ctx, do)
	})
}

// tellAgain tries until the store answers, or the place is over anyway, or nobody guesses
// any more: the end of the process doesn't wait for a store that is gone. That the store may
// have done what it didn't answer to does no harm: the same wrong password counts once.
func (p *Place) tellAgain(ctx context.Context, do func(r *record, now time.Time)) error {
	for {
		select {
		case <-time.After(settlingPause):
		case <-p.limiter.ending:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		try, done := context.WithTimeout(ctx, maxSettling)
		err := p.changeWithin(try, do)
		done()
		if err == nil {
			return nil
		}
	}
}

func (p *Place) changeWithin(ctx context.Context, do func(r *record, now time.Time)) error {
	d := p.desk
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	defer d.wake()
	for range maxSwaps {
		now := p.limiter.now()
		r := decode(d.record, now)
		do(r, now)
		if swapped, err := p.swap(ctx, r, now); swapped || err != nil {
			return err
		}
	}
	return errContended
}

// settling is a context for what has to be written though the request ended.
func settling(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), maxSettling)
}

// close gives the desk back.
func (p *Place) close() {
	p.limiter.desks.close(p.desk)
	p.desk = nil
}

// Failed says that the password was wrong, or the user can't sign in. It reports
// whether it was the last failure before guesses are refused. A [Refusal] is what
// to answer in place of a failure: only a network that the user is known at
// would have got that far, or others that were under way were too many, or came after it
// and had its place, which it held for too long.
func (p *Place) Failed(ctx context.Context) (last bool, err error) {
	if p == nil {
		return false, nil
	}
	network, others := p.network, p.others
	fail := func() (bool, error) {
		var counted, final bool
		err := p.conclude(ctx, func(r *record, now time.Time) { counted, final = r.fail(network, p.id, p.digest, now) })
		if err != nil {
			return false, err
		}
		last = final
		return counted, nil
	}
	if network.IsValid() {
		settled, done := settling(ctx)
		defer done()
		var emptied bool
		emptied, err = p.limiter.spend(settled, ofNetwork(network)[0], fail)
		last = last || emptied
	} else {
		_, err = fail()
	}
	if err == nil && others > 0 {
		err = &Refusal{Wait: others}
	}
	return last, err
}

// Hashing says that the password is going to be hashed, and done that it was. Others of the
// user, who wait for that, don't wait for the store meanwhile. done has to be called before
// the outcome is told.
func (p *Place) Hashing() (done func()) {
	if p == nil || p.desk == nil {
		return func() {}
	}
	hashing := &p.desk.hashing
	hashing.start()
	return hashing.stop
}

// Succeeded says that the password was right and the user may sign in. The network
// is the user's from now on. It returns a [Refusal] when it must not be told so:
// wrong ones from the network, that were judged at the same time, were too many, or others
// had its place, which it held for too long.
func (p *Place) Succeeded(ctx context.Context) error {
	if p == nil {
		return nil
	}
	if err := p.limiter.room(ctx, ofNetwork(p.network)); err != nil {
		return err
	}
	return p.conclude(ctx, func(r *record, now time.Time) { r.succeed(p.network, p.id, now) })
}

// Leave gives the place back if its outcome wasn't told: the password wasn't judged.
// What the store isn't told at once it is told in the background, and what it can't be
// told ends by itself, within placeLife: the answer, which is mostly that the store
// can't be asked, doesn't wait for it any longer.
func (p *Place) Leave(ctx context.Context) {
	const limit = 100 * time.Millisecond
	if p == nil || p.desk == nil {
		return
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer done()
	_ = p.tell(ctx, func(r *record, _ time.Time) { r.leave(p.network, p.id) })
}
