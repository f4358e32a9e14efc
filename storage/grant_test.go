package storage_test

import (
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

func TestGrantIDs(t *testing.T) {
	t.Run("all grants of a user share the partition of the user", func(t *testing.T) {
		want := sha256.Sum256([]byte("u-alice"))
		ids := map[storage.GrantID]bool{}
		for range 1000 {
			id := storage.NewGrantID("u-alice")
			if id.Partition() != want[0] || id.Partition() != storage.UserPartition("u-alice") {
				t.Fatalf("partition %d, want %d", id.Partition(), want[0])
			}
			ids[id] = true
		}
		if len(ids) != 1000 {
			t.Errorf("%d distinct ids of 1000", len(ids))
		}
	})
	t.Run("grants without a user spread over all partitions", func(t *testing.T) {
		var seen [storage.Partitions]bool
		for range 10_000 { // the odds that one of 256 never comes are 10^-15
			seen[storage.NewGrantID("").Partition()] = true
		}
		if missing := slices.Index(seen[:], false); missing >= 0 {
			t.Errorf("none of 10,000 ids is in partition %d", missing)
		}
	})
	t.Run("users spread over the partitions", func(t *testing.T) {
		if storage.UserPartition("alice") == storage.UserPartition("bob") {
			t.Error("alice and bob share a partition; SHA-256 says 0x2b and 0x81")
		}
	})
}

func TestParseGrantID(t *testing.T) {
	for range 100 {
		id := storage.NewGrantID("")
		s := id.String()
		if got, err := storage.ParseGrantID(s); err != nil || got != id || len(s) != 22 {
			t.Fatalf("%q: %v, %v; want %v", s, got, err, id)
		}
	}
	const good = "AAAAAAAAAAAAAAAAAAAAAA"
	for name, s := range map[string]string{
		"empty":                    "",
		"one character short":      good[1:],
		"one character long":       good + "A",
		"padding":                  good + "==",
		"idle bits":                good[1:] + "B",
		"not base64url":            good[1:] + "+",
		"a line break at the end":  good + "\n",
		"a line break in it":       good[:10] + "\r\n" + good[10:],
		"a line break for a digit": good[:21] + "\n",
	} {
		if id, err := storage.ParseGrantID(s); err == nil {
			t.Errorf("%s: %q was read as %v", name, s, id)
		}
	}
	if _, err := storage.ParseGrantID(good); err != nil {
		t.Error(err)
	}
}

func TestDigestEqual(t *testing.T) {
	d := digest(1)
	if !d.Equal(d) {
		t.Error("a digest doesn't equal itself")
	}
	for i := range d {
		other := d
		other[i] ^= 0x80
		if d.Equal(other) || other.Equal(d) {
			t.Errorf("digests that differ in byte %d are equal", i)
		}
	}
	var none storage.Digest
	if none.Equal(none) || none.Equal(d) || d.Equal(none) {
		t.Error("the zero digest, of a token that was not issued, equals something")
	}
}

func TestExpiryIsTheLastUsefulInstant(t *testing.T) {
	at := func(hours int) time.Time { return signIn.Add(time.Duration(hours) * time.Hour) }
	for _, tt := range []struct {
		name                 string
		access, refresh, end time.Time
		want                 time.Time
	}{
		{"refresh token outlives access token", at(1), at(24), at(90), at(24)},
		{"access token outlives refresh token", at(30), at(24), at(90), at(30)},
		{"no refresh token", at(1), time.Time{}, at(90), at(1)},
		{"the end comes before the refresh token's", at(1), at(24), at(12), at(12)},
		{"the end comes before both", at(30), at(24), at(12), at(12)},
		{"all at once", at(1), at(1), at(1), at(1)},
	} {
		g := storage.Grant{AccessExpiry: tt.access, RefreshExpiry: tt.refresh, End: tt.end}
		if got := g.Expiry(); !got.Equal(tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
