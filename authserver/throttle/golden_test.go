package throttle

import (
	"bytes"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testdata/stored has a record in its first stored form and is never changed:
// an upgrade must not make a throttle forget.
func TestAStoredRecordIsRead(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) int64 { return now.Add(d).UnixMilli() }
	want := &record{
		Networks: []*entry{
			{Network: netip.MustParsePrefix("203.0.113.9/32"), Failures: 4, Last: at(-time.Second), Wrong: []mark{{1 << 63, at(time.Minute)}}, Places: []mark{{7, at(time.Second)}}},
			{Network: netip.MustParsePrefix("2001:db8::/64"), Known: at(time.Hour)},
			{Failures: 1, Last: at(-time.Second)},
		},
		Full: at(time.Minute),
	}
	text, err := os.ReadFile("testdata/stored/guesses.json")
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.TrimSpace(text)
	if diff := cmp.Diff(want, decode(text, now), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if written, _ := want.encode(); !bytes.Equal(written, text) {
		t.Errorf("it is written as %s now", written)
	}
}
