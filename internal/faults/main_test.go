package faults

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var (
	long  = flag.Bool("long", false, "the long form, with tight bounds on times and a table of figures")
	write = flag.String("write", "", "with -long, a Markdown file whose table to replace")
)

// maxAnswer is the longest time that an answer may take, whatever happened to
// the store.
const maxAnswer = time.Second

// scale has the numbers and durations of a run.
type scale struct {
	clients   int
	pause     time.Duration // of a client between its requests
	calm      time.Duration // of the load before and after a fault
	fault     time.Duration // of a fault whose duration can be chosen
	stopped   time.Duration // of a Redis that doesn't answer
	alone     time.Duration // of a master without its replicas; longer than a retry window in the long form
	refreshes int           // by all clients together, while grantd is killed
	kills     int

	slack time.Duration // beyond maxAnswer, for a machine that does other things too
	back  time.Duration // until service is back, once nothing hinders it any more
}

var (
	shortScale = scale{
		clients: 8, pause: 15 * time.Millisecond, calm: 500 * time.Millisecond,
		fault: 1500 * time.Millisecond, stopped: 2 * time.Second, alone: 2 * time.Second, refreshes: 200, kills: 1,
		slack: 4 * time.Second, back: 8 * time.Second,
	}
	longScale = scale{
		clients: 32, pause: 15 * time.Millisecond, calm: 3 * time.Second,
		fault: 5 * time.Second, stopped: 5 * time.Second, alone: 13 * time.Second, refreshes: 1000, kills: 3,
		slack: 250 * time.Millisecond, back: 2 * time.Second,
	}
)

// size returns the scale of this run. In the short form scenarios run in
// parallel, since they mostly wait.
func size(t *testing.T) scale {
	if *long {
		return longScale
	}
	t.Parallel()
	return shortScale
}

var testDir string // holds the program; removed at the end

func TestMain(m *testing.M) {
	if os.Getenv(skewVar) != "" {
		if err := serveSkewed(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	dir, err := os.MkdirTemp("", "grantd-faults-")
	if err == nil {
		testDir = dir
		code := m.Run()
		os.RemoveAll(dir)
		if *long {
			err = publish(code == 0)
		}
		if err == nil {
			os.Exit(code)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// publish prints the table, and puts it into the file of -write if all went well.
func publish(passed bool) error {
	table := tableText()
	fmt.Fprint(os.Stdout, table)
	if *write == "" || !passed {
		return nil
	}
	return replaceTable(filepath.Clean(*write), table)
}
