package throttle

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	home    = netip.MustParsePrefix("192.0.2.7/32")
	office  = netip.MustParsePrefix("198.51.100.1/32")
	nowhere = netip.Prefix{}
)

func stranger(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
}

// coded returns the record as a node reads it at that time.
func coded(r *record, now time.Time) *record {
	text, _ := r.encode()
	r = decode(text, now)
	r.tidy(now)
	return r
}

// guesses tries different passwords from the network as fast as allowed, for
// the duration, and returns the times at which they were judged.
func guesses(t *testing.T, r *record, network netip.Prefix, from time.Time, during time.Duration) []time.Duration {
	t.Helper()
	var judged []time.Duration
	for now := from; now.Sub(from) < during; {
		r = coded(r, now)
		if v := r.judge(network, now); v.wait > 0 {
			now = now.Add(v.wait)
			continue
		}
		id := uint64(len(judged) + 1)
		r.enter(network, id, now)
		r.fail(network, id, id, now)
		judged = append(judged, now.Sub(from))
	}
	return judged
}

func TestTenGuessesInAQuarterOfAnHour(t *testing.T) {
	got := guesses(t, &record{}, home, start, 15*time.Minute)
	want := []time.Duration{0, 0, 0}
	for _, s := range []int{5, 15, 35, 75, 155, 315, 635} {
		want = append(want, time.Duration(s)*time.Second)
	}
	if !slices.Equal(got, want) {
		t.Errorf("judged at %s, want %s", got, want)
	}
	if day := guesses(t, &record{}, home, start, 24*time.Hour); len(day) > 110 {
		t.Errorf("%d guesses in a day", len(day))
	}
}

func TestFailuresAreForgotten(t *testing.T) {
	r := &record{}
	for i := range free + 1 { // the last of these comes after a delay
		r.fail(home, 0, uint64(i), start.Add(time.Minute))
	}
	last := start.Add(time.Minute + delay(free+1))
	if e := coded(r, last.Add(forgetting-time.Millisecond)).at(home); e == nil || e.Failures != free+1 {
		t.Errorf("forgotten too soon: %+v", e)
	}
	if e := coded(r, last.Add(forgetting)).at(home); e != nil {
		t.Errorf("not forgotten: %+v", e)
	}
	if text, _ := coded(r, start.Add(accountRate.span()+2*forgetting)).encode(); text != nil {
		t.Errorf("a record is left: %s", text)
	}
}

func TestASuccessForgetsTheFailuresOfItsNetwork(t *testing.T) {
	r := &record{}
	for i := range free {
		r.fail(home, 0, uint64(i), start)
		r.fail(office, 0, uint64(i), start)
	}
	r.succeed(home, 0, start)
	if v := r.judge(home, start); v != (verdict{}) {
		t.Errorf("at home: %+v", v)
	}
	if v := r.judge(office, start); v.wait != firstDelay {
		t.Errorf("elsewhere: %+v", v)
	}
}

func TestTheSamePasswordCountsOnce(t *testing.T) {
	r := &record{}
	for i := range 100 {
		counted, _ := r.fail(home, 0, 1, start.Add(time.Duration(i)*time.Minute))
		if counted != (i == 0) {
			t.Fatalf("time %d: counted is %v", i+1, counted)
		}
	}
	later := start.Add(99*time.Minute + wrongLife)
	if counted, _ := coded(r, later).fail(home, 0, 1, later); !counted {
		t.Error("it is still known a quarter of an hour later")
	}
	r = &record{}
	for i := range maxWrong + 1 {
		r.fail(home, 0, uint64(i), start)
	}
	if counted, _ := r.fail(home, 0, 0, start); !counted || len(r.at(home).Wrong) != maxWrong {
		t.Errorf("more than %d are kept: %+v", maxWrong, r.at(home))
	}
	if counted, _ := r.fail(office, 0, 4, start); !counted {
		t.Error("what failed elsewhere isn't counted here")
	}
}

// Many networks guess at one user, for whom home is a known network.
func TestTheUserIsNeverShutOutFromAKnownNetwork(t *testing.T) {
	r := &record{}
	r.succeed(home, 0, start)
	judged, told := 0, 0
	for i := range 1000 {
		if v := r.judge(stranger(i), start); v.wait > 0 {
			continue
		}
		judged++
		if _, last := r.fail(stranger(i), 0, uint64(i), start); last {
			told++
		}
	}
	if judged != accountRate.burst || told != 1 {
		t.Errorf("%d guesses were judged, and %d times told that it was the last", judged, told)
	}
	if n := len(r.Networks); n > maxOthers+maxKnown {
		t.Errorf("%d networks are kept", n)
	}
	if v := r.judge(office, start); v.wait != accountRate.every {
		t.Errorf("elsewhere: %+v", v)
	}
	if v := r.judge(home, start); v.wait != 0 || v.hold || v.others != accountRate.every {
		t.Errorf("at home: %+v", v)
	}
	almost := start.Add(knownLife - time.Millisecond)
	if e := coded(r, almost).at(home); e == nil || e.Known == 0 {
		t.Error("the network isn't known any more")
	}
	if e := coded(r, start.Add(knownLife)).at(home); e != nil {
		t.Errorf("the network is known after 90 days: %+v", e)
	}
}

func TestNetworksAreBounded(t *testing.T) {
	r := &record{}
	for i := range 3 * maxKnown {
		r.succeed(stranger(i), 0, start.Add(time.Duration(i)*time.Minute))
	}
	now := start.Add(time.Hour)
	r = coded(r, now)
	for i := range 300 {
		r.enter(netip.MustParsePrefix(fmt.Sprintf("2001:db8:0:%x::/64", i)), uint64(i), now)
	}
	for i := range 300 { // gives the places back, some of them of networks that the record forgot
		n := netip.MustParsePrefix(fmt.Sprintf("2001:db8:0:%x::/64", i))
		r.leave(n, uint64(i))
		r.tidy(now)
	}
	if n := len(r.Networks); n != maxKnown {
		t.Errorf("%d networks are kept, want the %d known ones", n, maxKnown)
	}
	for i := 2 * maxKnown; i < 3*maxKnown; i++ {
		if e := r.at(stranger(i)); e == nil {
			t.Errorf("network %d, one of the last known, is gone", i)
		}
	}
	for i := range 1000 {
		r.fail(stranger(1000+i), 0, uint64(i), now.Add(time.Duration(i)*time.Second))
	}
	if n := len(r.Networks); n != maxKnown+maxOthers {
		t.Errorf("%d networks are kept", n)
	}
	if r.at(stranger(1999)) == nil || r.at(stranger(1000)) != nil {
		t.Error("it isn't those who failed last that are kept")
	}
}

func TestWithoutAnAddressOnlyTheUserCounts(t *testing.T) {
	r := &record{}
	n := 0
	for ; r.judge(nowhere, start) == (verdict{}); n++ {
		r.fail(nowhere, 0, uint64(n), start)
	}
	if n != accountRate.burst {
		t.Errorf("%d guesses were judged", n)
	}
	r.succeed(nowhere, 0, start)
	if e := r.at(nowhere); e != nil && e.Known != 0 {
		t.Error("nowhere is known")
	}
	if v := r.judge(home, start); v.wait == 0 {
		t.Error("the user's limit doesn't hold at home")
	}
}

// Whatever happens, no more places are taken than there are free failures, and
// in the end only the known networks are left.
func TestPlacesNeverExceedWhatIsFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		networks := []netip.Prefix{home, office, stranger(1), nowhere}
		r, now := &record{}, start
		type place struct {
			network netip.Prefix
			id      uint64
		}
		var under []place
		for i := range rapid.IntRange(1, 80).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 5, 60}).Draw(t, "pause")) * time.Second)
			r = coded(r, now)
			network := rapid.SampledFrom(networks).Draw(t, "network")
			if len(under) > 0 && rapid.Bool().Draw(t, "ends") {
				p := under[0]
				under = under[1:]
				switch rapid.SampledFrom([]string{"right", "wrong", "unknown"}).Draw(t, "how") {
				case "right":
					r.succeed(p.network, p.id, now)
				case "wrong":
					r.fail(p.network, p.id, uint64(i), now)
				default:
					r.leave(p.network, p.id)
				}
			} else if r.judge(network, now).admits() {
				r.enter(network, uint64(i), now)
				under = append(under, place{network, uint64(i)})
			}
			r.tidy(now)
			if text, until := r.encode(); text != nil && !until.After(now) {
				t.Fatalf("the store forgets %s at %s, and it is %s", text, until, now)
			}
			for _, e := range r.Networks {
				if e.Network.IsValid() && len(e.Places) > free {
					t.Fatalf("%d places at %s", len(e.Places), e.Network)
				}
			}
		}
		for _, p := range under {
			r.leave(p.network, p.id)
		}
		r = coded(r, now.Add(2*forgetting+accountRate.span()))
		for _, e := range r.Networks {
			if e.Known == 0 || e.Failures != 0 || len(e.Places) != 0 || len(e.Wrong) != 0 {
				t.Fatalf("left is %+v", e)
			}
		}
		if r.Full != 0 {
			t.Fatal("the user's bucket isn't full")
		}
	})
}

func TestADeadNodeLosesItsPlace(t *testing.T) {
	r := &record{}
	for i := range free {
		r.enter(home, uint64(i), start)
	}
	if v := r.judge(home, start); !v.hold {
		t.Errorf("with no room left: %+v", v)
	}
	r = coded(r, start.Add(placeLife))
	if v := r.judge(home, start.Add(placeLife)); v != (verdict{}) {
		t.Errorf("after %s: %+v", placeLife, v)
	}
}

// A sign-in that waited in vain is told to come back when there is room, which may be later
// than the end of the first place in the way.
func TestVacancyIsWhenThereIsRoom(t *testing.T) {
	r := &record{}
	for i := range free { // begin half a second apart
		r.enter(home, uint64(i), start.Add(time.Duration(i)*500*time.Millisecond))
	}
	now := start.Add(time.Second + patience)
	if v := r.judge(home, now); v != (verdict{hold: true, vacant: placeLife - time.Second - patience}) {
		t.Errorf("with three in the way: %+v", v)
	}
	r.at(home).Failures, r.at(home).Last = free-1, start.UnixMilli() // leaves room for one, so all three places must end first
	if v := r.judge(home, now); v != (verdict{hold: true, vacant: placeLife - patience}) {
		t.Errorf("with one free: %+v", v)
	}
	r = coded(r, start.Add(placeLife+time.Second-time.Millisecond))
	if v := r.judge(home, start.Add(placeLife+time.Second-time.Millisecond)); v != (verdict{hold: true, vacant: time.Second}) {
		t.Errorf("just before: %+v", v)
	}
}

// The same for the limit of the user over all networks.
func TestVacancyOfTheUser(t *testing.T) {
	r := &record{}
	for i := range accountRate.burst {
		r.enter(stranger(i), uint64(i), start)
	}
	r.enter(home, 99, start.Add(time.Second))
	r.at(home).Known = start.Add(knownLife).UnixMilli() // places of a known network don't count against other networks
	now := start.Add(patience)
	if v := r.judge(office, now); v != (verdict{hold: true, vacant: placeLife - patience}) {
		t.Errorf("elsewhere: %+v", v)
	}
	if v := r.judge(home, now); !v.admits() {
		t.Errorf("at home: %+v", v)
	}
}

func TestWhatCantBeReadBeginsAnew(t *testing.T) {
	for _, text := range []string{"", "x", "{", `{"n":[null]}`, `{"n":[{"n":"x"}]}`, `{"n":7}`, "\x00"} {
		if got, _ := decode([]byte(text), start).encode(); got != nil {
			t.Errorf("%q reads as %s", text, got)
		}
	}
}

// FuzzRecord: any record that can be read can be judged, changed and written.
func FuzzRecord(f *testing.F) {
	r := &record{}
	r.succeed(home, 1, start)
	r.fail(office, 2, 3, start)
	r.enter(nowhere, 4, start)
	text, _ := r.encode()
	f.Add(text)
	f.Add([]byte(`{"n":[{"n":"","f":-9,"l":9223372036854775807},{"n":"","k":-1}],"a":9223372036854775807}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := decode(text, start)
		for _, network := range []netip.Prefix{home, nowhere} {
			if v := r.judge(network, start); v.wait < 0 || v.wait > maxDelay || v.others < 0 || v.others > accountRate.every {
				t.Errorf("%s: %+v", network, v)
			}
			r.enter(network, 1, start)
			r.fail(network, 1, 2, start)
			r.succeed(network, 1, start)
		}
		r.list(start)
		r.tidy(start)
		if text, _ := r.encode(); text == nil {
			t.Error("a known network is lost")
		}
	})
}
