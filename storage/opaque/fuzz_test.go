package opaque_test

import (
	"encoding/base64"
	"testing"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// Every minted token parses to the values that it was minted from, and doesn't
// parse after a change anywhere.
func FuzzMintParse(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), uint32(1), false, uint16(0), byte(1))
	f.Add([]byte{}, uint32(1<<32-1), true, uint16(79), byte('\n'))
	r := keyring(f, fixedKey(5), fixedKey(4))
	f.Fuzz(func(t *testing.T, grant []byte, generation uint32, refresh bool, at uint16, c byte) {
		kind := opaque.Access
		if refresh {
			kind = opaque.Refresh
		}
		var id storage.GrantID
		copy(id[:], grant)
		text, digest := r.Mint(kind, id, generation)
		got, err := r.Parse(kind, text)
		if err != nil || got.Grant != id || got.Generation != generation || !digest.Equal(got.Digest()) {
			t.Fatalf("%q: %v, %v", text, got, err)
		}
		b := []byte(text)
		if i := int(at) % len(b); b[i] != c {
			b[i] = c
			mustRefuse(t, r, kind, string(b), "a changed byte")
		}
	})
}

// A token that parses has only one spelling: the encoding of its bytes.
func FuzzParse(f *testing.F) {
	f.Add(knownRefresh)
	f.Add("gat_BasAAAAAAAAAAAAAAAAAAM0AAAAHYD3a7gUwv8WVNM4JetaJXYzpiDoNXaSmH7ij0VNrTtk7qt8X")
	f.Add("grt_")
	f.Add("")
	r := keyring(f, fixedKey(5))
	f.Fuzz(func(t *testing.T, text string) {
		for _, kind := range kinds {
			if _, err := r.Parse(kind, text); err != nil {
				continue
			}
			if again := text[:4] + base64.RawURLEncoding.EncodeToString(rawOf(t, text)); again != text {
				t.Fatalf("%q also stands for %q", text, again)
			}
		}
	})
}
