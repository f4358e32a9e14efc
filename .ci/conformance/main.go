// Command conformance traces requirements to the tests that show them. It reads
// the output of go test -json, the tables in .ci/conformance/tables and the file
// .ci/conformance/status.tsv, and writes authserver/CONFORMANCE.md and
// resource/CONFORMANCE.md. With -check it writes nothing and says which pages
// are stale. Either way it exits with 1 when
//
//   - a requirement has neither a test nor a status,
//   - a test or a status names an id that no table has,
//   - a requirement has a test although its status says that it has none,
//   - a test that names a requirement failed, was skipped or didn't end,
//   - a package failed, or, with -check, a page is stale.
//
// The README beside this file says how to add a requirement, a test and a status.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	check := flag.Bool("check", false, "write nothing, say which pages are stale")
	flag.Parse()
	problems, err := run(".", os.Stdin, *check)
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, "conformance:", p)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
	}
	if err != nil || len(problems) > 0 {
		os.Exit(1)
	}
}

// run makes the pages of the module in the directory root from a test stream, and
// returns the problems, each as a sentence.
func run(root string, stream io.Reader, check bool) (problems []string, err error) {
	dir := filepath.Join(root, ".ci", "conformance")
	tables, err := readTables(filepath.Join(dir, "tables"))
	if err != nil {
		return nil, err
	}
	statuses, err := readStatuses(filepath.Join(dir, "status.tsv"))
	if err != nil {
		return nil, err
	}
	tests, failed, err := readStream(stream)
	if err != nil {
		return nil, err
	}
	files, err := testFiles(root, tests)
	if err != nil {
		return nil, err
	}
	t := newTrace(tables, statuses, tests)
	problems = append(failed, t.problems()...)
	for _, p := range pages {
		stale, err := put(filepath.Join(root, p.path), []byte(p.render(t, files)), check)
		if err != nil {
			return nil, err
		}
		if stale {
			problems = append(problems, p.path+" is stale: run make conformance and commit it")
		}
	}
	return problems, nil
}

// put writes the file. With check it only reports whether the file differs.
func put(path string, text []byte, check bool) (stale bool, err error) {
	if !check {
		return false, os.WriteFile(path, text, 0o644)
	}
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return false, err
	}
	return !bytes.Equal(old, text), nil
}
