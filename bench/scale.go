package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// scaleOptions are the flags of "bench scale".
type scaleOptions struct {
	redis, sqlite sizes // live grants
	rounds        int
	calls         int           // of each operation, in each round and size
	revokes       int           // users who are revoked, in each round and size
	sweep         time.Duration // how long a sweep may take; of a longer one the pace is reported
	longest       time.Duration
	grantd, write string
}

// sizes is a flag: numbers of grants, sorted.
type sizes []int

func (s *sizes) String() string {
	var all []string
	for _, n := range *s {
		all = append(all, strconv.Itoa(n))
	}
	return strings.Join(all, ",")
}

func (s *sizes) Set(text string) error {
	*s = nil
	for field := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < smallest {
			return fmt.Errorf("%q isn't a number from %d", field, smallest)
		}
		*s = append(*s, n)
	}
	slices.Sort(*s)
	return nil
}

// growth measures the same operations on stores with few and with many grants.
func growth(ctx context.Context, args []string) error {
	o := scaleOptions{redis: sizes{10_000, 1_000_000, 10_000_000}, sqlite: sizes{10_000, 1_000_000}}
	f := flag.NewFlagSet("bench scale", flag.ExitOnError)
	f.Var(&o.redis, "sizes", "live grants in Redis; those that there is no memory for are left out")
	f.Var(&o.sqlite, "sqlite", "live grants in SQLite")
	f.IntVar(&o.rounds, "rounds", 7, "how often everything is measured; the medians count")
	f.IntVar(&o.calls, "calls", 500, "calls of each operation, in each round and size")
	f.IntVar(&o.revokes, "revokes", 20, "users who are revoked, in each round and size")
	f.DurationVar(&o.sweep, "sweep", 3*time.Minute, "how long the sweep of each size may take; of a longer one the pace is reported")
	f.DurationVar(&o.longest, "longest", time.Hour, "give up after this time")
	f.StringVar(&o.grantd, "grantd", "../bin/grantd", "the grantd to measure")
	f.StringVar(&o.write, "write", "", "a Markdown file whose tables to replace")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || o.rounds < 1 || o.calls < block || o.revokes < 1 || o.rounds*o.revokes > maxRevoked {
		return fmt.Errorf("usage: see scale -help; -calls from %d, and at most %d revocations in all rounds", block, maxRevoked)
	}
	ctx, cancel := context.WithTimeout(ctx, o.longest)
	defer cancel()

	m := theMachine(ctx)
	s := &scale{o: o}
	defer s.close()
	began := time.Now()
	if err := s.run(ctx); err != nil {
		return err
	}
	return place(o.write, fmt.Sprintf("\n%s.\n%d rounds of %d calls, and of %d revocations. The run took %s.\n\n",
		m.text, o.rounds, o.calls, o.revokes, time.Since(began).Round(time.Second))+s.text())
}

// scale is stores of all sizes, each with a grantd on it. All of them run at the same
// time and are measured in turn, so that other work of the machine affects all alike.
type scale struct {
	o       scaleOptions
	fleet   *fleet
	stages  []*stage
	leftOut []string
}

func (s *scale) close() {
	for _, st := range s.stages {
		st.calls.close()
	}
	if s.fleet != nil {
		s.fleet.close()
	}
}

func (s *scale) run(ctx context.Context) (err error) {
	if s.o.grantd, err = filepath.Abs(s.o.grantd); err != nil {
		return err
	}
	if s.fleet, err = newFleet("redis-server"); err != nil {
		return err
	}
	for _, n := range s.o.redis {
		if err := s.stage(ctx, "Redis", n, s.startOnRedis); err != nil {
			return err
		}
	}
	for _, n := range s.o.sqlite {
		if err := s.stage(ctx, "SQLite", n, s.startOnFile); err != nil {
			return err
		}
	}
	for round := range s.o.rounds + 1 { // the first one warms up
		if err := s.round(ctx, round); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round, s.o.rounds)
	}
	for _, st := range s.stages {
		if err := st.sweepAll(ctx, s.o.sweep); err != nil {
			return fmt.Errorf("%s: sweep: %w", st.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", st.name, st.swept)
	}
	return nil
}

// stage starts one size and fills it, if there is enough memory.
func (s *scale) stage(ctx context.Context, kind string, n int, start func(context.Context, *stage) error) error {
	st := &stage{kind: kind, name: kind + " " + grouped(n), grants: n, took: map[string][][]time.Duration{}, spent: map[string]time.Duration{}}
	if kind == "Redis" && kib("MemAvailable")<<10 < int64(n)*bytesAtMost+spareBytes {
		s.leftOut = append(s.leftOut, st.name)
		return nil
	}
	if err := start(ctx, st); err != nil {
		return fmt.Errorf("%s: %w", st.name, err)
	}
	s.stages = append(s.stages, st)
	began := time.Now()
	err := errors.Join(st.load(ctx), st.store.Close())
	if err != nil {
		return fmt.Errorf("%s: filling: %w", st.name, err)
	}
	st.filled = time.Since(began)
	fmt.Fprintf(os.Stderr, "%s: filled in %s, %.0f a second\n", st.name, st.filled.Round(time.Second), float64(n)/st.filled.Seconds())
	st.bytes, err = st.size(ctx)
	return err
}
