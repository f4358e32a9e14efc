package passhash

import "testing"

func BenchmarkVerify(b *testing.B) {
	h := newHasher(b, Params{})
	encoded := mustHash(b, h, "secret123")
	for b.Loop() {
		mustVerify(b, h, encoded, "secret123")
	}
}
