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
	free       = 3 // the failure that starts the first delay
	firstDelay = 5 * time.Second
	maxDelay   = 15 * time.Minute
	forgetting = time.Hour // after the end of the last delay

	wrongLife = 15 * time.Minute    // how long a wrong password is recognised
	maxWrong  = 4                   // wrong passwords of a network
	knownLife = 90 * 24 * time.Hour // after a good sign-in the network is known
	maxKnown  = 16                  // networks of a user
	maxOthers = 64                  // networks beside those; further ones count for the user alone. More than accountRate lets in at once

	// placeLife is the time after which a node that hasn't told the outcome is taken for
	// dead. While a place is held, the guess waits for the store, 0.95 s, and its password
	// is hashed: at the end of a full queue of 64 before a single slot, at 0.1 s each, that
	// takes 6.5 s. The rest is for clocks and busy machines. A guess that takes longer
	// learns its outcome only if it could begin anew: see overdue.
	placeLife = 10 * time.Second
)

// record holds what is known of a user, or of a name that nobody has. Its
// encoding is JSON with short names; times are in milliseconds since 1970.
type record struct {
	Networks []*entry `json:"n,omitempty"`
	Full     int64    `json:"a,omitempty"` // when the user's bucket will be full
}

// entry holds what is known of a network; the zero Prefix stands for requests
// without an address.
type entry struct {
	Network  netip.Prefix `json:"n"`
	Failures int          `json:"f,omitempty"`
	Last     int64        `json:"l,omitempty"` // time of the last failure
	Known    int64        `json:"k,omitempty"` // the user is known at the network until then
	Wrong    []mark       `json:"w,omitempty"` // digests of the last wrong passwords
	Places   []mark       `json:"p,omitempty"` // guesses under way
}

// mark is a number that is valid until a time.
type mark struct {
	ID    uint64 `json:"i"`
	Until int64  `json:"u"`
}

// decode reads a record and drops what is over. A record that can't be read,
// perhaps of another version, begins anew: otherwise it would shut the user out
// for good.
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

// encode returns the record and the time when all of it is over, or nil when
// the record is empty.
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

// delay returns how long the network has to wait after that many failures.
func delay(failures int) time.Duration {
	if failures < free {
		return 0
	}
	const doublings = 8 // more than lead to maxDelay
	return min(maxDelay, firstDelay<<min(failures-free, doublings))
}

// allowed returns when the network may guess again.
func (e *entry) allowed() int64 { return e.Last + delay(e.Failures).Milliseconds() }

// forgotten returns when the failures are forgotten.
func (e *entry) forgotten() int64 {
	if e.Failures == 0 {
		return 0
	}
	return e.allowed() + forgetting.Milliseconds()
}

// at returns the entry of the network, or nil.
func (r *record) at(network netip.Prefix) *entry {
	i := slices.IndexFunc(r.Networks, func(e *entry) bool { return e.Network == network })
	if i < 0 {
		return nil
	}
	return r.Networks[i]
}

// of is at, but adds a missing entry. If there are too many, it makes room: of
// the networks that the user isn't known at, it drops the one that was quiet
// for the longest time.
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

// verdict says whether a password may be judged. It may if wait and hold are
// zero.
type verdict struct {
	wait time.Duration // not before this time has passed
	hold bool          // not before guesses under way have ended

	// vacant is set with hold: the time after which it is worth trying again if waiting
	// for them was in vain.
	vacant time.Duration

	// others is how long a network that the user isn't known at would have to
	// wait. A wrong password is answered as from such a network, or somebody in
	// a user's network could find out that the user signs in from it.
	others time.Duration
}

// admits reports whether the password may be judged now.
func (v verdict) admits() bool { return v.wait == 0 && !v.hold }

// refusal is the answer when the password may not be judged.
func (v verdict) refusal() *Refusal {
	if v.hold {
		return &Refusal{Wait: v.vacant, Crowded: true}
	}
	return &Refusal{Wait: v.wait}
}

// judge returns whether a password from the network may be judged now.
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

// judge considers the network alone. Without an address there is no limit here,
// because it would be everybody's.
func (e *entry) judge(network netip.Prefix, now time.Time) verdict {
	if !network.IsValid() {
		return verdict{}
	}
	room := free - e.Failures
	if room <= 0 {
		room = 1
		// A failure in the future comes from a clock that runs ahead.
		wait := time.Duration(e.allowed()-now.UnixMilli()) * time.Millisecond
		if wait > 0 {
			return verdict{wait: min(wait, delay(e.Failures))}
		}
	}
	return holdBy(e.Places, room, now)
}

// holdBy returns whether the places leave any of the room, which is at least 1. If none began
// within the last patience, a guess that waited so long saw none begin, and probably their nodes
// are dead: then vacant is when enough of them are taken for dead. Otherwise places come and go,
// and a second will do.
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

// overdue returns nil for a guess that still has its place, or that could take a new one.
// Otherwise it returns the refusal: a later guess may have used the room, and this would
// be one guess more.
func (r *record) overdue(network netip.Prefix, place uint64, now time.Time) *Refusal {
	if e := r.at(network); e != nil && slices.ContainsFunc(e.Places, func(m mark) bool { return m.ID == place }) {
		return nil
	}
	if v := r.judge(network, now); !v.admits() {
		return v.refusal()
	}
	return nil
}

// enter adds the place of a guess that is now under way.
func (r *record) enter(network netip.Prefix, place uint64, now time.Time) {
	e := r.of(network)
	e.Places = append(e.Places, mark{place, now.Add(placeLife).UnixMilli()})
}

// leave removes the place.
func (r *record) leave(network netip.Prefix, place uint64) *entry {
	e := r.of(network)
	e.Places = slices.DeleteFunc(e.Places, func(m mark) bool { return m.ID == place })
	return e
}

// fail records that the password with that digest was wrong. It reports whether
// the failure counted, and whether it was the last before guesses are refused.
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

// succeed records that the password was right.
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

// tidy drops what a change left empty.
func (r *record) tidy(now time.Time) {
	r.Networks = slices.DeleteFunc(r.Networks, (*entry).empty)
	if r.Full <= now.UnixMilli() {
		r.Full = 0
	}
}
