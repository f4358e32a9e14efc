package throttle

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"time"
)

// The limits of a user and a network.
const (
	free       = 3 // failures that cost no delay
	firstDelay = 5 * time.Second
	maxDelay   = 15 * time.Minute
	forgetting = time.Hour // from the end of the last delay on

	wrongLife = 15 * time.Minute    // a wrong password is known again
	maxWrong  = 4                   // of a network
	knownLife = 90 * 24 * time.Hour // after a good sign-in the network is known
	maxKnown  = 16                  // networks of a user
	maxOthers = 64                  // what they did beyond is counted for the user alone; more than accountRate lets in at once

	// placeLife is after which a node that hasn't told the outcome is taken for dead. While
	// a place is held the store is waited for, 0.95 s, and the password is hashed: at the
	// end of a full queue of 64 before a single slot, at 0.1 s each, that takes 6.5 s. The
	// rest is for clocks and busy machines. What takes longer all the same is told only if
	// it could be judged anew: see overdue.
	placeLife = 10 * time.Second
)

// record is what is known of a user, or of a name that nobody has. Its encoding is
// JSON with short names; times are in milliseconds since 1970.
type record struct {
	Networks []*entry `json:"n,omitempty"`
	Full     int64    `json:"a,omitempty"` // of the user's bucket: when it will be full
}

// entry is what came from a network; the zero Prefix stands for requests without
// an address.
type entry struct {
	Network  netip.Prefix `json:"n"`
	Failures int          `json:"f,omitempty"`
	Last     int64        `json:"l,omitempty"` // of the failures
	Known    int64        `json:"k,omitempty"` // the network is the user's until then
	Wrong    []mark       `json:"w,omitempty"` // digests of the last wrong passwords
	Places   []mark       `json:"p,omitempty"` // guesses under way
}

// mark is a number that is worth something until then.
type mark struct {
	ID    uint64 `json:"i"`
	Until int64  `json:"u"`
}

// decode reads a record, and forgets what is over. One that can't be read, as of
// another version, begins anew: who is shut out for good by it would be worse off.
func decode(text []byte, now time.Time) *record {
	r := &record{}
	if json.Unmarshal(text, r) != nil || slices.Contains(r.Networks, nil) {
		r = &record{}
	}
	at := now.UnixMilli()
	over := func(m mark) bool { return m.Until <= at }
	for _, e := range r.Networks {
		e.Wrong = slices.DeleteFunc(e.Wrong, over)
		e.Places = slices.DeleteFunc(e.Places, over)
		if e.forgotten() <= at {
			e.Failures, e.Last = 0, 0
		}
		if e.Known <= at {
			e.Known = 0
		}
	}
	r.Networks = slices.DeleteFunc(r.Networks, (*entry).empty)
	return r
}

func (e *entry) empty() bool {
	return e.Failures == 0 && e.Known == 0 && len(e.Wrong) == 0 && len(e.Places) == 0
}

// encode returns the record and when nothing of it is worth anything any more; nil
// when that is so already.
func (r *record) encode() ([]byte, time.Time) {
	until := r.Full
	for _, e := range r.Networks {
		until = max(until, e.forgotten(), e.Known)
		for _, m := range slices.Concat(e.Wrong, e.Places) {
			until = max(until, m.Until)
		}
	}
	if len(r.Networks) == 0 && r.Full == 0 {
		return nil, time.Time{}
	}
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // only numbers and prefixes are ever encoded
	}
	return text, time.UnixMilli(until)
}

// delay is how long the network waits after that many failures.
func delay(failures int) time.Duration {
	if failures < free {
		return 0
	}
	const doublings = 8 // more than lead to maxDelay
	return min(maxDelay, firstDelay<<min(failures-free, doublings))
}

// allowed is when the network may guess again.
func (e *entry) allowed() int64 { return e.Last + delay(e.Failures).Milliseconds() }

// forgotten is when the failures are.
func (e *entry) forgotten() int64 {
	if e.Failures == 0 {
		return 0
	}
	return e.allowed() + forgetting.Milliseconds()
}

// at is what came from the network, nil if nothing did.
func (r *record) at(network netip.Prefix) *entry {
	i := slices.IndexFunc(r.Networks, func(e *entry) bool { return e.Network == network })
	if i < 0 {
		return nil
	}
	return r.Networks[i]
}

// of is at, and makes room for one that isn't there: of the networks that aren't
// the user's the one goes that was quiet for the longest time.
func (r *record) of(network netip.Prefix) *entry {
	if e := r.at(network); e != nil {
		return e
	}
	others, oldest := 0, (*entry)(nil)
	for _, e := range r.Networks {
		if e.Known != 0 {
			continue
		}
		others++
		if len(e.Places) == 0 && (oldest == nil || e.Last < oldest.Last) {
			oldest = e
		}
	}
	if others >= maxOthers && oldest != nil {
		r.Networks = slices.DeleteFunc(r.Networks, func(e *entry) bool { return e == oldest })
	}
	e := &entry{Network: network}
	r.Networks = append(r.Networks, e)
	return e
}

// verdict says whether a password may be judged: when both are zero.
type verdict struct {
	wait time.Duration // not before
	hold bool          // not before those under way have ended

	// vacant is, with hold, after which time it is worth trying again for whoever waited
	// for them in vain.
	vacant time.Duration

	// others is what a network that isn't the user's would have to wait. A wrong
	// password is answered as if that were so, or whoever shares a network with
	// a user could find out who else does.
	others time.Duration
}

// admits reports whether the password may be judged now.
func (v verdict) admits() bool { return v.wait == 0 && !v.hold }

// refusal is what to answer when it may not.
func (v verdict) refusal() *Refusal {
	if v.hold {
		return &Refusal{Wait: v.vacant, Crowded: true}
	}
	return &Refusal{Wait: v.wait}
}

// judge says whether a password from the network may be judged.
func (r *record) judge(network netip.Prefix, now time.Time) verdict {
	e := r.at(network)
	if e == nil {
		e = &entry{}
	}
	if v := e.judge(network, now); !v.admits() {
		return v
	}
	full := time.UnixMilli(r.Full)
	wait := accountRate.wait(full, now)
	if e.Known != 0 {
		return verdict{others: wait}
	}
	if wait > 0 {
		return verdict{wait: wait}
	}
	var underWay []mark
	for _, e := range r.Networks {
		if e.Known == 0 {
			underWay = append(underWay, e.Places...)
		}
	}
	return holdBy(underWay, accountRate.left(full, now), now)
}

// judge is by what came from the network alone. Without an address it would be
// everybody's.
func (e *entry) judge(network netip.Prefix, now time.Time) verdict {
	if !network.IsValid() {
		return verdict{}
	}
	room := free - e.Failures
	if room <= 0 {
		room = 1
		// A failure in the future is one by a clock that runs ahead.
		wait := time.Duration(e.allowed()-now.UnixMilli()) * time.Millisecond
		if wait > 0 {
			return verdict{wait: min(wait, delay(e.Failures))}
		}
	}
	return holdBy(e.Places, room, now)
}

// holdBy says whether the places leave any of the room, which is at least 1. If not, it is
// worth waiting for the first to be taken for dead that leaves some: when whoever was as
// patient as may be has seen none of them come. Where some come others go, and a moment will do.
func holdBy(places []mark, room int, now time.Time) verdict {
	if len(places) < room {
		return verdict{}
	}
	ends := make([]time.Duration, 0, len(places))
	for _, m := range places {
		ends = append(ends, time.UnixMilli(m.Until).Sub(now))
	}
	slices.Sort(ends)
	v := verdict{hold: true, vacant: time.Second}
	if ends[len(ends)-1] <= placeLife-patience {
		v.vacant = max(v.vacant, ends[len(ends)-room])
	}
	return v
}

// overdue is the refusal for a guess whose place is over, unless it could take one anew:
// whoever came after it may have had the last, and this would be one guess more. It is nil
// for one that has its place.
func (r *record) overdue(network netip.Prefix, place uint64, now time.Time) *Refusal {
	if e := r.at(network); e != nil && slices.ContainsFunc(e.Places, func(m mark) bool { return m.ID == place }) {
		return nil
	}
	if v := r.judge(network, now); !v.admits() {
		return v.refusal()
	}
	return nil
}

// enter takes a place for a guess that is now under way.
func (r *record) enter(network netip.Prefix, place uint64, now time.Time) {
	e := r.of(network)
	e.Places = append(e.Places, mark{place, now.Add(placeLife).UnixMilli()})
}

// leave gives the place back. Nothing is learnt of the password.
func (r *record) leave(network netip.Prefix, place uint64) *entry {
	e := r.of(network)
	e.Places = slices.DeleteFunc(e.Places, func(m mark) bool { return m.ID == place })
	return e
}

// fail says that the password with that digest was wrong. It reports whether that
// is news, and whether guesses are refused from here on that weren't before.
func (r *record) fail(network netip.Prefix, place, digest uint64, now time.Time) (counted, last bool) {
	e := r.leave(network, place)
	again := slices.IndexFunc(e.Wrong, func(m mark) bool { return m.ID == digest })
	until := now.Add(wrongLife).UnixMilli()
	if again >= 0 {
		e.Wrong[again].Until = until
		return false, false
	}
	e.Wrong = append(e.Wrong, mark{digest, until})
	e.Wrong = e.Wrong[max(0, len(e.Wrong)-maxWrong):]
	e.Failures++
	e.Last = now.UnixMilli()
	last = e.Failures == free && network.IsValid()
	if e.Known == 0 {
		before := time.UnixMilli(r.Full)
		after := accountRate.spend(before, now)
		r.Full = after.UnixMilli()
		last = last || accountRate.wait(before, now) == 0 && accountRate.wait(after, now) > 0
	}
	return true, last
}

// succeed says that the password was right.
func (r *record) succeed(network netip.Prefix, place uint64, now time.Time) {
	e := r.leave(network, place)
	e.Failures, e.Last, e.Wrong = 0, 0, nil
	if !network.IsValid() {
		return
	}
	e.Known = now.Add(knownLife).UnixMilli()
	known := slices.DeleteFunc(slices.Clone(r.Networks), func(e *entry) bool { return e.Known == 0 })
	if len(known) > maxKnown {
		slices.MinFunc(known, func(a, b *entry) int { return cmp.Compare(a.Known, b.Known) }).Known = 0
	}
}

// tidy drops what a change has left empty.
func (r *record) tidy(now time.Time) {
	r.Networks = slices.DeleteFunc(r.Networks, (*entry).empty)
	if r.Full <= now.UnixMilli() {
		r.Full = 0
	}
}
