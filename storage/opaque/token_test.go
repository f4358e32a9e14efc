package opaque_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

var kinds = []opaque.Kind{opaque.Access, opaque.Refresh}

// newKeyring returns a keyring of fresh random keys with these ids; the first
// mints.
func newKeyring(t testing.TB, ids ...byte) *opaque.Keyring {
	t.Helper()
	var keys []opaque.Key
	for _, id := range ids {
		keys = append(keys, opaque.NewKey(id))
	}
	return keyring(t, keys...)
}

func keyring(t testing.TB, keys ...opaque.Key) *opaque.Keyring {
	t.Helper()
	r, err := opaque.NewKeyring(keys[0], keys[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fixedKey returns a key that is the same in every run, for fuzzing and known
// answers.
func fixedKey(id byte) opaque.Key {
	k := opaque.Key{ID: id}
	for i := range k.Data {
		k.Data[i] = byte(i)
	}
	return k
}

// minted is a token with its text and digest.
type minted struct {
	opaque.Token
	text   string
	digest storage.Digest
}

func mint(t testing.TB, r *opaque.Keyring, kind opaque.Kind) minted {
	t.Helper()
	text, digest := r.Mint(kind, storage.NewGrantID("user"), 7)
	token, err := r.Parse(kind, text)
	if err != nil {
		t.Fatal(err)
	}
	return minted{token, text, digest}
}

func mustRefuse(t testing.TB, r *opaque.Keyring, kind opaque.Kind, text, why string) {
	t.Helper()
	if token, err := r.Parse(kind, text); !errors.Is(err, opaque.ErrInvalid) || token != (opaque.Token{}) {
		t.Fatalf("%s: Parse(%q) = %v, %v; want the zero token and ErrInvalid", why, text, token, err)
	}
}

func TestMintedTokensParse(t *testing.T) {
	r := newKeyring(t, 9, 1, 200)
	for _, kind := range kinds {
		for _, generation := range []uint32{0, 1, 1 << 16, math.MaxUint32} {
			id := storage.NewGrantID("user")
			text, digest := r.Mint(kind, id, generation)
			got, err := r.Parse(kind, text)
			if err != nil {
				t.Fatalf("kind %d: %v", kind, err)
			}
			if got.Kind != kind || got.Grant != id || got.Generation != generation {
				t.Errorf("parsed %d %s %d, minted %d %s %d", got.Kind, got.Grant, got.Generation, kind, id, generation)
			}
			if got.KeyID != 9 {
				t.Errorf("minted under key %d, want the first, 9", got.KeyID)
			}
			if !digest.Equal(got.Digest()) {
				t.Error("the digest of the parsed token differs from the one that Mint gave")
			}
		}
	}
}

func TestTokenText(t *testing.T) {
	t.Run("6750-2.1-05 access tokens fit the b64token grammar", func(t *testing.T) {
		matches(t, opaque.Access, `^[A-Za-z0-9._~+/-]+=*$`)
	})
	t.Run("secret scanners find tokens by the published pattern", func(t *testing.T) {
		for _, kind := range kinds {
			matches(t, kind, `^g[ar]t_[A-Za-z0-9_-]{76}$`)
		}
	})
	t.Run("the prefix names the kind", func(t *testing.T) {
		matches(t, opaque.Access, `^gat_`)
		matches(t, opaque.Refresh, `^grt_`)
	})
	t.Run("every token has TextLen bytes", func(t *testing.T) {
		r := newKeyring(t, 1)
		for _, kind := range kinds {
			if got := len(mint(t, r, kind).text); got != 80 || opaque.TextLen != 80 {
				t.Errorf("%d bytes, TextLen is %d, want 80", got, opaque.TextLen)
			}
		}
	})
}

func matches(t *testing.T, kind opaque.Kind, pattern string) {
	t.Helper()
	re, r := regexp.MustCompile(pattern), newKeyring(t, 255)
	for range 500 {
		if text, _ := r.Mint(kind, storage.NewGrantID(""), math.MaxUint32); !re.MatchString(text) {
			t.Fatalf("%q doesn't match %s", text, pattern)
		}
	}
}

// Guessing one of 2^192 secrets is far below the 2^-160 that RFC 6749 section
// 10.10 asks for; what a test can see is that the secrets don't repeat.
func TestMintedTokensAreDistinct(t *testing.T) {
	t.Run("6749-10.10-01 100,000 tokens of one grant and generation are distinct", func(t *testing.T) {
		const n = 100_000
		r, id := newKeyring(t, 1), storage.NewGrantID("user")
		texts, digests := make(map[string]bool, n), make(map[storage.Digest]bool, n)
		for range n {
			text, digest := r.Mint(opaque.Access, id, 1)
			texts[text], digests[digest] = true, true
		}
		if len(texts) != n || len(digests) != n {
			t.Errorf("%d distinct tokens and %d distinct digests of %d", len(texts), len(digests), n)
		}
	})
	t.Run("6749-10.10-01 every character is as likely as any other", uniformCharacters)
	t.Run("6749-10.10-02 6750-5.2-01 at least 160 bits of a token are random", func(t *testing.T) {
		if got := randomBits(t); got < 160 {
			t.Errorf("%d bits differ between tokens of one grant, want at least 160", got)
		}
	})
}

// uniformCharacters checks the 32 characters that spell the secret. In 100,000
// tokens each of the 64 letters should come about 1,562 times at every place.
// The standard deviation is 39, and a deviation of seven times that practically
// never occurs.
func uniformCharacters(t *testing.T) {
	const n, letters, first, last = 100_000, 64, 4 + 28, 4 + 60
	r, id := newKeyring(t, 1), storage.NewGrantID("user")
	var counts [last - first][256]int
	for range n {
		text, _ := r.Mint(opaque.Access, id, 1)
		for i := range counts {
			counts[i][text[first+i]]++
		}
	}
	deviation := math.Sqrt(n * (1.0 / letters) * (1 - 1.0/letters))
	for i := range counts {
		for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
			if stray := math.Abs(float64(counts[i][c]) - float64(n)/letters); stray > 7*deviation {
				t.Errorf("%q stands %d times of %d at place %d", c, counts[i][c], n, first+i)
			}
		}
	}
}

// randomBits counts the bits, without the tag, that take both values among
// tokens of one grant and generation.
func randomBits(t *testing.T) int {
	const tagBytes = 12
	r, id := newKeyring(t, 1), storage.NewGrantID("user")
	var ones, zeros [57 - tagBytes]byte
	for range 100 {
		text, _ := r.Mint(opaque.Access, id, 1)
		raw := rawOf(t, text)
		for i := range ones {
			ones[i] |= raw[i]
			zeros[i] |= ^raw[i]
		}
	}
	bits := 0
	for i := range ones {
		for bit := range 8 {
			bits += int((ones[i] & zeros[i]) >> bit & 1)
		}
	}
	return bits
}

func rawOf(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(text[4:])
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestNoFlippedBitSurvives(t *testing.T) {
	r := newKeyring(t, 1, 0, 3) // ids that differ from key id 1 in one bit exist
	for _, kind := range kinds {
		for range 4 {
			text := mint(t, r, kind).text
			flipEveryBit(t, r, kind, text)
		}
	}
}

func flipEveryBit(t *testing.T, r *opaque.Keyring, kind opaque.Kind, text string) {
	t.Helper()
	for i := range len(text) * 8 {
		b := []byte(text)
		b[i/8] ^= 1 << (i % 8)
		mustRefuse(t, r, kind, string(b), "a flipped bit of the text")
	}
	for i := range 57 * 8 {
		raw := rawOf(t, text)
		raw[i/8] ^= 1 << (i % 8)
		changed := text[:4] + base64.RawURLEncoding.EncodeToString(raw)
		mustRefuse(t, r, kind, changed, "a flipped bit below the base64url")
	}
}

func TestNoChangedCharacterSurvives(t *testing.T) {
	r := newKeyring(t, 1)
	t.Run("any character by any byte", func(t *testing.T) {
		text := mint(t, r, opaque.Access).text
		for i := range len(text) {
			for c := range 256 {
				if byte(c) != text[i] {
					mustRefuse(t, r, opaque.Access, text[:i]+string([]byte{byte(c)})+text[i+1:], "a changed character")
				}
			}
		}
	})
	// A decoder that skips line breaks would find one byte missing in such a
	// text, and could take the missing byte for a zero.
	t.Run("the last character by a line break, in a token that ends in a zero byte", func(t *testing.T) {
		text := mint(t, r, opaque.Refresh).text
		for rawOf(t, text)[56] != 0 {
			text = mint(t, r, opaque.Refresh).text
		}
		for _, end := range []string{"\n", "\r", "=", ""} {
			mustRefuse(t, r, opaque.Refresh, text[:79]+end, "the last character is gone")
		}
	})
}

func TestNoOtherLengthSurvives(t *testing.T) {
	r := newKeyring(t, 1)
	text := mint(t, r, opaque.Access).text
	for n := range len(text) {
		mustRefuse(t, r, opaque.Access, text[:n], "truncated at the end")
		mustRefuse(t, r, opaque.Access, text[len(text)-n:], "truncated at the start")
	}
	for _, extra := range []string{"A", "=", "====", "\n", " ", "\x00", text} {
		mustRefuse(t, r, opaque.Access, text+extra, "extended")
		mustRefuse(t, r, opaque.Access, extra+text, "extended in front")
	}
	mustRefuse(t, r, opaque.Access, strings.ToUpper(text), "upper case")
}

func TestKindsDontMix(t *testing.T) {
	r := newKeyring(t, 1)
	prefix := map[opaque.Kind]string{opaque.Access: "gat_", opaque.Refresh: "grt_"}
	for _, kind := range kinds {
		other := opaque.Access + opaque.Refresh - kind
		m := mint(t, r, kind)
		mustRefuse(t, r, other, m.text, "a token of the other kind")
		mustRefuse(t, r, other, prefix[other]+m.text[4:], "a token under the prefix of the other kind")
		mustRefuse(t, r, kind, prefix[other]+m.text[4:], "a token under a foreign prefix")

		for _, unknown := range []opaque.Kind{0, 3, 255} {
			mustRefuse(t, r, unknown, m.text, "an unknown kind")
		}
	}
}

func TestForeignKeysDontParse(t *testing.T) {
	one, other := opaque.NewKey(1), opaque.NewKey(1)
	text := mint(t, keyring(t, one), opaque.Access).text
	mustRefuse(t, keyring(t, other), opaque.Access, text, "another deployment's key of the same id")
	mustRefuse(t, keyring(t, opaque.Key{ID: 2, Data: one.Data}), opaque.Access, text, "the same key under another id")
	mustRefuse(t, keyring(t, opaque.Key{ID: 2, Data: one.Data}, other), opaque.Access, text, "a key id that names another key")

	raw := rawOf(t, text)
	raw[0] = 2
	renamed := text[:4] + base64.RawURLEncoding.EncodeToString(raw)
	both := keyring(t, one, opaque.Key{ID: 2, Data: one.Data})
	mustRefuse(t, both, opaque.Access, renamed, "the key id is under the tag")
}

func TestOldKeysGoOnParsing(t *testing.T) {
	older, newer := opaque.NewKey(1), opaque.NewKey(2)
	text := mint(t, keyring(t, older), opaque.Access).text
	got, err := keyring(t, newer, older).Parse(opaque.Access, text)
	if err != nil || got.KeyID != 1 {
		t.Errorf("after a key was added: key %d, %v; want the token of key 1", got.KeyID, err)
	}
}

func TestNewKeyring(t *testing.T) {
	if _, err := opaque.NewKeyring(opaque.NewKey(1), opaque.NewKey(1)); err == nil {
		t.Error("a keyring with two keys of one id was made")
	}
	if got := newKeyring(t, 0).MintID(); got != 0 {
		t.Errorf("MintID is %d, want 0", got)
	}
	if got := newKeyring(t, 8, 255, 3).MintID(); got != 8 {
		t.Errorf("MintID is %d, want the first, 8", got)
	}
}

// Tokens must still parse after an upgrade. The expected values were computed
// from the package comment by another program, in another language.
func TestKnownTokens(t *testing.T) {
	r := keyring(t, fixedKey(5))
	for _, known := range []struct {
		kind         opaque.Kind
		text, digest string
	}{
		{opaque.Access, "gat_BasAAAAAAAAAAAAAAAAAAM0AAAAHYD3a7gUwv8WVNM4JetaJXYzpiDoNXaSmH7ij0VNrTtk7qt8X", "0fccb4820970224e77bdb82466ee0e434baa75cc"},
		{opaque.Refresh, knownRefresh, "6fafb0b52a0edbb26ec3d28157627f779141c1b4"},
	} {
		token, err := r.Parse(known.kind, known.text)
		if err != nil {
			t.Fatal(err)
		}
		if token.KeyID != 5 || token.Grant != knownGrant || token.Generation != 7 {
			t.Errorf("key %d, grant %s, generation %d", token.KeyID, token.Grant, token.Generation)
		}
		if got := fmt.Sprintf("%x", [20]byte(token.Digest())); got != known.digest {
			t.Errorf("digest %s, want %s", got, known.digest)
		}
	}
}

const knownRefresh = "grt_BasAAAAAAAAAAAAAAAAAAM0AAAAHvk0QE8er3fggXfWHXEY_0jzBs8HsRCUgtY0IlDaFUJ8W8TaW"

var knownGrant = storage.GrantID{0: 0xab, 15: 0xcd}

func TestATokenPrintsWithoutItsSecret(t *testing.T) {
	keys := newKeyring(t, 1)
	text, _ := keys.Mint(opaque.Refresh, storage.NewGrantID("u"), 7)
	token, err := keys.Parse(opaque.Refresh, text)
	if err != nil {
		t.Fatal(err)
	}
	want := "grt_[redacted] of grant " + token.Grant.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, token); got != want {
			t.Errorf("%s prints %q, want %q", verb, got, want)
		}
	}
}
