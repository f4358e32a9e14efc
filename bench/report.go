package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The lines before and after the table in the Markdown file.
const (
	tableBegin = "<!-- written by go run . -write -->\n"
	tableEnd   = "<!-- end -->"
)

// chartFile is the name of the chart, which is beside the Markdown file.
const chartFile = "chart.svg"

// outcome is the result of a run.
type outcome struct {
	loads   []load
	results map[cell][]sample
	memory  memory
	took    time.Duration
}

// report prints the tables. With -write it writes them into the Markdown file, and the
// chart beside it.
func report(o options, m machine, out outcome) error {
	if len(out.loads) == 0 {
		return errors.New("no endpoint has such a name")
	}
	heading := fmt.Sprintf("\n%s.\n%d rounds of %s, %d connections; of the password grant %s and %d connections. The run took %s.\n\n",
		m.text, o.rounds, o.cell, o.connections, 3*o.cell, hashConnections, out.took.Round(time.Second))
	text := heading + targetText(out) + out.table() + out.memory.text()
	if o.write != "" {
		if err := os.WriteFile(filepath.Join(filepath.Dir(o.write), chartFile), chart(out), 0o644); err != nil {
			return err
		}
	}
	return place(o.write, text)
}

// place prints the text, and puts it into the Markdown file, unless that is "".
func place(file, table string) error {
	fmt.Print(table)
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := bytes.Index(text, []byte(tableBegin)), bytes.Index(text, []byte(tableEnd))
	if begin < 0 || end < begin {
		return fmt.Errorf("%s has no place for the table", file)
	}
	text = slices.Concat(text[:begin], []byte(tableBegin+table), text[end:])
	return os.WriteFile(file, text, 0o644)
}

func (out outcome) table() string {
	var b strings.Builder
	fmt.Fprintln(&b, "| endpoint | server | requests/s | × no store | × bare | × stock | p50 | p99 | CPU a request | and of Redis | RSS |")
	fmt.Fprintln(&b, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, l := range out.loads {
		fmt.Fprintln(&b, out.row(l.cell))
	}
	return b.String() + "\n"
}

// row shows the medians of a cell.
func (out outcome) row(c cell) string {
	s := out.results[c]
	return fmt.Sprintf("| %s | %s | %.0f | %s | %s | %s | %s | %s | %.0f µs | %.0f µs | %d MiB |", c.endpoint, c.server,
		median(s, rateOf),
		out.ratio(c, noStore), out.ratio(c, bareOf[c.endpoint]), out.ratio(c, stockOwn),
		milliseconds(median(s, func(s sample) time.Duration { return s.p50 })),
		milliseconds(median(s, func(s sample) time.Duration { return s.p99 })),
		microseconds(median(s, func(s sample) time.Duration { return s.cpu })),
		microseconds(median(s, func(s sample) time.Duration { return s.redis })),
		median(s, func(s sample) int64 { return s.resident })>>20)
}

func rateOf(s sample) float64 { return s.rate }

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1e3) }

func microseconds(d time.Duration) float64 { return d.Seconds() * 1e6 }

// span is the median, the smallest and the largest of some values.
type span struct{ middle, least, most float64 }

func (s span) String() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", s.middle, s.least, s.most) }

// spanOf returns the span of the values; there must be at least one.
func spanOf(values []float64) span {
	sorted := slices.Sorted(slices.Values(values))
	return span{sorted[len(sorted)/2], sorted[0], sorted[len(sorted)-1]}
}

// against returns the ratios between the throughput of a cell and that of another
// server, over the rounds.
func (out outcome) against(c cell, server string) (span, bool) {
	return out.ratios(c, server, func(of, than sample) float64 { return of.rate / than.rate })
}

// cheaper returns the ratios of the processor time for a request, Redis's included:
// how many requests the cell's server could answer in the time that the other takes
// for one. They vary less than those of against on a machine that others use too.
func (out outcome) cheaper(c cell, server string) (span, bool) {
	return out.ratios(c, server, func(of, than sample) float64 { return float64(than.cpu+than.redis) / float64(of.cpu+of.redis) })
}

func (out outcome) ratios(c cell, server string, ratio func(of, than sample) float64) (span, bool) {
	s, base := out.results[c], out.results[cell{c.endpoint, server}]
	if len(s) == 0 || len(base) == 0 {
		return span{}, false
	}
	var ratios []float64
	for i := range s {
		ratios = append(ratios, ratio(s[i], base[i]))
	}
	return spanOf(ratios), true
}

// ratio returns against as a text, "–" if the other server wasn't measured.
func (out outcome) ratio(c cell, server string) string {
	s, ok := out.against(c, server)
	switch {
	case !ok:
		return "–"
	case c.server == server:
		return "1"
	}
	return s.String()
}

func median[T cmp.Ordered](samples []sample, of func(sample) T) T {
	var values []T
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
