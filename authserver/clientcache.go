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
// may ask for clientMemory longer; what it is told of them is never remembered.
type clientCache struct {
	mu      sync.RWMutex
	entries map[string]clientEntry
}

type clientEntry struct {
	client storage.Client
	loaded time.Time
}

const (
	clientMemory = time.Second
	maxClients   = 4096 // remembered; more are forgotten all at once
)

// recent returns the client if it was loaded less than clientMemory ago.
func (c *clientCache) recent(id string, now time.Time) (storage.Client, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, known := c.entries[id]
	age := now.Sub(e.loaded)
	return e.client, known && age >= 0 && age < clientMemory
}

func (c *clientCache) remember(client storage.Client, loaded time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil || len(c.entries) >= maxClients {
		c.entries = make(map[string]clientEntry)
	}
	c.entries[client.ID] = clientEntry{client, loaded}
}
