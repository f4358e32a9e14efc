package main

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// mostHashing is how much memory 64 sign-ins at once may take beyond the idle process.
// It is the garbage of two hashes at once, of 19 MiB each, before the collector runs. In
// ten runs it was 98 to 117 MiB. The password grant is as fast as its hashing because
// the collector lets that much garbage pile up.
const mostHashing = 136 << 20

// Hashing is bounded, however many sign-ins come: on two processors two hashes
// at once, of 19 MiB each.
func TestParallelSignInsStayWithinTheirMemory(t *testing.T) {
	dir := t.TempDir()
	env := append([]string{"GRANTD_DATA=grantd.db", firstAdmin, "GOMAXPROCS=2"}, serveEnv...)
	must(t, launch{args: []string{"client", "add", "web", "--grant", "password", "--scope", "read", "--secret-file", writeFile(t, "s", secret32)}, dir: dir, env: env})
	first := launch{args: []string{"serve"}, dir: dir, env: env}.start(t) // makes the admin, which takes a hash
	first.awaitReady()
	first.Stop()
	g := launch{args: []string{"serve"}, dir: dir, env: env}.start(t)
	g.awaitReady()
	idle := g.resident()
	const callers, rounds = 64, 3
	var wg sync.WaitGroup
	var good atomic.Int64
	for range callers {
		wg.Go(func() {
			for range rounds {
				switch status, answer := tokenFor(t, g.URL, "web", secret32, passwordForm("admin", "first-admin-password", "")); status {
				case http.StatusOK:
					good.Add(1)
				case http.StatusTooManyRequests, http.StatusServiceUnavailable: // a sign-in that waited in vain for its turn
				default:
					t.Errorf("sign-in: %d %v", status, answer)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	most := int64(0)
	for over := false; !over; {
		select {
		case <-done:
			over = true
		case <-time.After(time.Millisecond):
		}
		most = max(most, g.resident()-idle)
	}
	t.Logf("%d sign-ins; %d MiB idle, %d MiB more at most", good.Load(), idle>>20, most>>20)
	if good.Load() == 0 || most > mostHashing {
		t.Errorf("%d sign-ins, and memory grew by %d MiB", good.Load(), most>>20)
	}
}
