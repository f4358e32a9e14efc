package main

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/storage"
)

// health answers the probes of orchestrators and load balancers.
type health struct {
	check    func(context.Context) storage.Health
	started  atomic.Bool // the store was checked and the keys are loaded
	stopping atomic.Bool

	mu      sync.Mutex // held while checking
	checked time.Time
	store   storage.Health
}

// The result of a check is used for a second, so that probes don't load the store. The
// result Down is used for a shorter time: another check costs the store nothing then,
// since the calls fail at once, and requests should come back as soon as possible.
const (
	checkLife     = time.Second
	downLife      = 100 * time.Millisecond
	checkDeadline = time.Second
)

// live answers GET /livez: the process can serve. The state of the store doesn't
// matter, since a restart wouldn't mend it.
func (h *health) live(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, `{"status":"live"}`)
}

// ready answers GET /readyz: whether requests should be sent here now.
func (h *health) ready(w http.ResponseWriter, r *http.Request) {
	switch {
	case h.stopping.Load():
		unready(w, `{"status":"unavailable","reason":"stopping"}`)
	case !h.started.Load():
		unready(w, `{"status":"unavailable","reason":"starting"}`)
	default:
		h.readyWith(w, h.storeHealth(r.Context()))
	}
}

// readyWith answers GET /readyz for a store in this state. If only writes fail, or only
// some nodes of the store, requests should still come: tokens can be checked, and other
// processes of grantd have the same store. A store that is a read-only copy is not
// ready: its record of a token may be older than the token's revocation.
func (h *health) readyWith(w http.ResponseWriter, store storage.Health) {
	circuit := "closed"
	if store.Open {
		circuit = "open"
	}
	about := `"store":"` + string(store.State) + `","circuit":"` + circuit + `"}`
	if !serves(store.State) {
		unready(w, `{"status":"unavailable","reason":"store",`+about)
		return
	}
	writeJSON(w, http.StatusOK, `{"status":"ready",`+about)
}

func serves(state storage.HealthState) bool {
	return state != storage.Down && state != storage.ReadOnly
}

func unready(w http.ResponseWriter, body string) {
	w.Header().Set("Retry-After", "1")
	writeJSON(w, http.StatusServiceUnavailable, body)
}

func (h *health) storeHealth(ctx context.Context) storage.Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	life := checkLife
	if h.store.State == storage.Down {
		life = downLife
	}
	if !h.checked.IsZero() && time.Since(h.checked) < life {
		return h.store
	}
	// The check outlives the request, since other requests use its result too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkDeadline)
	defer cancel()
	h.store = h.check(ctx)
	h.checked = time.Now()
	return h.store
}

// part closes connections after the next answer once the process is stopping, so that
// clients go elsewhere. Kept connections would in the end be closed during a request.
func (h *health) part(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
