package authserver

import (
	"strings"
	"sync"

	"github.com/grantd/grantd/storage"
)

// maxGrants bounds the grants that a server remembers, usually to a few MiB.
const maxGrants = 8192

// grantMemory remembers grants as this server left them when it refreshed them, so
// that whoever refreshes one again needs one round trip less. What it remembers may
// have ended or changed since: it is good for storage.Grants.SwapGrant, which finds
// that out, and for nothing else. It is safe for concurrent use.
type grantMemory struct {
	mu     sync.Mutex
	grants map[storage.GrantID]storage.Grant
}

// take returns the grant and forgets it: a refresh leaves another one behind.
func (m *grantMemory) take(id storage.GrantID) (g storage.Grant, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, known = m.grants[id]
	delete(m.grants, id)
	return g, known
}

// remember keeps the grant, in place of any other when there are too many. What the
// request asked for is copied, or the whole request would be kept with it.
func (m *grantMemory) remember(g storage.Grant) {
	g.AccessScope, g.AccessAudience = strings.Clone(g.AccessScope), strings.Clone(g.AccessAudience)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.grants == nil {
		m.grants = make(map[storage.GrantID]storage.Grant)
	}
	if len(m.grants) >= maxGrants {
		for other := range m.grants {
			delete(m.grants, other)
			break
		}
	}
	m.grants[g.ID] = g
}
