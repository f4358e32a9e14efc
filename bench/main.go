// Command bench compares grantd with handlers that do only what is necessary, and
// with the stock toolkit, on one machine, in one run. It starts a real redis-server,
// a Redis Cluster and every server on loopback, loads one server after another with
// wrk, in rounds, and prints medians and ratios. Only the ratios mean something on
// another machine. See README.md.
//
// "bench revoke" measures revocations, see REVOKE.md. "bench scale" measures how
// operations slow down as a store fills, see SCALE.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// options are the flags.
type options struct {
	rounds      int
	cell        time.Duration // how long one measurement lasts; three times that for the password grant
	connections int
	grants      int    // how many grants the memory is measured with
	only        string // measure only endpoints whose name contains it
	grantd      string // path of the binary
	write       string // path of the Markdown file for the table, with the chart beside it; empty: none
	longest     time.Duration
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
	case len(os.Args) > 1 && os.Args[1] == "scale":
		err = growth(ctx, os.Args[2:])
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
	flag.DurationVar(&o.cell, "cell", 2*time.Second, "how long one measurement lasts; of the password grant three times that")
	flag.IntVar(&o.connections, "connections", 32, "connections that are busy at once; of the password grant two for each processor")
	flag.IntVar(&o.grants, "grants", 100_000, "grants whose memory is measured; 0: none")
	flag.StringVar(&o.only, "only", "", "measure only endpoints whose name holds this, as in refresh, and no memory")
	flag.StringVar(&o.grantd, "grantd", "../bin/grantd", "the grantd to measure")
	flag.StringVar(&o.write, "write", "", "a Markdown file whose table to replace; the chart goes into chart.svg beside it")
	flag.DurationVar(&o.longest, "longest", 20*time.Minute, "give up after this time")
	flag.Parse()
	if o.rounds < 1 || o.cell < time.Second || o.connections < 1 || o.grants < 0 || flag.NArg() > 0 {
		return errors.New("usage: see -help; -rounds and -connections from 1, -cell from 1s")
	}
	ctx, cancel := context.WithTimeout(ctx, o.longest)
	defer cancel()

	m, began := theMachine(ctx), time.Now()
	var all memory
	if o.only == "" && o.grants > 0 {
		var err error
		if all, err = measureMemory(ctx, o.grants); err != nil {
			return fmt.Errorf("memory: %w", err)
		}
	}
	w, err := newWorld(ctx, o)
	defer w.close()
	if err != nil {
		return err
	}
	loads := w.loads()
	results, err := w.rounds(ctx, loads)
	if err != nil {
		return err
	}
	return report(o, m, outcome{loads, results, all, time.Since(began)})
}

// rounds measures all loads in each of the o.rounds rounds, after a short round that
// warms up.
func (w *world) rounds(ctx context.Context, loads []load) (map[cell][]sample, error) {
	results := map[cell][]sample{}
	for round := range w.o.rounds + 1 {
		for i := range loads {
			l := loads[i]
			if round%2 == 1 { // the first load of one round is the last of the next
				l = loads[len(loads)-1-i]
			}
			if round == 0 {
				l.lasts = time.Second
			}
			s, err := w.measure(ctx, l)
			if err != nil {
				return nil, fmt.Errorf("%s on %s: %w", l.endpoint, l.server, err)
			}
			if round > 0 {
				results[l.cell] = append(results[l.cell], s)
			}
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round, w.o.rounds)
	}
	return results, nil
}
