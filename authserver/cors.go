package authserver

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/grantd/grantd/storage"
)

// Pages in browsers may call /token and /revoke (RFC 9700 section 2.6, RFC 7009
// section 2.3) from the origins that their client lists, and from no other.
// They may not call /introspect, which is for resource servers. The answer to
// the request itself decides: only the origins of the authenticated client may
// read it. A preflight names no client, so it passes for the origins of every
// client. Cookies mean nothing here, so credentials are never allowed.

// allowOrigin lets the page that made the request read the answer, also an
// error, if the page's origin is one of the client's (Fetch standard, "CORS
// protocol").
func allowOrigin(w http.ResponseWriter, r *http.Request, client storage.Client) {
	origins := r.Header["Origin"]
	if len(origins) != 1 || !slices.Contains(client.Origins, origins[0]) {
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origins[0])
	h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
	h.Set("Vary", "Origin")
}

// crossOrigin answers preflights from origins that some client lists. Every
// other request goes to next, which refuses OPTIONS.
func (s *Server) crossOrigin(next handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request, ev *Event) error {
		origin, asked := preflight(r)
		if !asked {
			return next(w, r, ev)
		}
		known, err := s.origins.known(r.Context(), s.cfg.Store, s.now)
		if err != nil {
			return err
		}
		if !known[origin] {
			return next(w, r, ev)
		}
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Methods", http.MethodPost)
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		h.Set("Access-Control-Max-Age", "600")
		h.Set("Vary", "Origin")
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// preflight returns the origin of a page that asks whether it may POST.
func preflight(r *http.Request) (origin string, asked bool) {
	origins, methods := r.Header["Origin"], r.Header["Access-Control-Request-Method"]
	if r.Method != http.MethodOptions || len(origins) != 1 || len(methods) != 1 || methods[0] != http.MethodPost {
		return "", false
	}
	return origins[0], true
}

// originMemory remembers which origins the clients list. Anybody may send
// preflights, so they read the clients at most once in originLife. It is safe
// for concurrent use.
type originMemory struct {
	mu     sync.Mutex // held while loading
	loaded time.Time
	list   map[string]bool
	err    error // of the load; a failed load isn't repeated sooner either
}

const (
	originLife    = time.Second
	originTimeout = 2 * time.Second // of a load

	// originClients is how many clients are read, in the order of their ids.
	// The origins of clients beyond it pass no preflight.
	originClients = 10_000
	originPage    = 500
)

// known returns the origins that clients list; the caller must not change the
// map. It reads the clock after it has the lock, so that a caller that waited
// for another's load uses its result.
func (o *originMemory) known(ctx context.Context, store Store, now func() time.Time) (map[string]bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if age := now().Sub(o.loaded); age < 0 || age >= originLife {
		// Not cancelled with the request: other requests use the result too.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), originTimeout)
		defer cancel()
		o.list, o.err = loadOrigins(ctx, store)
		o.loaded = now()
	}
	return o.list, o.err
}

func loadOrigins(ctx context.Context, store Store) (map[string]bool, error) {
	list := make(map[string]bool)
	after := ""
	for range originClients / originPage {
		page, err := store.ListClients(ctx, after, originPage)
		if err != nil {
			return nil, err
		}
		for _, c := range page {
			for _, origin := range c.Origins {
				list[origin] = true
			}
		}
		if len(page) < originPage {
			break
		}
		after = page[len(page)-1].ID
	}
	return list, nil
}
