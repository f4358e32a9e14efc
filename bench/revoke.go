package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/storage/redisstore"
)

// revokeOptions are the flags of "bench revoke".
type revokeOptions struct {
	options
	grants  int           // live grants in all
	big     int           // grants of each user who is revoked under load
	bigs    int           // the number of such users
	small   int           // users with ten grants, who are revoked one after another without load
	quiet   time.Duration // how long the traffic is measured before each revocation
	longest time.Duration // how long a sweep may take
}

// revocations measures revocations beside the traffic of other users: how soon a
// revocation is answered, whether the very next use of a token is refused, and how
// much the sweep in the background slows others.
func revocations(ctx context.Context, args []string) error {
	var o revokeOptions
	f := flag.NewFlagSet("bench revoke", flag.ExitOnError)
	f.IntVar(&o.grants, "grants", 1_000_000, "live grants")
	f.IntVar(&o.big, "big", 10_000, "grants of a user who is revoked under load")
	f.IntVar(&o.bigs, "bigs", 5, "users who are revoked under load")
	f.IntVar(&o.small, "small", 50, "users with ten grants, revoked without load")
	f.IntVar(&o.connections, "connections", 32, "connections that are busy at once")
	f.DurationVar(&o.quiet, "quiet", 10*time.Second, "how long throughput is measured before each revocation")
	f.DurationVar(&o.longest, "longest", 20*time.Minute, "how long a sweep may take")
	f.StringVar(&o.grantd, "grantd", "../bin/grantd", "the grantd to measure")
	f.StringVar(&o.write, "write", "", "a Markdown file whose table to replace")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || o.bigs < 1 || o.small < 1 || o.grants < o.bigs*o.big+10*o.small+tokens {
		return errors.New("usage: see revoke -help; there must be room for all users in -grants")
	}
	b := &revokeBench{o: o}
	err := b.run(ctx)
	return errors.Join(err, b.close())
}

// revokeBench is a Redis full of grants and one grantd on it.
type revokeBench struct {
	o      revokeOptions
	fleet  *fleet
	server *server // grantd
	store  *redisstore.Store
	fill   filler

	others  []string            // access tokens of the traffic
	held    map[string][]string // access tokens of the users who are revoked, by name
	rows    [][2]string         // the results
	machine machine
}

func (b *revokeBench) close() error {
	if b.store != nil {
		_ = b.store.Close() // nothing is written any more
	}
	if b.fleet != nil {
		b.fleet.close()
	}
	return nil
}

func (b *revokeBench) run(ctx context.Context) error {
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"starting Redis and grantd", b.start},
		{"loading", b.load},
		{"revoking users without load", b.revokeSmall},
		{"revoking users under load", b.revokeBig},
		{"revoking everything under load", b.revokeAll},
	} {
		began := time.Now()
		fmt.Fprintf(os.Stderr, "%s … ", step.name)
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Fprintln(os.Stderr, time.Since(began).Round(100*time.Millisecond))
	}
	return b.report()
}

// client gives up on a server that hangs.
var client = &http.Client{Timeout: time.Minute}

// answer sends the request, decodes the body of the answer and returns the status.
func answer(r *http.Request, into any) (int, error) {
	response, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || into == nil {
		return response.StatusCode, err
	}
	return response.StatusCode, json.Unmarshal(body, into)
}

// receipt is the answer to a revocation.
type receipt struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Grants struct {
		Ended int `json:"ended"`
	} `json:"grants"`
	Verified struct {
		Survivors int `json:"survivors"`
	} `json:"verified"`
	Completed, Requested time.Time
}

// revoke asks for a revocation. It returns the receipt and how long the answer took.
func (s *server) revoke(ctx context.Context, admin, body string) (r receipt, took time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.addr+"/admin/v1/revocations", strings.NewReader(body))
	if err != nil {
		return r, 0, err
	}
	request.Header.Set("Authorization", "Bearer "+admin)
	request.Header.Set("Content-Type", "application/json")
	began := time.Now()
	status, err := answer(request, &r)
	took = time.Since(began)
	if err == nil && status != http.StatusOK && status != http.StatusAccepted {
		err = fmt.Errorf("status %d", status)
	}
	return r, took, err
}

// refused uses each token at /users/me. It returns how many weren't answered with 401,
// and how long the first answer took.
func (b *revokeBench) refused(ctx context.Context, held []string) (alive int, first time.Duration, err error) {
	for i, token := range held {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.server.addr+"/users/me", nil)
		if err != nil {
			return alive, first, err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		began := time.Now()
		status, err := answer(r, nil)
		if i == 0 {
			first = time.Since(began)
		}
		if err != nil {
			return alive, first, err
		}
		if status != http.StatusUnauthorized {
			alive++
		}
	}
	return alive, first, nil
}

// progress reads the receipt.
func (s *server) progress(ctx context.Context, admin, id string) (r receipt, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/admin/v1/revocations/"+id, nil)
	if err != nil {
		return r, err
	}
	request.Header.Set("Authorization", "Bearer "+admin)
	status, err := answer(request, &r)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	if err != nil {
		return r, fmt.Errorf("reading the receipt: %w", err)
	}
	return r, nil
}

// complete waits for the sweep and returns its receipt.
func (b *revokeBench) complete(ctx context.Context, admin, id string) (r receipt, err error) {
	for end := time.Now().Add(b.o.longest); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if r, err = b.server.progress(ctx, admin, id); err != nil || r.Status == "complete" {
			return r, err
		}
	}
	return r, errors.New("the sweep takes too long")
}

func (b *revokeBench) note(what, found string, values ...any) {
	b.rows = append(b.rows, [2]string{what, fmt.Sprintf(found, values...)})
}

func (b *revokeBench) revokeSmall(ctx context.Context) error {
	admin, err := b.server.admin(ctx)
	if err != nil {
		return err
	}
	var answers, firsts []time.Duration
	alive := 0
	for i := range b.o.small {
		_, took, err := b.server.revoke(ctx, admin, `{"user":"`+smallName(i)+`"}`)
		if err != nil {
			return err
		}
		n, first, err := b.refused(ctx, b.held[smallName(i)])
		if err != nil {
			return err
		}
		answers, firsts, alive = append(answers, took), append(firsts, first), alive+n
	}
	b.note("no load, a user with 10 grants: POST is answered", "%s", spread(answers))
	b.note("… and the first 401 after it", "%s", spread(firsts))
	b.note("… tokens that were taken after it", "%d of %d", alive, 10*b.o.small)
	return nil
}

// spread returns the median and the largest.
func spread(d []time.Duration) string {
	slices.Sort(d)
	return fmt.Sprintf("%.1f ms (at most %.1f ms)", d[len(d)/2].Seconds()*1e3, d[len(d)-1].Seconds()*1e3)
}

// revokeBig revokes the users with many grants one after another, while the traffic
// goes on. It compares the throughput during each sweep with that before it.
func (b *revokeBench) revokeBig(ctx context.Context) error {
	admin, err := b.server.admin(ctx)
	if err != nil {
		return err
	}
	t := newTraffic(ctx, b.server.addr, b.o.connections, b.others)
	defer t.end()
	t.rate(nil, time.Second) // warms up
	var answers, firsts, sweeps []time.Duration
	var before, during []float64
	alive, ended, survivors := 0, 0, 0
	for i := range b.o.bigs {
		before = append(before, t.rate(nil, b.o.quiet))
		r, took, err := b.server.revoke(ctx, admin, `{"user":"`+bigName(i)+`"}`)
		if err != nil {
			return err
		}
		held := b.held[bigName(i)]
		n, first, err := b.refused(ctx, held[:min(1, len(held))])
		if err != nil {
			return err
		}
		done := make(chan struct{})
		var failed error
		go func() {
			defer close(done)
			r, failed = b.complete(ctx, admin, r.ID)
		}()
		during = append(during, t.rate(done, b.o.longest))
		<-done
		if failed != nil {
			return failed
		}
		left, _, err := b.refused(ctx, held[:min(500, len(held))])
		if err != nil {
			return err
		}
		answers, firsts, alive = append(answers, took), append(firsts, first), alive+n+left
		sweeps, ended, survivors = append(sweeps, r.Completed.Sub(r.Requested)), ended+r.Grants.Ended, survivors+r.Verified.Survivors
	}
	b.note(fmt.Sprintf("under load, a user with %d grants: POST is answered", b.o.big), "%s", spread(answers))
	b.note("… and the first 401 after it", "%s", spread(firsts))
	b.note("… tokens that were taken after it", "%d of %d", alive, b.o.bigs*min(501, b.o.big))
	b.note("… the sweep takes", "%s", spread(sweeps))
	b.note("… ended, and survived", "%d, %d", ended, survivors)
	b.note("… others' /users/me, before", "%s", rates(before))
	b.note("… others' /users/me, during the sweep", "%s, %s of before", rates(during), ratio(during, before))
	b.note("… others' answers that weren't 200", "%s", t.failures())
	return nil
}

func rates(r []float64) string {
	return fmt.Sprintf("%.0f a second", middle(r))
}

func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// ratio returns the median of the ratios, with the smallest and the largest.
func ratio(a, b []float64) string {
	var all []float64
	for i := range a {
		all = append(all, a[i]/b[i])
	}
	if len(all) == 1 {
		return fmt.Sprintf("%.2f", all[0])
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", middle(all), slices.Min(all), slices.Max(all))
}

// revokeAll revokes everything. The users of the traffic sign in anew at once, and
// their throughput beside the sweep is compared with that before the revocation. Then
// the traffic stops, and the sweep goes on alone to its end.
func (b *revokeBench) revokeAll(ctx context.Context) error {
	admin, err := b.server.admin(ctx)
	if err != nil {
		return err
	}
	t := newTraffic(ctx, b.server.addr, b.o.connections, b.others)
	t.rate(nil, time.Second)
	before := t.windows(b.o.quiet)
	r, took, err := b.server.revoke(ctx, admin, `{"all":true}`)
	if err != nil {
		return err
	}
	alive, first, err := b.refused(ctx, b.others)
	t.end()
	if err != nil {
		return err
	}
	b.note("under load, everything: POST is answered", "%.1f ms", took.Seconds()*1e3)
	b.note("… and the first 401 after it", "%.1f ms", first.Seconds()*1e3)
	b.note("… tokens that were taken after it", "%d of %d", alive, len(b.others))
	if admin, err = b.server.admin(ctx); err != nil { // the admin's token is dead too
		return err
	}
	anew, err := b.signInAnew(ctx)
	if err != nil {
		return err
	}
	t = newTraffic(ctx, b.server.addr, b.o.connections, anew)
	t.rate(nil, time.Second)
	during := t.windows(b.o.quiet)
	t.end()
	beside := r.Requested
	if r, err = b.server.progress(ctx, admin, r.ID); err != nil {
		return err
	}
	swept := float64(r.Grants.Ended) / time.Since(beside).Seconds()
	if r, err = b.complete(ctx, admin, r.ID); err != nil {
		return err
	}
	b.note("… others' /users/me, before", "%s", rates(before))
	b.note("… others' /users/me, beside the sweep", "%s, %.2f of before", rates(during), middle(during)/middle(before))
	b.note("… others' answers that weren't 200", "%s", t.failures())
	b.note("… the sweep beside them ends", "%.0f grants a second", swept)
	b.note("… it takes in all, most of it alone", "%s", r.Completed.Sub(r.Requested).Round(100*time.Millisecond))
	b.note("… ended, and survived", "%d, %d", r.Grants.Ended, r.Verified.Survivors)
	return nil
}

func (b *revokeBench) report() error {
	var text strings.Builder
	fmt.Fprintf(&text, "\n%s. %d live grants, %d busy connections.\n\n| | |\n|---|--:|\n", b.machine.text, b.o.grants, b.o.connections)
	for _, row := range b.rows {
		fmt.Fprintf(&text, "| %s | %s |\n", row[0], row[1])
	}
	return place(b.o.write, text.String()+"\n")
}
