package authserver

import (
	"sync"
	"time"

	"github.com/grantd/grantd/storage"
)

// clientCache remembers clients that authenticated for a refresh or for
// introspection a moment ago, so that the next one doesn't need a round trip for
// its client. It is safe for concurrent use.
//
// A remembered client can only say yes, and only for clientMemory; whoever it
// doesn't recognise is looked up. It never makes a grant, and finds none to
// refresh once those of the client were revoked: so a client whose grants were
// ended with its change, as the commands do, refreshes nothing more. Of tokens it
// may ask for clientMemory longer, where nobody forgets it; what it is told of
// them is never remembered.
type clientCache struct {
	mu      sync.RWMutex
	entries map[string]clientEntry
	forgets uint64 // calls of forget
}

type clientEntry struct {
	client storage.Client
	loaded time.Time
}

const (
	clientMemory = time.Second
	maxClients   = 4096 // remembered; more are forgotten all at once
)

// recent returns the client if it was loaded less than clientMemory ago. Whoever
// loads it instead gives forgets to remember.
func (c *clientCache) recent(id string, now time.Time) (client storage.Client, known bool, forgets uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, known := c.entries[id]
	age := now.Sub(e.loaded)
	return e.client, known && age >= 0 && age < clientMemory, c.forgets
}

// remember keeps the client, unless one was forgotten since recent told forgets: it
// may have been loaded before that.
func (c *clientCache) remember(client storage.Client, loaded time.Time, forgets uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if forgets != c.forgets {
		return
	}
	if c.entries == nil || len(c.entries) >= maxClients {
		c.entries = make(map[string]clientEntry)
	}
	c.entries[client.ID] = clientEntry{client, loaded}
}

func (c *clientCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgets++
	delete(c.entries, id)
}

// ForgetClient makes the server look at the record of the client anew, from now on.
// Whoever changed or deleted it in the same process calls it; others notice within
// a second. It is safe for concurrent use.
func (s *Server) ForgetClient(id string) { s.clients.forget(id) }
