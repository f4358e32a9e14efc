package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// flat is how much the median latency may grow from the smallest size to any other.
const flat = 1.2

// text returns a table for each kind of store.
func (s *scale) text() string {
	var b strings.Builder
	for _, kind := range []string{"Redis", "SQLite"} {
		var stages []*stage
		for _, st := range s.stages {
			if st.kind == kind {
				stages = append(stages, st)
			}
		}
		if len(stages) > 0 {
			table(&b, kind, stages)
		}
	}
	if len(s.leftOut) > 0 {
		fmt.Fprintf(&b, "Left out for want of memory: %s.\n\n", strings.Join(s.leftOut, ", "))
	}
	return b.String()
}

// table writes the median and the 99th percentile of the latency of each operation,
// and the ratio of the median to that of the smallest size.
func table(b *strings.Builder, kind string, stages []*stage) {
	row := func(name string, of func(*stage) string) {
		fmt.Fprintf(b, "| %s |", name)
		for _, st := range stages {
			fmt.Fprintf(b, " %s |", of(st))
		}
		fmt.Fprintln(b)
	}
	row("live grants in "+kind, func(st *stage) string { return grouped(st.grants) })
	fmt.Fprintln(b, "|---|"+strings.Repeat("--:|", len(stages)))
	var grown []string
	for _, op := range operations {
		row(op.name, func(st *stage) string {
			text := st.latency(op.name)
			if st == stages[0] {
				return text
			}
			s := st.against(op.name, stages[0])
			if s.middle > flat {
				grown = append(grown, fmt.Sprintf("%s at %s (%.2f)", op.name, grouped(st.grants), s.middle))
			}
			return text + "<br>× " + s.String()
		})
	}
	if stages[0].redis != nil {
		for _, op := range operations {
			what, _, _ := strings.Cut(op.name, ",")
			row("Redis's CPU, "+what, func(st *stage) string {
				return fmt.Sprintf("%.0f µs", microseconds(st.spent[op.name])/float64(len(st.took[op.name])))
			})
		}
	}
	row("bytes a grant, indexes included", func(st *stage) string { return strconv.FormatInt(st.bytes, 10) })
	row("RSS of the process that has them", func(st *stage) string { return fmt.Sprintf("%d MiB", st.resident>>20) })
	row("filling", func(st *stage) string {
		return fmt.Sprintf("%s (%.0f a second)", st.filled.Round(100*time.Millisecond), float64(st.grants)/st.filled.Seconds())
	})
	row("sweep of all", func(st *stage) string { return st.swept })
	fmt.Fprintf(b, "\nTarget: each median at most %g × that of the smallest size: %s", flat, verdict(len(grown) == 0))
	if len(grown) > 0 {
		fmt.Fprintf(b, ": %s", strings.Join(grown, "; "))
	}
	fmt.Fprint(b, ".\n\n")
}

// latency returns the median of the rounds' medians, and the 99th percentile of all
// calls.
func (st *stage) latency(operation string) string {
	var medians []float64
	var all []time.Duration
	for _, round := range st.took[operation] {
		medians = append(medians, quantile(round, 0.5).Seconds()*1e3)
		all = append(all, round...)
	}
	return fmt.Sprintf("%.2f ms, p99 %.1f ms", spanOf(medians).middle, quantile(all, 0.99).Seconds()*1e3)
}

// against returns the ratios between the stage's median and another's, over the rounds.
func (st *stage) against(operation string, other *stage) span {
	var ratios []float64
	for i, round := range st.took[operation] {
		ratios = append(ratios, float64(quantile(round, 0.5))/float64(quantile(other.took[operation][i], 0.5)))
	}
	return spanOf(ratios)
}

func quantile(d []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[int(q*float64(len(sorted)-1))]
}

// grouped returns 1000000 as 1,000,000.
func grouped(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
