package opaque

import "testing"

func TestBlindDigests(t *testing.T) {
	first, second := NewKey(1), NewKey(2)
	ring := func(mint Key, more ...Key) *Keyring {
		t.Helper()
		r, err := NewKeyring(mint, more...)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	a := ring(first)
	if a.Blind('u', "alice") != ring(second, first).Blind('u', "alice") {
		t.Error("a newer key changes the digest")
	}
	for name, other := range map[string][32]byte{
		"another text":     a.Blind('u', "bob"),
		"another kind":     a.Blind('p', "alice"),
		"another keyring":  ring(second).Blind('u', "alice"),
		"the kind in text": a.Blind('u', "ualice"),
	} {
		if other == a.Blind('u', "alice") {
			t.Errorf("%s has the same digest", name)
		}
	}
}
