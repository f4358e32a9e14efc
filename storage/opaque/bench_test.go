package opaque_test

import (
	"testing"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

func BenchmarkMint(b *testing.B) {
	keys, id := newKeyring(b, 1), storage.NewGrantID("u")
	b.ReportAllocs()
	for b.Loop() {
		keys.Mint(opaque.Access, id, 1)
	}
}

func BenchmarkParse(b *testing.B) {
	keys := newKeyring(b, 1)
	text, _ := keys.Mint(opaque.Access, storage.NewGrantID("u"), 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keys.Parse(opaque.Access, text); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseDigest measures the part of a look-up outside the store.
func BenchmarkParseDigest(b *testing.B) {
	keys := newKeyring(b, 1)
	text, want := keys.Mint(opaque.Access, storage.NewGrantID("u"), 1)
	b.ReportAllocs()
	for b.Loop() {
		t, err := keys.Parse(opaque.Access, text)
		if err != nil || !want.Equal(t.Digest()) {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoadedKeyring(b *testing.B) {
	loader, ctx := opaque.NewLoader(&keyStore{}, newSealer(b)), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := loader.Keyring(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSuccessor(b *testing.B) {
	keys := newKeyring(b, 1)
	spent := mint(b, keys, opaque.Refresh)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := keys.Successor(spent.Token, opaque.Access, 1, [16]byte{1}); err != nil {
			b.Fatal(err)
		}
	}
}
