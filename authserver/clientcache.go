package authserver

import (
	"sync"
	"time"

	"github.com/grantd/grantd/storage"
)

// clientCache remembers clients that authenticated a moment ago, so that a
// refresh doesn't need a round trip for its client. It is safe for concurrent
// use.
//
// A remembered client can only say yes, and only for clientMemory; whoever it
// doesn't recognise is looked up. No grant rests on it alone: a sign-in reads
// the client again in its epoch (see signInUser), and a refresh finds no grant
// once those of the client were revoked. So a client whose grants were ended
// together with its change, as every command does, gets nothing more.
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

func (c *clientCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, id)
}
