package authserver

import (
	"strings"
	"sync"

	"github.com/grantd/grantd/storage"
)

// maxGrants bounds how many grants a server remembers: usually a few MiB.
const maxGrants = 8192

// grantMemory remembers grants as this server left them when it refreshed them,
// so that their next refresh needs one round trip less. A remembered grant may
// have ended or changed since. Use it only for storage.Grants.SwapGrant, which
// finds that out. It is safe for concurrent use.
type grantMemory struct {
	mu     sync.Mutex
	grants map[storage.GrantID]storage.Grant
}

// take returns the grant and forgets it: the refresh leaves another version
// behind.
func (m *grantMemory) take(id storage.GrantID) (g storage.Grant, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, known = m.grants[id]
	delete(m.grants, id)
	return g, known
}

// remember keeps the grant; when there are too many it drops an arbitrary other
// one. It copies the texts that may be part of the request, or the whole
// request would stay in memory.
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
