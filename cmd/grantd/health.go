package main

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// health answers the probes of orchestrators and load balancers.
type health struct {
	ping     func(context.Context) error
	started  atomic.Bool // the store was checked and the keys are loaded
	stopping atomic.Bool

	mu     sync.Mutex // held while pinging
	pinged time.Time
	err    error
}

// A ping's result counts for a second, so that probes don't load the store, and
// a store that hangs is down after one.
const (
	pingLife    = time.Second
	pingTimeout = time.Second
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
	case h.storeError(r.Context()) != nil:
		unready(w, `{"status":"unavailable","reason":"store"}`)
	default:
		writeJSON(w, http.StatusOK, `{"status":"ready"}`)
	}
}

func unready(w http.ResponseWriter, body string) {
	w.Header().Set("Retry-After", "1")
	writeJSON(w, http.StatusServiceUnavailable, body)
}

func (h *health) storeError(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.pinged.IsZero() && time.Since(h.pinged) < pingLife {
		return h.err
	}
	// Not cancelled with the request: its result is for others too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTimeout)
	defer cancel()
	h.err = h.ping(ctx)
	h.pinged = time.Now()
	return h.err
}
