package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore"
)

func (b *revokeBench) start(ctx context.Context) (err error) {
	b.machine = theMachine(ctx)
	if b.fleet, err = newFleet("redis-server"); err != nil {
		return err
	}
	binary, err := filepath.Abs(b.o.grantd)
	if err != nil {
		return err
	}
	redis, err := b.fleet.startRedis(ctx, "Redis")
	if err != nil {
		return err
	}
	redisURL := "redis://" + redis.addr + "/0"
	b.server, err = b.fleet.start(ctx, "grantd", func(addr string) []string { return append(grantdArgs(binary, redisURL), addr) })
	if err != nil {
		return err
	}
	if b.store, err = redisstore.Open(redisURL); err != nil {
		return err
	}
	if _, err = b.server.admin(ctx); err != nil { // shows that grantd is ready and has made its key
		return err
	}
	b.fill = filler{store: b.store, address: aClient, userAgent: shortAgent}
	b.fill.keys, err = keysOf(ctx, b.server, b.store)
	return err
}

// admin signs in the admin client and returns its access token.
func (s *server) admin(ctx context.Context) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"admin"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.addr+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.SetBasicAuth("demo-admin", "demo-admin-secret")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var p pair
	if status, err := answer(r, &p); err != nil || p.Access == "" {
		return "", fmt.Errorf("the admin isn't signed in: status %d, %w", status, err)
	}
	return p.Access, nil
}

func bigName(i int) string   { return fmt.Sprintf("big-%d", i) }
func smallName(i int) string { return fmt.Sprintf("small-%d", i) }

// load fills Redis: some users with many grants, some with ten, the users of the
// traffic with one each, and others with ten each, who only take up room.
func (b *revokeBench) load(ctx context.Context) error {
	b.held = map[string][]string{}
	type job struct {
		user string
		n    int
	}
	var jobs []job
	left := b.o.grants - tokens
	for i := range b.o.bigs {
		jobs, left = append(jobs, job{bigName(i), b.o.big}), left-b.o.big
	}
	for i := range b.o.small {
		jobs, left = append(jobs, job{smallName(i), 10}), left-10
	}
	for _, j := range jobs {
		if err := b.fill.create(ctx, named(j.user)); err != nil {
			return err
		}
	}
	for i := 0; left > 0; i++ {
		n := min(left, 10)
		jobs, left = append(jobs, job{fmt.Sprintf("user-%d", i), n}), left-n
	}
	for i := range tokens {
		jobs = append(jobs, job{fmt.Sprintf("other-%d", i), 1})
	}
	var mu sync.Mutex
	return each(len(jobs), func(i int) error {
		held, err := b.signIn(ctx, jobs[i].user, jobs[i].n)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		switch kind, _, _ := strings.Cut(jobs[i].user, "-"); kind {
		case "big", "small":
			b.held[jobs[i].user] = held
		case "other":
			b.others = append(b.others, held...)
		}
		return nil
	})
}

// signIn creates n grants of the user and returns their access tokens.
func (b *revokeBench) signIn(ctx context.Context, user string, n int) ([]string, error) {
	pairs, err := b.fill.signIn(ctx, named(user), n)
	var held []string
	for _, p := range pairs {
		held = append(held, p.Access)
	}
	return held, err
}

func named(user string) account { return account{"id-of-" + user, user} }

// signInAnew creates a grant for each user of the traffic, and returns the access
// tokens.
func (b *revokeBench) signInAnew(ctx context.Context) ([]string, error) {
	var anew []string
	for i := range tokens {
		user := fmt.Sprintf("other-%d", i)
		held, err := b.signIn(ctx, user, 1)
		if errors.Is(err, storage.ErrRevoked) { // once after the revocation: the store remembered an older epoch
			held, err = b.signIn(ctx, user, 1)
		}
		if err != nil {
			return nil, err
		}
		anew = append(anew, held...)
	}
	return anew, nil
}
