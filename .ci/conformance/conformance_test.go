package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree is a module with one requirement of each role, all in order.
type tree struct {
	files  map[string]string
	stream []string
}

func newTree() *tree {
	row := func(cells ...string) string { return strings.Join(cells, "\t") + "\n" }
	return &tree{
		files: map[string]string{
			"go.mod":                     "module example.test/m\n\ngo 1.26\n",
			"authserver/token_test.go":   "package authserver\n\nfunc TestToken(t *testing.T) {}\n",
			"resource/guard_test.go":     "package resource\n\nfunc TestGuard(t *testing.T) {}\n",
			".ci/conformance/status.tsv": row("id", "status", "reason") + row("9999-1-04", "not offered", "There is none."),
			".ci/conformance/tables/a.tsv": row(header...) +
				row("9999-1-01", "RFC 9999", "1", "MUST", "AS", "token", "A | b_c.", "Try.") +
				row("9999-1-02", "RFC 9999", "1", "SHOULD NOT", "RS", "resource", "No.", "Try.") +
				row("9999-1-03", "RFC 9999", "1", "MAY", "AS+RS", "-", "Both.", "Try.") +
				row("9999-1-04", "RFC 9999", "1", "MUST", "AS", "authorize", "Absent.", "Try."),
		},
		stream: slices.Concat(
			events("authserver", "TestToken/9999-1-01_9999-1-03_good", "pass"),
			events("resource", "TestGuard/9999-1-02:_good", "pass"),
			events("resource", "TestGuard/9999-1-03_good", "pass"),
		),
	}
}

func events(pkg, name, result string) []string {
	event := func(action string) string {
		return fmt.Sprintf(`{"Action":%q,"Package":"example.test/m/%s","Test":%q}`, action, pkg, name)
	}
	return []string{event("run"), event(result)}
}

// run writes the tree and runs the command there.
func (tr *tree) run(t *testing.T, root string, check bool) ([]string, error) {
	t.Helper()
	for name, text := range tr.files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return run(root, strings.NewReader(strings.Join(tr.stream, "\n")), check)
}

// change replaces text in a file of the tree.
func (tr *tree) change(file, from, to string) {
	if !strings.Contains(tr.files[file], from) {
		panic(file + " has no " + from)
	}
	tr.files[file] = strings.Replace(tr.files[file], from, to, 1)
}

const (
	statuses = ".ci/conformance/status.tsv"
	rows     = ".ci/conformance/tables/a.tsv"
)

func TestProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*tree)
		want   []string
	}{
		"nothing is wrong": {func(*tree) {}, nil},
		"a requirement without a test": {
			func(tr *tree) { tr.stream = tr.stream[2:] },
			[]string{
				"9999-1-01 has neither a test nor a status (authserver/CONFORMANCE.md, MUST)",
				"9999-1-03 has neither a test nor a status (authserver/CONFORMANCE.md, MAY)",
			},
		},
		"for what both have to keep, a test of the other side doesn't count": {
			func(tr *tree) { tr.stream = tr.stream[:4] },
			[]string{"9999-1-03 has neither a test nor a status (resource/CONFORMANCE.md, MAY)"},
		},
		"a test of neither side counts for both": {
			func(tr *tree) { tr.stream = append(tr.stream[:4], events("cmd/m", "TestBoth_9999-1-03", "pass")...) },
			nil,
		},
		"a status of no requirement": {
			func(tr *tree) { tr.files[statuses] += "9999-1-05\tdeparture\tWhy.\n" },
			[]string{"status.tsv names 9999-1-05, which no table has"},
		},
		"a test of no requirement": {
			func(tr *tree) { tr.stream = append(tr.stream, events("resource", "TestGuard/9999-1-2", "pass")...) },
			[]string{"resource.TestGuard/9999-1-2 names 9999-1-2, which no table has"},
		},
		"a test of a document that has no table": {
			func(tr *tree) { tr.stream = append(tr.stream, events("storage", "TestX/8888-1-01_x", "pass")...) },
			[]string{"storage.TestX/8888-1-01_x names 8888-1-01, which no table has"},
		},
		"what one side has to keep can be seen at the other": {
			func(tr *tree) {
				tr.stream = append(tr.stream[2:], events("resource", "TestGuard/9999-1-01", "pass")...)
				tr.stream = append(tr.stream, events("cmd/m", "TestBoth_9999-1-03", "pass")...)
			},
			nil,
		},
		"a status and a test": {
			func(tr *tree) { tr.change(statuses, "9999-1-04", "9999-1-01") },
			[]string{
				"9999-1-04 has neither a test nor a status (authserver/CONFORMANCE.md, MUST)",
				`9999-1-01 is "not offered" in status.tsv, and authserver.TestToken/9999-1-01_9999-1-03_good tests it`,
			},
		},
		"not applicable and a test": {
			func(tr *tree) { tr.files[statuses] += "9999-1-02\tnot applicable\tWhy.\n" },
			[]string{`9999-1-02 is "not applicable" in status.tsv, and resource.TestGuard/9999-1-02:_good tests it`},
		},
		"a departure may have a test": {
			func(tr *tree) { tr.files[statuses] += "9999-1-01\tdeparture\tWhy.\n" },
			nil,
		},
		"a departure needs none": {
			func(tr *tree) { tr.change(statuses, "not offered", "departure") },
			nil,
		},
		"a test that failed": {
			func(tr *tree) { tr.stream = append(tr.stream, events("storage", "TestX/9999-1-01", "fail")...) },
			[]string{"storage.TestX/9999-1-01 ended with fail"},
		},
		"a test that was skipped": {
			func(tr *tree) { tr.stream = append(tr.stream, events("storage", "TestX/9999-1-01", "skip")...) },
			[]string{"storage.TestX/9999-1-01 ended with skip"},
		},
		"a subtest that was skipped": {
			func(tr *tree) {
				tr.stream = append(tr.stream, events("authserver", "TestToken/9999-1-01_9999-1-03_good/deep", "skip")...)
			},
			[]string{"authserver.TestToken/9999-1-01_9999-1-03_good/deep ended with skip"},
		},
		"a test that didn't end": {
			func(tr *tree) { tr.stream = append(tr.stream, events("storage", "TestX/9999-1-01", "output")...) },
			[]string{"storage.TestX/9999-1-01 didn't end"},
		},
		"a package that failed": {
			func(tr *tree) {
				tr.stream = append(tr.stream, `{"Action":"fail","Package":"example.test/m/storage"}`)
			},
			[]string{"the package example.test/m/storage failed"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTree()
			tt.change(tr)
			problems, err := tr.run(t, t.TempDir(), false)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(problems, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(problems, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestMalformedInput(t *testing.T) {
	for name, change := range map[string]func(*tree){
		"an id that is there twice":    func(tr *tree) { tr.change(rows, "9999-1-02", "9999-1-01") },
		"an id with a space":           func(tr *tree) { tr.change(rows, "9999-1-02", "9999-1 02") },
		"an unknown level":             func(tr *tree) { tr.change(rows, "MAY", "COULD") },
		"an unknown role":              func(tr *tree) { tr.change(rows, "AS+RS", "RS+AS") },
		"a cell too few":               func(tr *tree) { tr.change(rows, "\tBoth.", "") },
		"another header":               func(tr *tree) { tr.change(rows, "how_to_test", "how") },
		"no table":                     func(tr *tree) { delete(tr.files, rows) },
		"an unknown status":            func(tr *tree) { tr.change(statuses, "not offered", "later") },
		"a status without a reason":    func(tr *tree) { tr.change(statuses, "There is none.", "") },
		"a status that is there twice": func(tr *tree) { tr.files[statuses] += "9999-1-04\tdeparture\tWhy.\n" },
		"no tests":                     func(tr *tree) { tr.stream = nil },
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTree()
			change(tr)
			if problems, err := tr.run(t, t.TempDir(), false); err == nil {
				t.Errorf("no error, and the problems %q", problems)
			}
		})
	}
}

func TestStalePage(t *testing.T) {
	root := t.TempDir()
	tr := newTree()
	stale := func(want ...string) {
		t.Helper()
		problems, err := tr.run(t, root, true)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			want[i] += " is stale: run make conformance and commit it"
		}
		if !slices.Equal(problems, want) {
			t.Errorf("got %q, want %q", problems, want)
		}
	}
	write := func() {
		t.Helper()
		if problems, err := tr.run(t, root, false); err != nil || len(problems) > 0 {
			t.Fatal(problems, err)
		}
	}

	stale("authserver/CONFORMANCE.md", "resource/CONFORMANCE.md")
	write()
	stale()
	slices.Reverse(tr.stream) // packages and tests may end in any order
	for i := 0; i < len(tr.stream); i += 2 {
		tr.stream[i], tr.stream[i+1] = tr.stream[i+1], tr.stream[i]
	}
	stale()
	tr.change(rows, "No.", "Never.")
	stale("resource/CONFORMANCE.md")
	write()
	tr.stream = append(tr.stream, events("authserver", "TestToken/9999-1-01_another", "pass")...)
	stale("authserver/CONFORMANCE.md")
}

func TestPage(t *testing.T) {
	root := t.TempDir()
	tr := newTree()
	tr.stream = slices.Concat(tr.stream,
		events("authserver", "TestToken/9999-1-01_9999-1-03_good/9999-1-01_deeper", "pass"), // covered by its parent above
		events("authserver", "TestToken/9999-1-01_a|b`c", "pass"),
		events("cmd/m", "TestBoth_9999-1-03", "pass"),
	)
	if problems, err := tr.run(t, root, false); err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	text, err := os.ReadFile(filepath.Join(root, "authserver", "CONFORMANCE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(string(text), "\n## Totals\n")
	want := "\n" +
		"| level | all | pass | not offered |\n" +
		"|---|---|---|---|\n" +
		"| MUST | 2 | 1 | 1 |\n" +
		"| MUST NOT | 0 | 0 | 0 |\n" +
		"| SHOULD | 0 | 0 | 0 |\n" +
		"| SHOULD NOT | 0 | 0 | 0 |\n" +
		"| MAY | 1 | 1 | 0 |\n" +
		"| all | 3 | 2 | 1 |\n" +
		"\n## RFC 9999\n\n" +
		"3 in all: 2 pass, 1 not offered.\n\n" +
		"| id | level | requirement | tests, or why there is none | result |\n" +
		"|---|---|---|---|---|\n" +
		"| 9999-1-01 | MUST | A \\| b\\_c. | [`authserver.TestToken`](token_test.go) `/9999-1-01_9999-1-03_good` `` /9999-1-01_a\\|b`c `` | pass |\n" +
		"| 9999-1-03 | MAY | Both. | [`authserver.TestToken`](token_test.go) `/9999-1-01_9999-1-03_good`<br>`m.TestBoth_9999-1-03` | pass |\n" +
		"| 9999-1-04 | MUST | Absent. | There is none. | not offered |\n"
	if tables != want {
		t.Errorf("got\n%s\nwant\n%s", tables, want)
	}
}

// TestIDs: go test writes a space as an underscore, and splits subtests by a slash.
func TestIDs(t *testing.T) {
	for name, want := range map[string]string{
		"TestX/6749-5.2-03_a_wrong_password":     "6749-5.2-03",
		"TestX/6749-6-03_6749-5.2-10_another":    "6749-6-03 6749-5.2-10",
		"TestX/6749-A-02_digits/6749-A-02_again": "6749-A-02",
		"TestX/PW-NIST63B-5.1.1.2-06_é":          "PW-NIST63B-5.1.1.2-06",
		"TestX/PW-OWASP-authn-01:_slow#01":       "PW-OWASP-authn-01",
		"TestX/(6749-5.2-03)":                    "6749-5.2-03",
		"TestX/see_6749-5.2-03.":                 "6749-5.2-03",
		"TestX/6749-5.2_mistyped":                "6749-5.2",
		"TestX/a_1024-byte_key_of_RFC_6749":      "",
		"TestX/16749-5.2-03":                     "",
	} {
		if got := strings.Join(idsIn(name), " "); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
