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

// What a check found counts for a second, so that probes don't load the store. That
// the store is down counts for less: then asking again costs it nothing, since the
// calls fail at once, and requests should come back as soon as they are served.
const (
	checkLife     = time.Second
	downLife      = 100 * time.Millisecond
	checkDeadline = time.Second
)

// live answers GET /livez: the process can serve. Whether its store can is no
// reason to restart it.
func (h *health) live(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, `{"status":"live"}`)
}

// ready answers GET /readyz: send requests here, or not now.
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

// readyWith answers for a store that fares so. Where only writes fail, or only the
// users of one node, requests should still come: a token can be checked as ever, and
// the other nodes of grantd have the same store. A copy is another matter: what
// it says of a token may be older than its revocation.
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
	// Not cancelled with the request: its result is for others too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkDeadline)
	defer cancel()
	h.store = h.check(ctx)
	h.checked = time.Now()
	return h.store
}

// part has clients go elsewhere once the process is stopping: a connection that they
// keep would be closed under a request of theirs in the end.
func (h *health) part(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
