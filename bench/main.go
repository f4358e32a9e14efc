// Command bench measures grantd beside handlers that do only the necessary, and
// beside the stock toolkit, on one machine, in one run. It starts a real
// redis-server and every server on loopback, drives them with wrk, one after the
// other in rounds, and prints medians and ratios. Only the ratios mean something
// on another machine. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	rounds      int
	cell        time.Duration // how long one measurement lasts
	connections int
	only        string // a part of the names of the endpoints to measure
	grantd      string // the binary
	write       string // the Markdown file whose table is replaced; empty: none
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "bare":
		err = serveBare(os.Args[2], os.Args[3])
	case len(os.Args) == 4 && os.Args[1] == "stock":
		err = serveStock(os.Args[2], os.Args[3])
	case len(os.Args) > 1 && os.Args[1] == "revoke":
		err = revocations(ctx, os.Args[2:])
	default:
		err = bench(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context) error {
	var o options
	flag.IntVar(&o.rounds, "rounds", 7, "how often everything is measured; the medians count")
	flag.DurationVar(&o.cell, "cell", 2*time.Second, "how long one measurement lasts")
	flag.IntVar(&o.connections, "connections", 32, "connections that are busy at once")
	flag.StringVar(&o.only, "only", "", "measure only endpoints whose name holds this")
	flag.StringVar(&o.grantd, "grantd", "../bin/grantd", "the grantd to measure")
	flag.StringVar(&o.write, "write", "", "a Markdown file whose table to replace")
	flag.Parse()
	if o.rounds < 1 || o.cell < time.Second || o.connections < 1 || flag.NArg() > 0 {
		return errors.New("usage: see -help; -rounds and -connections from 1, -cell from 1s")
	}

	w, err := newWorld(ctx, o)
	defer w.close()
	if err != nil {
		return err
	}
	results := map[cell][]sample{}
	cells := w.cells()
	for round := range o.rounds {
		for i := range cells {
			c := cells[i]
			if round%2 == 1 { // who comes first in one round comes last in the next
				c = cells[len(cells)-1-i]
			}
			if !strings.Contains(c.endpoint, o.only) {
				continue
			}
			s, err := w.measure(ctx, c)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", c.endpoint, c.server, err)
			}
			results[c.cell] = append(results[c.cell], s)
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, o.rounds)
	}
	return report(o, cells, results)
}
