package storage_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/storage"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func TestATargetIsRoundedUpToMilliseconds(t *testing.T) {
	for before, want := range map[time.Time]time.Time{
		{}:                                     {},
		noon.Add(-time.Hour):                   noon.Add(-time.Hour),
		noon.Add(-time.Hour + 1):               noon.Add(-time.Hour + time.Millisecond),
		noon.Add(-time.Hour + 999_999):         noon.Add(-time.Hour + time.Millisecond),
		noon.Add(-1):                           noon,
		noon:                                   {},
		noon.Add(time.Nanosecond):              {},
		noon.AddDate(5000, 0, 0):               {},
		noon.AddDate(-1000, 0, 0):              time.Unix(0, 0).UTC(),
		noon.In(time.FixedZone("", 7200)):      {},
		noon.Add(-2).In(time.FixedZone("", 1)): noon,
	} {
		got := storage.Target{All: true, Before: before}.Rounded(noon)
		if got != (storage.Target{All: true, Before: want}) {
			t.Errorf("%v: got %v, want %v", before, got.Before, want)
		}
	}
}

func TestWhatATargetsBeforeLeavesOut(t *testing.T) {
	at := storage.Target{All: true, Before: noon}
	if at.Since(noon.Add(-time.Millisecond)) || !at.Since(noon) || at.Whose().Since(noon) {
		t.Error("it isn't what was created from then on")
	}
}

func TestSweptAddsUp(t *testing.T) {
	a := storage.Swept{Grants: 2, Oldest: noon, Newest: noon.Add(time.Hour)}
	b := storage.Swept{Grants: 3, Oldest: noon.Add(-time.Hour), Newest: noon}
	want := storage.Swept{Grants: 5, Oldest: noon.Add(-time.Hour), Newest: noon.Add(time.Hour)}
	for _, got := range []storage.Swept{a.And(b), b.And(a), a.And(storage.Swept{}).And(b), storage.Swept{}.And(b).And(a)} {
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	}
}

func TestReceiptIDsAreInOrderOfTime(t *testing.T) {
	var ids []string
	for _, at := range []time.Time{noon.AddDate(3000, 0, 0), noon.Add(time.Hour), noon.Add(time.Millisecond), noon, noon.AddDate(-50, 0, 0)} {
		id := storage.NewReceiptID(at)
		if !storage.ValidReceiptID(id) || len(id) != 30 {
			t.Errorf("%s is no id", id)
		}
		ids = append(ids, id)
		if before := storage.ReceiptsBefore(at); before < id || storage.ReceiptsBefore(at.Add(time.Millisecond)) > id {
			t.Errorf("%s isn't at the place of %v: %s", id, at, before)
		}
	}
	if !slices.IsSorted(ids) {
		t.Errorf("later ids are not less: %q", ids)
	}
	for _, text := range []string{
		"", "rev_", "rev_" + strings.Repeat("0", 25), "rev_" + strings.Repeat("0", 27), "rev_" + strings.Repeat("v", 26),
		"rev_" + strings.Repeat("0", 25) + "\n", "rev_" + strings.Repeat("0", 25) + "W", "REV_" + strings.Repeat("0", 26), strings.Repeat("0", 26),
	} {
		if storage.ValidReceiptID(text) {
			t.Errorf("%q is an id", text)
		}
	}
}
