package authserver

import (
	"testing"

	"github.com/grantd/grantd/storage"
)

func TestTheMemoryOfGrantsIsBounded(t *testing.T) {
	var m grantMemory
	for range maxGrants + 100 {
		g := storage.Grant{ID: storage.NewGrantID("")}
		m.remember(g)
		if len(m.grants) > maxGrants {
			t.Fatalf("%d grants are remembered", len(m.grants))
		}
		if len(m.grants) == maxGrants {
			if _, known := m.take(g.ID); !known {
				t.Fatal("the newest was forgotten")
			}
		}
	}
}
