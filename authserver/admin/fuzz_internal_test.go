package admin

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// If decodeObject accepts an object, package json reads the same from it, and
// each member is there once, with its exact name and type.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"text":"x","claim":true,"number":60,"list":["a","b"]}`, `{"text":null}`, `{"text":"a","text":"b"}`, `{"Text":"a"}`,
		`{"text":"\ud800"}`, `{"list":[null]}`, `{"number":1e2}`, `{"number":1.0}`, `{"claim":1}`, `[]`, `{}{}`, `{"text":"a"`, "{\"text\":\"\xff\"}", `{"x":{"y":[]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var text *string
		var claim *bool
		var number *int64
		var list *[]string
		if err := decodeObject(body, members{"text": &text, "claim": &claim, "number": &number, "list": &list}); err != nil {
			if p := asProblem(err); p.status != http.StatusBadRequest {
				t.Errorf("refused with %d", p.status)
			}
			return
		}
		var all map[string]json.RawMessage
		if err := json.Unmarshal(body, &all); err != nil {
			t.Fatalf("%q was taken: %v", body, err)
		}
		taken := map[string]bool{"text": text != nil, "claim": claim != nil, "number": number != nil, "list": list != nil}
		for name := range all {
			if !taken[name] {
				t.Errorf("%q was ignored", name)
			}
		}
		if n := countMembers(body); n != len(all) {
			t.Errorf("%d members, %d names", n, len(all))
		}
		for name := range maps.Keys(taken) {
			if _, there := all[name]; taken[name] && !there {
				t.Errorf("%q was made up", name)
			}
		}
		if list != nil && slices.Contains(*list, "") && !strings.Contains(string(all["list"]), `""`) {
			t.Errorf("a text was made up in %s", all["list"])
		}
	})
}

// countMembers counts all members of the object, repeated names included.
func countMembers(object []byte) (n int) {
	d := json.NewDecoder(bytes.NewReader(object))
	d.Token()
	for ; d.More(); n++ {
		nextMember(d)
	}
	return n
}

// Whatever If-Match holds, a tag matches only if the field has the whole tag,
// not as a weak one.
func FuzzIfMatch(f *testing.F) {
	const tag = `"abc-1"`
	for _, seed := range []string{tag, "*", "W/" + tag, `"x", ` + tag, `"x,` + tag, `"abc`, ",", ` , "a" ,` + tag, "abc-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, condition string) {
		r := &http.Request{Header: http.Header{"If-Match": {condition}}}
		yes := matches(r, tag)
		if matches(r, "") {
			t.Errorf("%q matches what isn't there", condition)
		}
		if strings.Trim(condition, " \t") == "*" {
			if !yes {
				t.Errorf("%q doesn't match", condition)
			}
			return
		}
		at := strings.Index(condition, tag)
		if yes && (at < 0 || at >= 2 && strings.Count(condition, tag) == 1 && condition[at-2:at] == "W/") {
			t.Errorf("%q matches", condition)
		}
	})
}

// A cursor leads back to its own position, and only in its own list.
func FuzzCursor(f *testing.F) {
	f.Add("alice")
	f.Add("")
	f.Add("a\x00b")
	f.Fuzz(func(t *testing.T, position string) {
		cursor := newCursor("users", position)
		got, ok := parseCursor("users", cursor)
		if valid := strings.ToValidUTF8(position, "") == position; ok != valid || ok && got != position {
			t.Errorf("%q comes back as %q, %t", position, got, ok)
		}
		if _, ok := parseCursor("clients", cursor); ok {
			t.Error("another list takes it")
		}
		if back, ok := parseCursor("users", position); ok && newCursor("users", back) != position {
			t.Errorf("%q is two cursors", position)
		}
	})
}
