package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command has a description and an example, which its help shows.
func TestEveryCommandHasAnExample(t *testing.T) {
	var look func(c *cobra.Command)
	seen := 0
	look = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			look(sub)
		}
		if c.HasSubCommands() {
			return
		}
		seen++
		if !strings.HasPrefix(c.Example, "  ") || !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s has the example %q", c.CommandPath(), c.Example)
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s is described as %q", c.CommandPath(), c.Short)
		}
		for line := range strings.Lines(c.Long) {
			if len(line) > 86 {
				t.Errorf("%s: a long line: %s", c.CommandPath(), line)
			}
		}
	}
	root := newRoot()
	look(root)
	if seen < 40 {
		t.Errorf("%d commands", seen)
	}
}
