package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// --action takes every action that there is.
func TestAuditActionsAreAllThereAre(t *testing.T) {
	source, err := os.ReadFile(filepath.Join("..", "..", "storage", "audit.go"))
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	for _, m := range regexp.MustCompile(`\bAct\w+ +AuditAction = "([^"]+)"`).FindAllStringSubmatch(string(source), -1) {
		declared = append(declared, m[1])
	}
	offered := slices.Sorted(slices.Values(auditActions))
	if slices.Sort(declared); !slices.Equal(declared, offered) {
		t.Errorf("storage has %q, --action takes %q", declared, offered)
	}
}
