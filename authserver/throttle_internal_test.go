package authserver

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"
)

var testNetwork = netip.MustParsePrefix("192.0.2.7/32")

// A flood from everywhere is bounded, and doesn't wash away the bucket of one
// who guesses a lot.
func TestThrottleIsBounded(t *testing.T) {
	var th throttle
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for range clientRate.burst {
		th.failed(testNetwork, "web", now)
	}
	for i := range 3 * maxBuckets {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		th.failed(networkOf(a), fmt.Sprint("client-", i), now)
	}
	if n := len(th.buckets); n > maxBuckets {
		t.Errorf("%d buckets, want %d at most", n, maxBuckets)
	}
	if wait := th.wait(testNetwork, "web", now); wait != clientRate.every {
		t.Errorf("the guesser waits %s, want %s", wait, clientRate.every)
	}
}

func TestThrottleIsNotOverdrawnForLong(t *testing.T) {
	var th throttle
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	var wg sync.WaitGroup
	for range 1000 { // all under way before the first failed
		wg.Go(func() { th.failed(testNetwork, "web", now) })
	}
	wg.Wait()
	if wait := th.wait(testNetwork, "web", now); wait != clientRate.every {
		t.Errorf("wait is %s, want %s", wait, clientRate.every)
	}
	if wait := th.wait(testNetwork, "web", now.Add(clientRate.every)); wait != 0 {
		t.Errorf("wait is %s after %s", wait, clientRate.every)
	}
}

func TestNetworkOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := networkOf(netip.MustParseAddr(address)); got.String() != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	if got := networkOf(netip.Addr{}); got.IsValid() {
		t.Errorf("no address: %s", got)
	}
}
