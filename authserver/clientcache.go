package authserver

import (
	"sync"
	"time"

	"github.com/grantd/grantd/storage"
)

// clientCache remembers clients that authenticated for a refresh or for
// introspection a moment ago, so that the next such request of the client needs
// no round trip for it. It is safe for concurrent use.
//
// A remembered client can only accept credentials, and only for clientMemory;
// credentials that don't match it are checked against the store. It never
// serves to make a grant. It doesn't let a client refresh grants that were
// revoked: the commands that change a client end its grants, and then there is
// nothing to refresh. In other processes, where nobody calls forget, a changed
// client may introspect for up to clientMemory longer. The answers to it are
// never remembered.
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
	maxClients   = 4096 // remembered; at that number all are forgotten at once
)

// recent returns the client if it was loaded less than clientMemory ago.
// Otherwise the caller loads the client and passes forgets to remember.
func (c *clientCache) recent(id string, now time.Time) (client storage.Client, known bool, forgets uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, known := c.entries[id]
	age := now.Sub(e.loaded)
	return e.client, known && age >= 0 && age < clientMemory, c.forgets
}

// remember keeps the client, unless any client was forgotten since recent
// returned forgets: this one may have been loaded before that.
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

// ForgetClient makes the server read the client's record again. Call it after
// you changed or deleted the record in this process; other processes notice
// within a second. It is safe for concurrent use.
func (s *Server) ForgetClient(id string) { s.clients.forget(id) }
