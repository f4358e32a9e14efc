package throttle

import (
	"context"
	"net/netip"
	"time"
)

// Throttled is a network with failed guesses at a user, for admins.
type Throttled struct {
	Network  netip.Prefix // invalid: all that the user hasn't signed in from
	Failures int          // not forgotten yet
	Until    time.Time    // when the next guess may be judged; zero: now
}

// List returns the networks that wrong passwords for the user came from, and
// until when guesses from them are refused.
func (l *Limiter) List(ctx context.Context, username string) ([]Throttled, error) {
	if l == nil {
		return nil, nil
	}
	key, err := l.userKey(ctx, username, false)
	if err != nil {
		return nil, err
	}
	text, err := l.store.LoadGuesses(ctx, key)
	if err != nil {
		return nil, err
	}
	now := l.now()
	return decode(text, now).list(now), nil
}

func (r *record) list(now time.Time) []Throttled {
	var all []Throttled
	for _, e := range r.Networks {
		if e.Failures > 0 && e.Network.IsValid() {
			all = append(all, Throttled{e.Network, e.Failures, later(time.UnixMilli(e.allowed()), now)})
		}
	}
	full := time.UnixMilli(r.Full)
	if spent := accountRate.burst - accountRate.left(full, now); spent > 0 {
		wait := accountRate.wait(full, now)
		all = append(all, Throttled{Failures: spent, Until: later(now.Add(wait), now)})
	}
	return all
}

// later returns t, or zero when t isn't after now.
func later(t, now time.Time) time.Time {
	if t.After(now) {
		return t.UTC()
	}
	return time.Time{}
}

// Lift forgets the failures of the user, and makes waiting guesses try again.
// It doesn't change the counts of networks over all users, nor the networks
// that the user is known at.
func (l *Limiter) Lift(ctx context.Context, username string) error {
	if l == nil {
		return nil
	}
	key, err := l.userKey(ctx, username, false)
	if err != nil {
		return err
	}
	p := &Place{limiter: l, key: key, desk: l.desks.open(key)}
	return p.change(ctx, func(r *record, _ time.Time) { r.lift() })
}

func (r *record) lift() {
	r.Full = 0
	for _, e := range r.Networks {
		e.Failures, e.Last, e.Wrong = 0, 0, nil
	}
}
