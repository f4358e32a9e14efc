package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// trace has the tests that name each requirement, and the statuses of those without.
type trace struct {
	tables   []table
	rows     map[string]row    // by id
	statuses map[string]status // by id
	named    []test            // all tests that name a requirement
	tests    map[string][]test // by id, without the subtests of a test that names the id too
}

func newTrace(tables []table, statuses map[string]status, all []test) trace {
	t := trace{tables: tables, rows: map[string]row{}, statuses: statuses, tests: map[string][]test{}}
	for _, table := range tables {
		for _, r := range table.rows {
			t.rows[r.id] = r
		}
	}
	holds := map[string]bool{} // by package, test name and id
	for _, one := range all {
		ids := idsIn(one.name)
		if len(ids) > 0 {
			t.named = append(t.named, one)
		}
		for _, id := range ids {
			holds[one.pkg+" "+one.name+" "+id] = true
			if !insideAnother(one, id, holds) {
				t.tests[id] = append(t.tests[id], one)
			}
		}
	}
	return t
}

// insideAnother reports whether a test around this one names the id too. holds has
// it already, because a test comes before its subtests.
func insideAnother(t test, id string, holds map[string]bool) bool {
	for i, r := range t.name {
		if r == '/' && holds[t.pkg+" "+t.name[:i]+" "+id] {
			return true
		}
	}
	return false
}

// on returns the tests that count for a requirement on the page.
func (t trace) on(p page, r row) (tests []test) {
	for _, one := range t.tests[r.id] {
		if p.counts(one, r) {
			tests = append(tests, one)
		}
	}
	return tests
}

// outcome returns one of outcomes for a requirement on the page.
func (t trace) outcome(p page, r row) string {
	tests := t.on(p, r)
	for _, one := range tests {
		if one.result != "pass" {
			return "fail"
		}
	}
	if s, ok := t.statuses[r.id]; ok {
		return s.kind
	}
	if len(tests) == 0 {
		return "missing"
	}
	return "pass"
}

// problems returns the contradictions between the tables, the statuses and the tests,
// and the tests that didn't pass, each as a sentence.
func (t trace) problems() (problems []string) {
	for _, p := range pages {
		for _, table := range t.tables {
			for _, r := range p.rows(table) {
				if t.outcome(p, r) == "missing" {
					problems = append(problems, fmt.Sprintf("%s has neither a test nor a status (%s, %s)", r.id, p.path, r.level))
				}
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(t.statuses)) {
		s := t.statuses[id]
		if _, ok := t.rows[id]; !ok {
			problems = append(problems, fmt.Sprintf("status.tsv names %s, which no table has", id))
		}
		if s.kind != departure && len(t.tests[id]) > 0 {
			problems = append(problems, fmt.Sprintf("%s is %q in status.tsv, and %s tests it", id, s.kind, t.tests[id][0]))
		}
	}
	for _, one := range t.named {
		problems = append(problems, t.problemsOf(one)...)
	}
	return problems
}

func (t trace) problemsOf(one test) (problems []string) {
	switch one.result {
	case "pass":
	case "no end":
		problems = append(problems, one.String()+" didn't end")
	default:
		problems = append(problems, fmt.Sprintf("%s ended with %s", one, one.result))
	}
	for _, id := range idsIn(one.name) {
		if !slices.Contains(t.tests[id], one) {
			continue // the test around it names the id
		}
		if _, ok := t.rows[id]; !ok {
			problems = append(problems, fmt.Sprintf("%s names %s, which no table has", one, id))
		}
	}
	return problems
}

// String returns the name of the test with the last element of its package in front.
func (t test) String() string {
	return t.pkg[strings.LastIndexByte(t.pkg, '/')+1:] + "." + t.name
}
