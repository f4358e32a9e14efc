package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The lines of the Markdown file between which the table stands.
const (
	tableBegin = "<!-- written by go run . -write -->\n"
	tableEnd   = "<!-- end -->"
)

// report prints the table, and writes it into the file of -write.
func report(o options, cells []load, results map[cell][]sample) error {
	return place(o.write, tableText(o, cells, results))
}

// place prints the table, and puts it into the Markdown file, unless that is "".
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

func tableText(o options, cells []load, results map[cell][]sample) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s, %s, %d processors, %s, %d connections, %d rounds of %s.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.NumCPU(), processor(), o.connections, o.rounds, o.cell)
	fmt.Fprintln(&b, "| endpoint | server | requests/s | × bare (spread) | p50 | p99 | CPU a request | RSS |")
	fmt.Fprintln(&b, "|---|---|--:|--:|--:|--:|--:|--:|")
	for _, endpoint := range endpoints(cells) {
		base := baseline(endpoint, cells)
		for _, c := range cells {
			if s := results[c.cell]; c.endpoint == endpoint && len(s) > 0 {
				fmt.Fprintln(&b, row(c.cell, s, results[base]))
			}
		}
	}
	return b.String() + "\n"
}

// row shows the medians, and the median of the ratios that the rounds gave with
// the smallest and the largest.
func row(c cell, s, base []sample) string {
	ratio := "–"
	if len(base) > 0 {
		var ratios []float64
		for i := range s {
			ratios = append(ratios, s[i].rate/base[i].rate)
		}
		slices.Sort(ratios)
		ratio = fmt.Sprintf("%.2f (%.2f–%.2f)", ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])
	}
	return fmt.Sprintf("| %s | %s | %.0f | %s | %.1f ms | %.1f ms | %.0f µs | %d MiB |", c.endpoint, c.server,
		median(s, func(s sample) float64 { return s.rate }), ratio,
		median(s, func(s sample) float64 { return s.p50.Seconds() * 1e3 }),
		median(s, func(s sample) float64 { return s.p99.Seconds() * 1e3 }),
		median(s, func(s sample) float64 { return s.cpu.Seconds() * 1e6 }),
		median(s, func(s sample) int { return s.resident }))
}

func median[T cmp.Ordered](samples []sample, of func(sample) T) T {
	var values []T
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func endpoints(cells []load) []string {
	var all []string
	for _, c := range cells {
		if !slices.Contains(all, c.endpoint) {
			all = append(all, c.endpoint)
		}
	}
	return all
}

// baseline is what the endpoint's other servers are compared with.
func baseline(endpoint string, cells []load) cell {
	for _, name := range []string{"bare", "argon2id alone"} {
		if c := (cell{endpoint, name}); slices.ContainsFunc(cells, func(l load) bool { return l.cell == c }) {
			return c
		}
	}
	return cell{}
}

// processor is the model's name.
func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
