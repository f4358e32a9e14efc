package main

import (
	"fmt"
	"strings"
)

// target is a promise: how much faster than another server a cell's server has to be.
type target struct {
	cell
	than  string // the other server
	least float64
}

var targets = []target{
	{cell{me, "grantd"}, oneGet, 1.2},
	{cell{me, "grantd"}, stockOwn, 2},
	{cell{me, "grantd embedded"}, noStore, 0.7},
	{cell{refresh, "grantd"}, getSet, 1},
	{cell{refresh, "grantd"}, getSwap, 1},
	{cell{refresh, "grantd"}, stockOwn, 4},
	{cell{introspect, "grantd"}, oneGet, 0.9},
	{cell{password, "grantd"}, hashing, 0.95},
}

// mostBytes is how many bytes of Redis a live grant may take, without its indexes.
const mostBytes = 300

// targetText returns a table of the targets that the run measured.
func targetText(out outcome) string {
	var b strings.Builder
	fmt.Fprintln(&b, "| target | at least | measured (spread) | by CPU | |")
	fmt.Fprintln(&b, "|---|--:|--:|--:|---|")
	for _, t := range targets {
		if s, ok := out.against(t.cell, t.than); ok {
			cpu, _ := out.cheaper(t.cell, t.than)
			fmt.Fprintf(&b, "| %s: %s ÷ %s | %g | %s | %s | %s |\n", t.endpoint, t.server, t.than, t.least, s, cpu, verdict(s.middle >= t.least))
		}
	}
	if n := out.memory.alone("grantd"); n > 0 {
		fmt.Fprintf(&b, "| bytes of Redis a live grant, indexes apart | at most %d | %d | – | %s |\n", mostBytes, n, verdict(n <= mostBytes))
	}
	return b.String() + "\n"
}

// verdict tells whether a target was met.
func verdict(met bool) string {
	if met {
		return "met"
	}
	return "**not met**"
}
