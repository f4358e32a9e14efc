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
	id      uint64        // tells this place from the user's others
	digest  uint64        // of the password
	desk    *desk         // nil once the outcome was told, or is being told
	asked   bool          // the store was asked for the place
	held    bool          // the place had to wait for others
	slow    bool          // the store was slow when it was last asked
	others  time.Duration // see verdict
}

const (
	// patience is how long a guess waits at most for others under way.
	patience = 4 * time.Second

	// glance is how often a waiting guess looks for the end of other nodes'
	// guesses.
	glance = 100 * time.Millisecond

	// blink is how often a guess with hardly any budget left checks that a password
	// is still being hashed.
	blink = 10 * time.Millisecond

	// maxWaiting bounds how many guesses wait in this process.
	maxWaiting = 512

	// maxSettling bounds each try to tell an outcome after the request ended.
	maxSettling = 2 * time.Second

	// settlingPause is the pause before an outcome is tried again that the store
	// couldn't be told.
	settlingPause = 500 * time.Millisecond

	// maxUnsettled bounds how many outcomes are tried again in this process. The
	// places of others end after placeLife.
	maxUnsettled = 1024

	// maxSwaps is how often a change of a record is tried while others change it
	// too.
	maxSwaps = 100
)

// giveUp closes a place that Begin doesn't return. If the store failed while the place was
// being taken, or the client hung up or had waited for long enough, the store may have
// given the place all the same. giveUp then leaves it: three such places would leave the
// user no room until they are taken for dead.
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

// pause waits after a verdict to hold. It returns nil when it is worth trying
// again.
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

// withinBudget begins a wait for guesses under way at a slow store. It returns how long
// the wait may last, at most most. done counts the wait as one for the store, except the
// time in which one of their passwords was hashed.
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

// take takes the place if the verdict admits it. It is worth calling again when
// changed is closed. A record that was seen before take began may be replaced,
// and a guess may wait for a moment on its account. But a refusal needs a
// record that was loaded since. So Lift has effect at once, and of many guesses
// that are refused at once, one loads for all. A user without a record takes
// the same steps as one with a record.
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

// look loads the current record into the desk.
func (p *Place) look(ctx context.Context) error {
	asked := time.Now()
	record, err := p.limiter.store.LoadGuesses(ctx, p.key)
	if err == nil {
		p.desk.saw(record, asked)
	}
	return err
}

// swap replaces the record that the desk remembers by r. If the store has
// another record by now, swap returns false, and the desk has that one.
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

// change changes the record by do, whatever others change in it. It goes on when the
// client hangs up, or hanging up would be a way to guess. On an error, do may not have
// run yet.
func (p *Place) change(ctx context.Context, do func(r *record, now time.Time)) error {
	return p.tell(context.WithoutCancel(ctx), do)
}

// conclude is change by an outcome. If the outcome comes too late, conclude changes
// nothing and returns a [Refusal], so that nothing tells a wrong password from a right
// one.
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

// tell runs changeWithin in the background, and the caller waits for it as long as ctx and
// its budget allow: a budget spent on a slow store must not leave a taken place behind. Nor
// must a store that is gone for a while: the caller gets its error at once, and the outcome
// is told again later.
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

// tellLater runs tellAgain in the background, unless maxUnsettled of them run already, and
// closes the place.
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

// tellAgain tries until the store answers, the place has ended anyway, or Wait was called:
// the end of the process doesn't wait for a store that is gone. If the store made a change
// but didn't answer, the repetition does no harm: the same wrong password counts once.
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

// settling returns a context for changes that have to be written even if the
// request ended.
func settling(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), maxSettling)
}

// close gives the desk back.
func (p *Place) close() {
	p.limiter.desks.close(p.desk)
	p.desk = nil
}

// Failed records that the password was wrong, or that the user can't sign in. It reports
// whether this was the last failure before guesses are refused. If it returns a
// [Refusal], answer with that instead of the failure. The reason is one of three: a
// network that the user isn't known at would have been refused before; too many others
// were under way; or this guess held its place for too long and later guesses took the
// room.
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

// Hashing records that the password is about to be hashed, and done that it was. Other
// guesses at the user that wait for this one don't spend their budget meanwhile. Call done
// before you tell the outcome.
func (p *Place) Hashing() (done func()) {
	if p == nil || p.desk == nil {
		return func() {}
	}
	hashing := &p.desk.hashing
	hashing.start()
	return hashing.stop
}

// Succeeded records that the password was right and the user may sign in. From now on the
// user is known at the network. Succeeded returns a [Refusal] when the caller must not
// tell so: too many passwords from the network that were judged at the same time were
// wrong, or this guess held its place for too long and later guesses took the room.
func (p *Place) Succeeded(ctx context.Context) error {
	if p == nil {
		return nil
	}
	if err := p.limiter.room(ctx, ofNetwork(p.network)); err != nil {
		return err
	}
	return p.conclude(ctx, func(r *record, now time.Time) { r.succeed(p.network, p.id, now) })
}

// Leave gives the place back if its outcome wasn't told because the password wasn't
// judged. It waits for the store for a moment only, because the store is mostly what
// failed. After that it goes on in the background. A place that can't be given back
// ends by itself, within placeLife.
func (p *Place) Leave(ctx context.Context) {
	const limit = 100 * time.Millisecond
	if p == nil || p.desk == nil {
		return
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer done()
	_ = p.tell(ctx, func(r *record, _ time.Time) { r.leave(p.network, p.id) })
}
