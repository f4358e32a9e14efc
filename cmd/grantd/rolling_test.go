package main

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/grantd/grantd/storage/opaque"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// Each of two nodes is stopped by SIGTERM and started again, under load, behind
// a balancer that follows /readyz: no request fails.
func TestARollingRestartFailsNoRequest(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, "GRANTD_REDIS_URL="+redistest.Single(t).URL(), "GRANTD_SHUTDOWN_DELAY=1s")
	ctx, stop := context.WithCancel(t.Context())
	traffic := f.traffic(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		traffic.run(ctx, time.Millisecond, traffic.signsInAndOut, traffic.refreshes, traffic.refreshes, traffic.forItself)
	}()
	for i := range f.nodes {
		time.Sleep(500 * time.Millisecond) // of load on both
		if code := f.nodes[i].Stop(); code != 0 {
			t.Errorf("node %d exits with %d\n%s", i, code, f.nodes[i].Stderr())
		}
		f.start(i)
	}
	time.Sleep(500 * time.Millisecond)
	stop()
	<-ended
	traffic.report("a rolling restart of two nodes")
}

// grantd key rotate, with two real nodes under load: no request fails, after 15
// seconds at most all new tokens are made under the new key, and the old tokens
// stay good. TestKeyRotationUnderLoad also covers the end of the old key.
func TestARotationOfKeysOnRealNodesFailsNoRequest(t *testing.T) {
	for name, store := range map[string]func(t *testing.T) string{
		"embedded": func(t *testing.T) string { return "GRANTD_DATA=" + filepath.Join(t.TempDir(), "grantd.db") },
		"redis":    func(t *testing.T) string { return "GRANTD_REDIS_URL=" + redistest.Single(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 2, store(t))
			ctx, stop := context.WithCancel(t.Context())
			traffic := f.traffic(ctx)
			old := traffic.signIn()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				traffic.run(ctx, 20*time.Millisecond, traffic.signsInAndOut, traffic.refreshes, traffic.forItself, func() { traffic.valid(old.access) })
			}()
			began := time.Now()
			if out := f.grantd("key", "rotate"); !regexp.MustCompile(`^key 2 is made; new tokens are made under it from `).MatchString(out) {
				t.Errorf("key rotate printed %q", out)
			}
			for madeUnder(traffic.signIn().access) != 2 && time.Since(began) < 2*opaque.Activation {
				time.Sleep(50 * time.Millisecond)
			}
			switched := time.Since(began)
			time.Sleep(2 * time.Second)
			for range 2 * len(f.nodes) { // every node
				if p := traffic.signIn(); madeUnder(p.access) != 2 {
					t.Errorf("a token is made under key %d", madeUnder(p.access))
				}
			}
			stop()
			<-ended
			if switched < opaque.Activation-time.Second {
				t.Errorf("minted under the new key after %s", switched)
			}
			ctx, stop = context.WithCancel(t.Context())
			defer stop()
			after := f.traffic(ctx) // the balancer of the traffic before has ended
			if next := after.token("refresh", refreshForm(old.refresh, "")); madeUnder(next.refresh) != 2 {
				t.Error("the refresh of an old sign-in isn't made under the new key")
			}
			after.report("afterwards")
			traffic.report(fmt.Sprintf("a rotation of keys, which mint after %s", switched.Round(100*time.Millisecond)))
		})
	}
}
