// Command noskip reads the output of go test -json and prints what go test
// prints without it. It exits with 1 when a test failed, or was skipped: a test
// that didn't run has shown nothing.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// event is what cmd/test2json and cmd/go write, a line each.
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
	for _, output := range held { // of tests that a crash or a time limit cut off
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
