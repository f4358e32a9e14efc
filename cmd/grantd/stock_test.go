package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// This file and its neighbours stock_*_test.go are one suite, run against two
// servers over HTTP: it has to pass against grantd, and every single check has
// to fail against a stock go-oauth2/oauth2 v4.5.4, with go-oauth2/redis v4.1.1
// where Redis is meant. So there is no check that never fails.
//
//	go test -run Stock ./cmd/grantd
//
// The ids: V01 to V57 are places where the toolkit breaks a requirement, found
// by reading its source. stock-01 to stock-21 were measured on running servers.
// 6749-6-01 and the like are requirements, as everywhere in these tests.

// defect is a fault of the stock toolkit.
type defect struct {
	ids  string
	text string // what the toolkit does
	on   backing

	// check returns an error that describes the defect if the server has it.
	check func(t *testing.T, s target) error

	// shows is a part of that error's text for the toolkit, so that the check
	// fails for the right reason.
	shows string

	// toolkit and grantd configure the server for this check. Often the
	// toolkit's defaults are enough, and nearly always grantd's.
	toolkit func(*toolkit)
	grantd  func(*config)
}

func (d defect) name() string { return d.ids + " " + d.text }

// backing is where a server keeps its tokens.
type backing int

const (
	anyStore    backing = iota // the embedded one and Redis
	redisOnly                  // about Redis
	clusterOnly                // about Redis Cluster
)

var defects = slices.Concat(clientDefects, requestDefects, answerDefects, refreshDefects, storeDefects, resourceDefects)

// leftOut are the numbers that have no check, and why.
var leftOut = map[string]string{
	"V25":      codes,
	"V26":      codes,
	"V27":      codes,
	"V28":      codes,
	"V29":      codes,
	"V31":      authorize,
	"V32":      authorize,
	"V33":      authorize,
	"V34":      authorize,
	"V35":      authorize,
	"V36":      authorize,
	"V37":      authorize,
	"V38":      authorize,
	"V39":      authorize,
	"V40":      authorize,
	"V41":      authorize,
	"V42":      authorize,
	"V43":      authorize,
	"V44":      authorize,
	"V45":      codes,
	"V48":      codes,
	"V52":      "comparing secrets in constant time can't be seen over HTTP without counting nanoseconds",
	"stock-08": authorize,
	"stock-09": authorize,
}

const (
	codes     = "grantd issues no authorization codes yet"
	authorize = "grantd has no authorization endpoint yet"
)

// TestStockDefectsAreClosed runs the suite against grantd.
func TestStockDefectsAreClosed(t *testing.T) {
	eachBacking(t, func(t *testing.T, d defect, b backend) {
		if err := d.check(t, startGrantd(t, d.grantd, b)); err != nil {
			t.Error(err)
		}
	})
}

// TestStockShowsTheDefect runs the suite against the toolkit.
func TestStockShowsTheDefect(t *testing.T) {
	eachBacking(t, func(t *testing.T, d defect, b backend) {
		err := d.check(t, startToolkit(t, d.toolkit, b))
		if err == nil {
			t.Fatal("the check passes: it shows nothing, or the toolkit has changed")
		}
		if !strings.Contains(err.Error(), d.shows) {
			t.Errorf("the check fails for another reason than %q: %v", d.shows, err)
		}
		t.Log(err)
	})
}

// backend is where the server under test keeps its tokens: at most one is set.
// With none it is the embedded store.
type backend struct {
	redis   *redistest.Server
	cluster *redistest.ThreeMasters
}

// eachBacking runs every defect on every store that it concerns, each time with
// a server and a store of its own.
func eachBacking(t *testing.T, run func(*testing.T, defect, backend)) {
	t.Run("embedded", func(t *testing.T) {
		eachDefect(t, func(on backing) bool { return on == anyStore }, func(t *testing.T, d defect) { run(t, d, backend{}) })
	})
	t.Run("redis", func(t *testing.T) {
		// Without compression a dump shows what is stored.
		server := redistest.Single(t, "--rdbcompression", "no")
		eachDefect(t, func(on backing) bool { return on != clusterOnly }, func(t *testing.T, d defect) {
			server.Flush()
			run(t, d, backend{redis: server})
		})
	})
	t.Run("cluster", func(t *testing.T) {
		masters := redistest.Cluster(t)
		eachDefect(t, func(on backing) bool { return on == clusterOnly }, func(t *testing.T, d defect) { run(t, d, backend{cluster: masters}) })
	})
}

func eachDefect(t *testing.T, concerned func(backing) bool, run func(*testing.T, defect)) {
	for _, d := range defects {
		if concerned(d.on) {
			t.Run(d.name(), func(t *testing.T) { run(t, d) })
		}
	}
}

// Every number is either checked or left out for a reason, never both.
func TestStockNumbersAreAllAccountedFor(t *testing.T) {
	want := map[string]bool{}
	for i := range 57 {
		want[fmt.Sprintf("V%02d", i+1)] = true
	}
	for i := range 21 {
		want[fmt.Sprintf("stock-%02d", i+1)] = true
	}
	checked := map[string]bool{}
	for _, d := range defects {
		for id := range strings.FieldsSeq(d.ids) {
			if strings.HasPrefix(id, "V") || strings.HasPrefix(id, "stock-") {
				checked[id] = true
			}
		}
		if d.shows == "" {
			t.Errorf("%s: nothing says what the toolkit shows", d.name())
		}
	}
	for id := range leftOut {
		if checked[id] {
			t.Errorf("%s is checked and left out", id)
		}
		checked[id] = true
	}
	if !maps.Equal(checked, want) {
		t.Errorf("accounted for: %q", slices.Sorted(maps.Keys(checked)))
	}
}

func TestReadmeCountsTheStockDefects(t *testing.T) {
	numbers := 57 + 21 - len(leftOut)
	said := fmt.Sprintf("%d checks for %d of 78 numbered defects", len(defects), numbers)
	if !strings.Contains(strings.Join(strings.Fields(readme(t)), " "), said) {
		t.Errorf("README doesn't say %q", said)
	}
}
