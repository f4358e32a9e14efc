package faults

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// The table is between these lines of the Markdown file.
const (
	tableBegin = "<!-- written by make faults -->\n"
	tableEnd   = "<!-- end -->"
)

// figures is the result of one scenario.
type figures struct {
	name               string
	clients            int
	answers            map[outcome]int
	longest            time.Duration // the longest answer of the whole scenario
	without            time.Duration // from the first failed answer to the last
	back               time.Duration // from the fault's end to the last failed answer
	refreshes, revoked int
}

var (
	tableMu sync.Mutex
	table   []figures
)

func keepFigures(f figures) {
	tableMu.Lock()
	defer tableMu.Unlock()
	table = append(table, f)
}

func (f figures) row() string {
	total := 0
	for _, n := range f.answers {
		total += n
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %d | %d | %d | %s | %s | %s | %d | %d |", f.name, f.clients, total,
		f.answers[granted], f.answers[refused], f.answers[unavailable], f.answers[silent], f.answers[wrong], f.answers[forgotten],
		shown(f.longest), shown(f.without), shown(f.back), f.refreshes, f.revoked)
}

func shown(d time.Duration) string {
	return fmt.Sprintf("%.2f s", d.Seconds())
}

func tableText() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s, %s, %d processors, %s.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.NumCPU(), processor())
	fmt.Fprintln(&b, "| fault | clients | answers | 200 | refused, rightly | 503 | none | wrong | forgotten | longest | without service | back after | refreshes | revocations |")
	fmt.Fprintln(&b, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, f := range table {
		fmt.Fprintln(&b, f.row())
	}
	return b.String() + "\n"
}

func replaceTable(file, table string) error {
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

// processor returns the name of the processor's model.
func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
