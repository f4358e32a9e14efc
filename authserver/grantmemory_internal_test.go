package authserver

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/grantd/grantd/storage"
)

func TestTheMemoryOfGrantsIsBounded(t *testing.T) {
	var m grantMemory
	for i := range maxGrants + 100 {
		g := storage.Grant{ID: storage.NewGrantID("")}
		m.remember(g)
		if want := min(i+1, maxGrants); len(m.grants) != want {
			t.Fatalf("after %d grants %d are remembered, want %d", i+1, len(m.grants), want)
		}
		if _, known := m.grants[g.ID]; !known {
			t.Fatal("the newest was forgotten")
		}
	}
	for _, g := range m.grants {
		if _, known := m.take(g.ID); !known || len(m.grants) >= maxGrants {
			t.Fatalf("one was taken, and %d are remembered", len(m.grants))
		}
		break
	}
}

// A remembered grant shares no memory with the request, which may be long.
func TestTheMemoryOfGrantsKeepsNoRequest(t *testing.T) {
	var m grantMemory
	body := strings.Repeat("scope=read&", 1000)
	g := storage.Grant{AccessScope: body[6:10], AccessAudience: body[:5]}
	m.remember(g)
	kept, _ := m.take(g.ID)
	if kept != g {
		t.Fatalf("%+v is remembered as %+v", g, kept)
	}
	for name, text := range map[string][2]string{"scope": {kept.AccessScope, g.AccessScope}, "audience": {kept.AccessAudience, g.AccessAudience}} {
		if unsafe.StringData(text[0]) == unsafe.StringData(text[1]) {
			t.Errorf("the %s is the request's", name)
		}
	}
}
