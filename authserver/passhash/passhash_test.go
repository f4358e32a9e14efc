package passhash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// cheap keeps the tests fast; their results don't depend on the cost.
var cheap = Params{Memory: 64, Time: 2, Threads: 1}

func newHasher(t testing.TB, p Params) *Hasher {
	t.Helper()
	h, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mustHash(t testing.TB, h *Hasher, password string) string {
	t.Helper()
	encoded, err := h.Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func mustVerify(t testing.TB, h *Hasher, encoded, password string) Result {
	t.Helper()
	r, err := h.Verify(t.Context(), encoded, password)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

type vector struct{ Maker, Password, Hash string }

// vectors returns hashes made by other implementations;
// testdata/make_vectors.py says which, and how.
func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v []vector
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestHashesOfOtherImplementationsVerify(t *testing.T) {
	h := newHasher(t, cheap)
	prefixes := map[string]int{}
	for _, v := range vectors(t) {
		prefixes[v.Hash[:4]]++
		if !mustVerify(t, h, v.Hash, v.Password).OK {
			t.Errorf("%s by %s: %q doesn't verify", v.Hash, v.Maker, v.Password)
		}
		if wrong := strings.ToUpper(v.Password); mustVerify(t, h, v.Hash, wrong).OK {
			t.Errorf("%s by %s: %q verifies in place of %q", v.Hash, v.Maker, wrong, v.Password)
		}
	}
	for _, p := range []string{"$arg", "$2a$", "$2b$", "$2y$"} {
		if prefixes[p] == 0 {
			t.Errorf("no vector begins with %s", p)
		}
	}
}

func TestMutatedHashesNeverVerify(t *testing.T) {
	h := newHasher(t, cheap)
	for _, v := range []vector{
		{Password: "secret123", Hash: mustHash(t, h, "secret123")},
		{Password: "cafe\u0301", Hash: "$2b$04$crbeoaj2LvNDl9nutpXxT.cZl.gyVWlC6DHwCLhdwol1ZleW5ktPi"},
	} {
		for i := range v.Hash {
			for _, c := range []byte("Y5,$= \n\x00") {
				mutated := v.Hash[:i] + string(c) + v.Hash[i+1:]
				// The last character of a bcrypt salt has four idle bits.
				if mutated == v.Hash || strings.HasPrefix(v.Hash, "$2") && i == 28 {
					continue
				}
				if mustVerify(t, h, mutated, v.Password).OK {
					t.Errorf("%q still verifies, from %q", mutated, v.Hash)
				}
			}
		}
		for _, mutated := range []string{v.Hash[:len(v.Hash)-1], v.Hash + "A", v.Hash + "=", v.Hash + "\n", " " + v.Hash, v.Hash + v.Hash} {
			if mustVerify(t, h, mutated, v.Password).OK {
				t.Errorf("%q still verifies", mutated)
			}
		}
	}
}

func TestNewHash(t *testing.T) {
	t.Run("PW-OWASP-storage-01 PW-NIST63B-5.1.1.2-10 argon2id with 19 MiB, two passes and one lane by default", func(t *testing.T) {
		encoded := mustHash(t, newHasher(t, Params{}), "secret123")
		if want := "$argon2id$v=19$m=19456,t=2,p=1$"; !strings.HasPrefix(encoded, want) {
			t.Errorf("hash = %s, want prefix %s", encoded, want)
		}
	})
	t.Run("PW-NIST63B-5.1.1.2-09 a salt of 16 bytes and a key of 32, another salt each time", func(t *testing.T) {
		h := newHasher(t, cheap)
		a, b := mustHash(t, h, "secret123"), mustHash(t, h, "secret123")
		if a == b {
			t.Error("the same password has the same hash twice")
		}
		f := strings.Split(a, "$") // base64 without padding: 16 bytes are 22 characters, 32 are 43
		if len(f[4]) != 22 || len(f[5]) != 43 {
			t.Errorf("salt %q and key %q have the wrong length", f[4], f[5])
		}
		if !mustVerify(t, h, a, "secret123").OK || mustVerify(t, h, a, "secret124").OK {
			t.Error("its password doesn't verify, or another one does")
		}
	})
	t.Run("PW-NIST63B-5.1.1.2-04 never cuts a password off", func(t *testing.T) {
		h, long := newHasher(t, cheap), strings.Repeat("a", 1023)
		encoded := mustHash(t, h, long+"b")
		if !mustVerify(t, h, encoded, long+"b").OK || mustVerify(t, h, encoded, long+"c").OK || mustVerify(t, h, encoded, long).OK {
			t.Error("the last of 1024 characters doesn't count")
		}
	})
}

func TestBcrypt(t *testing.T) {
	h := newHasher(t, cheap)
	t.Run("PW-OWASP-storage-02 a password over 72 bytes matches as where it was hashed, and is hashed as a whole at once", func(t *testing.T) {
		for _, v := range vectors(t) {
			if !strings.HasPrefix(v.Hash, "$2") || len(v.Password) != 72 {
				continue
			}
			if got, want := mustVerify(t, h, v.Hash, v.Password), (Result{OK: true, Rehash: true}); got != want {
				t.Errorf("72 bytes: %+v, want %+v", got, want)
			}
			if got, want := mustVerify(t, h, v.Hash, v.Password+"z"), (Result{OK: true, Rehash: true}); got != want {
				t.Errorf("73 bytes: %+v, want %+v", got, want)
			}
			if mustVerify(t, h, v.Hash, v.Password[:71]+"z").OK {
				t.Error("the 72nd byte doesn't count")
			}
			return
		}
		t.Fatal("no vector of 72 bytes")
	})
	// bcrypt of "secret123", by python bcrypt.
	const good = "$2b$05$46T/sLwQQznq6OZcFfXRDurradZ/lkoZebIxkv22S04whfexXqmUO"
	t.Run("costs out of bounds and other prefixes never verify and cost what nobody costs", func(t *testing.T) {
		for _, s := range []string{"$2x$" + good[4:], "$2$" + good[4:], "$2b$03" + good[6:], "$2b$15" + good[6:], "$2b$31" + good[6:], "$2b$0a" + good[6:], "$2b$+5" + good[6:]} {
			start := time.Now()
			if mustVerify(t, h, s, "secret123").OK {
				t.Errorf("%s verifies", s)
			}
			if d := time.Since(start); d > time.Second {
				t.Errorf("%s took %v", s, d)
			}
		}
	})
	t.Run("the same password in other normal forms", func(t *testing.T) {
		for _, v := range vectors(t) {
			if v.Password != "cafe\u0301" {
				continue
			}
			// Another system hashed the decomposed bytes: only the bytes as sent match.
			if !mustVerify(t, h, v.Hash, "cafe\u0301").OK {
				t.Error("the bytes that were hashed don't verify")
			}
			if mustVerify(t, h, v.Hash, "caf\u00e9").OK {
				t.Error("verifies by bytes that nobody hashed")
			}
			return
		}
		t.Fatal("no decomposed vector")
	})
}

func TestRehash(t *testing.T) {
	old := func(p Params) string { return mustHash(t, newHasher(t, p), "secret123") }
	base := Params{Memory: 128, Time: 2, Threads: 2}
	for _, c := range []struct {
		name    string
		encoded string
		want    bool
	}{
		{"as configured", old(base), false},
		{"all of it stronger", old(Params{Memory: 256, Time: 3, Threads: 3}), false},
		{"less memory", old(Params{Memory: 64, Time: 3, Threads: 3}), true},
		{"less time", old(Params{Memory: 256, Time: 1, Threads: 3}), true},
		{"fewer threads", old(Params{Memory: 256, Time: 3, Threads: 1}), true},
		{"a shorter salt and key", "$argon2id$v=19$m=8,t=1,p=1$Z3JhbnRkIHQ$xq8rQRaCTs5d3Wd575LTqg", true},
		{"bcrypt", "$2b$05$46T/sLwQQznq6OZcFfXRDurradZ/lkoZebIxkv22S04whfexXqmUO", true},
	} {
		t.Run("PW-OWASP-storage-03 "+c.name, func(t *testing.T) {
			h := newHasher(t, base)
			if got, want := mustVerify(t, h, c.encoded, "secret123"), (Result{OK: true, Rehash: c.want}); got != want {
				t.Errorf("right password: %+v, want %+v", got, want)
			}
			if got := mustVerify(t, h, c.encoded, "secret124"); got != (Result{}) {
				t.Errorf("wrong password: %+v", got)
			}
		})
	}
}

func TestParams(t *testing.T) {
	for name, p := range map[string]Params{
		"too much memory":            {Memory: 256<<10 + 1},
		"under 8 KiB a thread":       {Memory: 15, Threads: 2},
		"too many passes":            {Memory: 64, Time: 17},
		"too many threads":           {Threads: 17},
		"too much work":              {Memory: 256 << 10, Time: 5},
		"negative slots":             {Slots: -1},
		"negative queue":             {Queue: -1},
		"memory that overflows work": {Memory: 1 << 31, Time: 2},
	} {
		if _, err := New(p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Params{Memory: 256 << 10, Time: 4, Threads: 16}); err != nil {
		t.Errorf("the greatest of all: %v", err)
	}
}

// nobodys are stored values that no password matches.
var nobodys = map[string]string{
	"unknown user":     "",
	"unknown format":   "$9$rounds=5000$saltsalt$x",
	"broken SHA-crypt": "$6$rounds=5000$saltsalt$x",
	"clear text":       "secret123",
	"argon2d":          "$argon2d$v=19$m=64,t=2,p=1$Z3JhbnRkIHRlc3Qgc2FsdA$ifmQnHnXSTjghonp5iMkJw7eVdgIWtl3MRnig9wYozM",
	"version 16":       "$argon2id$v=16$m=64,t=2,p=1$Z3JhbnRkIHRlc3Qgc2FsdA$ifmQnHnXSTjghonp5iMkJw7eVdgIWtl3MRnig9wYozM",
	"16 GiB of memory": "$argon2id$v=19$m=16777216,t=1,p=1$Z3JhbnRkIHRlc3Qgc2FsdA$ifmQnHnXSTjghonp5iMkJw7eVdgIWtl3MRnig9wYozM",
	"4 billion passes": "$argon2id$v=19$m=64,t=4294967295,p=1$Z3JhbnRkIHRlc3Qgc2FsdA$ifmQnHnXSTjghonp5iMkJw7eVdgIWtl3MRnig9wYozM",
	"bcrypt cost 31":   "$2b$31$46T/sLwQQznq6OZcFfXRDurradZ/lkoZebIxkv22S04whfexXqmUO",
	"broken bcrypt":    "$2b$05$46T/sLwQQznq6OZcFfX*Dur*adZ/lkoZebIxkv22S04whfexXqmUO",
	"truncated":        "$argon2id$v=19$m=64,t=2,p=1$Z3JhbnRkIHRlc3Qgc2FsdA$",
}

func TestNobodysHashCostsOneOfTheConfiguredCostAndIsNeverOK(t *testing.T) {
	for name, encoded := range nobodys {
		h := newHasher(t, Params{Memory: 96, Time: 3, Threads: 2})
		var costs []cost
		h.derive = func(_, _ []byte, time, memory uint32, threads uint8, n uint32) []byte {
			costs = append(costs, cost{memory: memory, time: time, threads: threads})
			return make([]byte, n) // equals the dummy hash; such a match must not count
		}
		if got := mustVerify(t, h, encoded, "secret123"); got != (Result{}) {
			t.Errorf("%s: %+v", name, got)
		}
		if want := []cost{{memory: 96, time: 3, threads: 2}}; !slices.Equal(costs, want) {
			t.Errorf("%s: hashed with %v, want %v", name, costs, want)
		}
	}
}

func TestUnknownUserCostsWhatAWrongPasswordCosts(t *testing.T) {
	h := newHasher(t, Params{Memory: 96, Time: 3, Threads: 2})
	known := mustHash(t, h, "secret123")
	work := func(encoded, password string) (calls []string) {
		derive := h.derive
		defer func() { h.derive = derive }()
		h.derive = func(password, salt []byte, time, memory uint32, threads uint8, n uint32) []byte {
			calls = append(calls, fmt.Sprintf("%q under %d bytes: m=%d t=%d p=%d, %d bytes", password, len(salt), memory, time, threads, n))
			return derive(password, salt, time, memory, threads, n)
		}
		if got := mustVerify(t, h, encoded, password); got != (Result{}) {
			t.Errorf("a wrong password: %+v", got)
		}
		return calls
	}
	for password, calls := range map[string]int{"wrong password": 1, "wrong passe\u0301": 2} { // the second is tried prepared and as sent
		t.Run("PW-OWASP-authn-01 the same work", func(t *testing.T) {
			if known, unknown := work(known, password), work("", password); len(known) != calls || !slices.Equal(known, unknown) {
				t.Errorf("a known user costs %q, an unknown one %q", known, unknown)
			}
		})
	}
}

func TestFloodOfHashesIsBoundedInMemory(t *testing.T) {
	t.Run("PW-OWASP-storage-04 64 sign-ins at once take no more memory than four times the slots", func(t *testing.T) {
		h := newHasher(t, Params{Time: 1, Slots: 2, Queue: 64}) // the duration doesn't matter here
		runtime.GC()
		before, peak := heap(), uint64(0)
		done := make(chan struct{})
		var sampler, logins sync.WaitGroup
		sampler.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(2 * time.Millisecond):
					peak = max(peak, heap())
				}
			}
		})
		for range 64 {
			logins.Go(func() {
				if _, err := h.Verify(context.WithoutCancel(t.Context()), "", "secret123"); err != nil {
					t.Error(err)
				}
			})
		}
		logins.Wait()
		close(done)
		sampler.Wait()
		grown := (int64(peak) - int64(before)) >> 20
		t.Logf("peak: %d MiB more than before", grown) // without a bound: 64 × 19 MiB = 1.2 GiB
		// Two slots of 19 MiB, and what the garbage collector hasn't freed yet.
		if grown > 4*2*19 {
			t.Errorf("the heap grew by %d MiB", grown)
		}
	})
}

// heap returns the bytes of the heap that hold objects or will.
func heap() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() + s[1].Value.Uint64()
}

func TestUnacceptablePasswords(t *testing.T) {
	h := newHasher(t, cheap)
	encoded := mustHash(t, h, "secret123")
	h.derive = func(_, _ []byte, _, _ uint32, _ uint8, _ uint32) []byte {
		t.Error("hashed")
		return nil
	}
	for name, password := range map[string]string{
		"empty":            "",
		"NUL at the end":   "secret123\x00",
		"NUL":              "secret\x00123",
		"tab":              "secret\t123",
		"line feed":        "secret123\n",
		"delete":           "secret\x7f123",
		"not UTF-8":        "secret\xff123",
		"cut off UTF-8":    "secret123\xc3",
		"surrogate":        "secret\xed\xa0\x80",
		"1025 bytes":       strings.Repeat("a", 1025),
		"unassigned":       "secret\u0378123",
		"soft hyphen":      "secret\u00ad123",
		"lone zero joiner": "secret\u200d123",
	} {
		if _, err := h.Hash(t.Context(), password); !errors.Is(err, ErrPassword) {
			t.Errorf("%s: Hash = %v, want ErrPassword", name, err)
		} else if len(password) > 3 && strings.Contains(err.Error(), password) {
			t.Errorf("%s: the error holds the password", name)
		}
		for _, e := range []string{encoded, "", "$2b$05$46T/sLwQQznq6OZcFfXRDurradZ/lkoZebIxkv22S04whfexXqmUO"} {
			if got, err := h.Verify(t.Context(), e, password); err != nil || got != (Result{}) {
				t.Errorf("%s: Verify = %+v, %v", name, got, err)
			}
		}
	}
}
