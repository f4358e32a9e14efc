package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// row is one requirement of a table.
type row struct{ id, document, section, level, role, endpoint, requirement, howToTest string }

// table holds the requirements of one document, in the order of its sections.
type table struct {
	document string
	rows     []row
}

var (
	levels = []string{"MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY"}
	roles  = []string{"AS", "RS", "AS+RS"}
	header = []string{"id", "rfc", "section", "level", "role", "endpoint", "requirement", "how_to_test"}
)

// The reasons why a requirement may lack a test. A departure may have a test, which
// pins it.
const (
	departure     = "departure"
	notOffered    = "not offered"
	notApplicable = "not applicable"
)

// status is a line of status.tsv: why a requirement isn't shown by a test.
type status struct{ kind, reason string }

// readTables reads all tables of a directory, in the order of their names.
func readTables(dir string) ([]table, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.tsv"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("no tables in %s", dir)
	}
	var tables []table
	seen := map[string]bool{}
	for _, path := range paths {
		lines, err := readTSV(path, header)
		if err != nil {
			return nil, err
		}
		var t table
		for _, c := range lines {
			r := row{c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]}
			if seen[r.id] || !slices.Equal(idsIn(r.id), []string{r.id}) {
				return nil, fmt.Errorf("%s: the id %q is malformed or there twice", path, r.id)
			}
			if !slices.Contains(levels, r.level) || !slices.Contains(roles, r.role) {
				return nil, fmt.Errorf("%s: %s has the level %q and the role %q", path, r.id, r.level, r.role)
			}
			seen[r.id] = true
			t.document = r.document
			t.rows = append(t.rows, r)
		}
		tables = append(tables, t)
	}
	return tables, nil
}

func readStatuses(path string) (map[string]status, error) {
	lines, err := readTSV(path, []string{"id", "status", "reason"})
	if err != nil {
		return nil, err
	}
	statuses := map[string]status{}
	for _, c := range lines {
		if _, twice := statuses[c[0]]; twice {
			return nil, fmt.Errorf("%s: %s is there twice", path, c[0])
		}
		if !slices.Contains([]string{departure, notOffered, notApplicable}, c[1]) || c[2] == "" {
			return nil, fmt.Errorf("%s: %s has the status %q and the reason %q", path, c[0], c[1], c[2])
		}
		statuses[c[0]] = status{kind: c[1], reason: c[2]}
	}
	return statuses, nil
}

// readTSV reads a file of tab-separated cells whose first line is the header.
func readTSV(path string, header []string) (lines [][]string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		cells := strings.Split(line, "\t")
		if len(cells) != len(header) || i == 0 && !slices.Equal(cells, header) {
			return nil, fmt.Errorf("%s:%d: want the cells %q", path, i+1, header)
		}
		if i > 0 {
			lines = append(lines, cells)
		}
	}
	return lines, nil
}
