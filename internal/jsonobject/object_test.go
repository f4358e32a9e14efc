package jsonobject_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/grantd/grantd/internal/jsonobject"
)

type members struct {
	First  string `json:"first"`
	Maybe  string `json:"maybe,omitempty"`
	Number int64  `json:"number"`
	Truth  bool   `json:"truth"`
	Texts  any    `json:"texts,omitempty"`
	Last   string `json:"last"`
}

func written(m members, texts []string) string {
	o := jsonobject.Begin(nil)
	o.Text("first", m.First)
	o.TextIfAny("maybe", m.Maybe)
	o.Number("number", m.Number)
	o.Truth("truth", m.Truth)
	o.Texts("texts", texts)
	o.Text("last", m.Last)
	return string(o.End())
}

// For any texts the object is the same as from package json.
func TestAnObjectIsWhatPackageJSONWrites(t *testing.T) {
	texts := rapid.OneOf(rapid.StringN(0, 20, -1), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"", `a"b`, `a\b`, "<script>&", "\u2028", "\x00", "\x7f", "\xff", "ä", "plain"}))
	rapid.Check(t, func(t *rapid.T) {
		m := members{
			First: texts.Draw(t, "first"), Maybe: texts.Draw(t, "maybe"), Number: rapid.Int64().Draw(t, "number"),
			Truth: rapid.Bool().Draw(t, "truth"), Last: texts.Draw(t, "last"),
		}
		several := rapid.SliceOfN(texts, 0, 3).Draw(t, "texts")
		switch len(several) {
		case 0:
		case 1:
			m.Texts = several[0]
		default:
			m.Texts = several
		}
		want, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if got := written(m, several); got != string(want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestAnObjectBehindOtherBytes(t *testing.T) {
	o := jsonobject.Begin([]byte("x{"))
	if got := string(o.End()); got != "x{{}" {
		t.Errorf("without members: %s", got)
	}
	o = jsonobject.Begin([]byte("x"))
	o.Text("a", "1")
	if got := string(o.End()); got != `x{"a":"1"}` {
		t.Errorf("with one: %s", got)
	}
}

func TestPlainTextsCostOneAllocation(t *testing.T) {
	m := members{First: strings.Repeat("a", 20), Last: "b"}
	if n := testing.AllocsPerRun(100, func() {
		o := jsonobject.Begin(make([]byte, 0, 128))
		o.Text("first", m.First)
		o.Number("number", 1)
		sink = o.End()
	}); n != 1 {
		t.Errorf("%v allocations", n)
	}
}

var sink []byte
