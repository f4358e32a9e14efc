package resource_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// This package imports only the standard library and grantd's storage
// interfaces: no database, no toolkit.
func TestDependencies(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/grantd/grantd"
	want := []string{module + "/internal/jsonobject", module + "/internal/wellknown", module + "/resource", module + "/storage", module + "/storage/opaque"}
	if got := strings.Fields(string(out)); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("links %q, want %q", got, want)
	}
}
