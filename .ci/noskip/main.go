// Command noskip reads the output of go test -json. It prints the output of the
// packages, and that of the tests that failed, were skipped or didn't end. It exits
// with 1 when a test failed or was skipped: a test that didn't run has shown nothing.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// event is one line of go test -json, from cmd/test2json or cmd/go.
type event struct{ Action, Package, Test, Output string }

func main() {
	var failed, skipped []string
	held := map[string]*strings.Builder{} // output of tests that are still running
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		name := e.Package + " " + e.Test
		if held[name] == nil {
			held[name] = new(strings.Builder)
		}
		switch {
		case e.Action == "output" && e.Test != "":
			held[name].WriteString(e.Output)
		case e.Action == "output" || e.Action == "build-output":
			fmt.Print(e.Output)
		case e.Action == "build-fail":
			failed = append(failed, "the build")
		case e.Action == "fail":
			failed = append(failed, name)
			fmt.Print(held[name])
		case e.Action == "skip" && e.Test != "":
			skipped = append(skipped, name)
			fmt.Print(held[name])
		}
		if e.Action == "fail" || e.Action == "skip" || e.Action == "pass" {
			delete(held, name)
		}
	}
	for _, output := range held { // the output of tests that a crash or a time limit cut off
		fmt.Print(output)
	}
	fmt.Printf("%d failed, %d skipped\n", len(failed), len(skipped))
	for _, s := range skipped {
		fmt.Println("skipped:", s)
	}
	if lines.Err() != nil || len(failed)+len(skipped) > 0 {
		os.Exit(1)
	}
}
