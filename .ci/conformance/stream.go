package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// test is a test or a subtest and how it ended: pass, fail, skip or "no end".
type test struct{ pkg, name, result string }

// function is the name of the test function that the subtest belongs to.
func (t test) function() string {
	name, _, _ := strings.Cut(t.name, "/")
	return name
}

// readStream reads the output of go test -json. It returns the tests, sorted,
// and a sentence for every package that didn't build or failed.
func readStream(stream io.Reader) (tests []test, failed []string, err error) {
	type key struct{ pkg, name string }
	results := map[key]string{}
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e struct{ Action, Package, Test string }
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		switch {
		case e.Test == "" && e.Action == "fail":
			failed = append(failed, "the package "+e.Package+" failed")
		case e.Test == "":
		case e.Action == "run":
			results[key{e.Package, e.Test}] = "no end"
		case e.Action == "pass" || e.Action == "fail" || e.Action == "skip":
			results[key{e.Package, e.Test}] = e.Action
		}
	}
	if err := lines.Err(); err != nil {
		return nil, nil, err
	}
	if len(results) == 0 {
		return nil, nil, fmt.Errorf("there is no test in the input: run make conformance")
	}
	for k, result := range results {
		tests = append(tests, test{k.pkg, k.name, result})
	}
	slices.SortFunc(tests, func(a, b test) int {
		return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.name, b.name))
	})
	slices.Sort(failed)
	return tests, failed, nil
}

var idLike = regexp.MustCompile(`^([0-9]{4}|PW)-[0-9A-Z]`)

// idsIn returns the ids in the name of a test. It returns everything that looks like
// an id, so that mistyped ids are found too.
func idsIn(name string) (ids []string) {
	for word := range strings.FieldsFuncSeq(name, func(r rune) bool {
		return !strings.ContainsRune("-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", r)
	}) {
		word = strings.Trim(word, "-.")
		if idLike.MatchString(word) && !slices.Contains(ids, word) {
			ids = append(ids, word)
		}
	}
	return ids
}

var testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w*)\(`)

// testFiles returns the file of every test function, as a path below root. The keys
// are package path and function name. Functions that aren't in a file of their
// package are left out.
func testFiles(root string, tests []test) (map[string]string, error) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, err
	}
	line, _, _ := strings.Cut(string(mod), "\n")
	module := strings.TrimPrefix(line, "module ")
	files := map[string]string{}
	for i, t := range tests {
		if i > 0 && tests[i-1].pkg == t.pkg {
			continue
		}
		dir := strings.TrimPrefix(strings.TrimPrefix(t.pkg, module), "/")
		paths, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			source, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			for _, m := range testFunction.FindAllSubmatch(source, -1) {
				files[t.pkg+"."+string(m[1])] = dir + "/" + filepath.Base(path)
			}
		}
	}
	return files, nil
}
