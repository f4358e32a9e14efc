package opaque_test

import (
	"testing"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// An adopted token has the first generation. No text parses to it, since its
// text is the other server's.
func TestAdopt(t *testing.T) {
	keys, id := newKeyring(t, 1), storage.NewGrantID("usr_alice")
	text := "NTJLYWY2ODKTNJM4NC01YZU5LTLJMGETNJQ4OTLJODQZNDK1"
	token := opaque.Adopt(opaque.Refresh, id, text)
	if token.Grant != id || token.Generation != 1 || token.Kind != opaque.Refresh || token.Digest() != opaque.Adopt(opaque.Refresh, id, text).Digest() {
		t.Errorf("got %+v", token)
	}
	for name, other := range map[string]opaque.Token{
		"another text":  opaque.Adopt(opaque.Refresh, id, text+"x"),
		"another kind":  opaque.Adopt(opaque.Access, id, text),
		"another grant": opaque.Adopt(opaque.Refresh, storage.NewGrantID("usr_alice"), text),
	} {
		if other.Digest() == token.Digest() {
			t.Errorf("%s has the same digest", name)
		}
	}
	next, _, err := keys.Successor(token, opaque.Refresh, 1, [16]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	if parsed, err := keys.Parse(opaque.Refresh, next); err != nil || parsed.Grant != id || parsed.Generation != 2 {
		t.Errorf("its successor is %+v, %v", parsed, err)
	}
	if _, err := keys.Parse(opaque.Refresh, text); err == nil {
		t.Error("the text parses")
	}
}
