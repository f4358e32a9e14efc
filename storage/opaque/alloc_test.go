//go:build !race

package opaque_test

import (
	"testing"

	"github.com/grantd/grantd/storage/opaque"
)

// This test isn't built for the race detector, under which a sync.Pool drops
// values on purpose.
func TestParseAllocatesNothing(t *testing.T) {
	r := newKeyring(t, 1)
	m := mint(t, r, opaque.Access)
	allocs := testing.AllocsPerRun(1000, func() {
		if token, err := r.Parse(opaque.Access, m.text); err != nil || !m.digest.Equal(token.Digest()) {
			t.Fatal("not parsed")
		}
	})
	if allocs >= 1 {
		t.Errorf("%v allocations a token, want none", allocs)
	}
}

func TestALoadedKeyringAllocatesNothing(t *testing.T) {
	loader, ctx := opaque.NewLoader(&keyStore{}, newSealer(t)), t.Context()
	load(t, loader)
	allocs := testing.AllocsPerRun(1000, func() {
		if _, err := loader.Keyring(ctx); err != nil {
			t.Fatal(err)
		}
	})
	if allocs >= 1 {
		t.Errorf("%v allocations a keyring, want none", allocs)
	}
}
