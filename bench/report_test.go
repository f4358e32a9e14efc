package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// run returns the outcome of rounds in which the servers of the endpoint
// reached those rates.
func run(endpoint string, rates map[string][]float64) outcome {
	out := outcome{results: map[cell][]sample{}}
	for name, values := range rates {
		c := cell{endpoint, name}
		out.loads = append(out.loads, load{cell: c, on: &server{name: name}})
		for _, rate := range values {
			out.results[c] = append(out.results[c], sample{rate: rate, cpu: time.Duration(1e9 / rate)})
		}
	}
	return out
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	out := run(me, map[string][]float64{"grantd": {100, 300, 600}, oneGet: {100, 200, 300}})
	got, ok := out.against(cell{me, "grantd"}, oneGet)
	if want := (span{1.5, 1, 2}); !ok || got != want {
		t.Errorf("against = %v, %v, want %v", got, ok, want)
	}
	if _, ok := out.against(cell{me, "grantd"}, stockOwn); ok {
		t.Error("there is a ratio to a server that wasn't measured")
	}
}

func TestTargetsGoByTheMedian(t *testing.T) {
	for name, tt := range map[string]struct {
		grantd []float64
		want   string
	}{
		"met though a round wasn't":    {[]float64{90, 120, 150}, "| 1.2 | 1.20 (0.90–1.50) | 1.20 (0.90–1.50) | met |"},
		"not met though one round was": {[]float64{90, 119, 150}, "| 1.2 | 1.19 (0.90–1.50) | 1.19 (0.90–1.50) | **not met** |"},
	} {
		t.Run(name, func(t *testing.T) {
			text := targetText(run(me, map[string][]float64{"grantd": tt.grantd, oneGet: {100, 100, 100}}))
			if !strings.Contains(text, tt.want) {
				t.Errorf("%s\nlacks %q", text, tt.want)
			}
		})
	}
}

func TestAnswersHaveToBeTheRightOnes(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		wrk    string
		good   bool
	}{
		"all good":             {200, "10 requests in 1.00s", true},
		"one bad":              {200, "10 requests in 1.00s\n  Non-2xx or 3xx responses: 1", false},
		"all refused":          {401, "10 requests in 1.00s\n  Non-2xx or 3xx responses: 10", true},
		"one taken":            {401, "10 requests in 1.00s\n  Non-2xx or 3xx responses: 9", false},
		"none":                 {200, "0 requests in 1.00s", false},
		"a connection is lost": {200, "10 requests in 1.00s\n  Socket errors: connect 0, read 1, write 0, timeout 0", false},
	} {
		t.Run(name, func(t *testing.T) {
			err := load{status: tt.status}.check(number(countLine, []byte(tt.wrk)), []byte(tt.wrk))
			if (err == nil) != tt.good {
				t.Errorf("check = %v", err)
			}
		})
	}
}

func TestTheChartIsWellFormed(t *testing.T) {
	text := string(chart(run(me, map[string][]float64{"grantd": {100}, "<&>": {50}})))
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
	}
	if !strings.Contains(text, "&lt;&amp;&gt;") {
		t.Errorf("a server is missing:\n%s", text)
	}
}

func TestGrowthIsOfTheSameRound(t *testing.T) {
	rounds := func(ms ...int) map[string][][]time.Duration {
		var all [][]time.Duration
		for _, n := range ms {
			all = append(all, []time.Duration{time.Duration(n) * time.Millisecond})
		}
		return map[string][][]time.Duration{validating: all}
	}
	small, large := &stage{took: rounds(1, 2, 4)}, &stage{took: rounds(1, 3, 8)}
	if got, want := large.against(validating, small), (span{1.5, 1, 2}); got != want {
		t.Errorf("against = %v, want %v", got, want)
	}
}

func TestSizes(t *testing.T) {
	var s sizes
	if err := s.Set("1000000,10000"); err != nil || s.String() != "10000,1000000" {
		t.Errorf("Set = %v, %v", err, s)
	}
	for _, bad := range []string{"", "10", "1e6", "10000,,20000"} {
		if s.Set(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if got := grouped(10_000_000); got != "10,000,000" {
		t.Errorf("grouped = %s", got)
	}
}
