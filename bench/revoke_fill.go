package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
	"github.com/grantd/grantd/storage/redisstore"
)

func (b *revokeBench) start(ctx context.Context) (err error) {
	w := &world{access: map[*server][]string{}}
	b.world = w
	average, _ := os.ReadFile("/proc/loadavg")
	b.load0, _, _ = strings.Cut(string(average), " ")
	if w.dir, err = os.MkdirTemp("", "grantd-bench-"); err != nil {
		return err
	}
	binary, err := filepath.Abs(b.o.grantd)
	if err != nil {
		return err
	}
	w.redis, err = w.start(ctx, "Redis", func(addr string) []string {
		_, port, _ := net.SplitHostPort(addr)
		return []string{"redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}
	})
	if err != nil {
		return err
	}
	redisURL := "redis://" + w.redis.addr + "/0"
	w.onRedis, err = w.start(ctx, "grantd", func(addr string) []string {
		return []string{binary, "dev", "--addr", addr, "--redis", redisURL, "--throttle", "off"}
	})
	if err != nil {
		return err
	}
	b.serverAddr = w.onRedis.addr
	if b.store, err = redisstore.Open(ctx, redisURL); err != nil {
		return err
	}
	if _, err = b.admin(ctx); err != nil { // the server is ready, and has made its key
		return err
	}
	// The tokens of the grants that are loaded straight into Redis are real ones.
	secret, err := os.ReadFile(filepath.Join(w.dir, "grantd", ".grantd", "secret"))
	if err != nil {
		return err
	}
	sealer, err := opaque.NewSealer(bytes.TrimSpace(secret))
	if err != nil {
		return err
	}
	b.keys, err = opaque.NewLoader(b.store, sealer).Keyring(ctx)
	return err
}

// admin signs in the admin client.
func (b *revokeBench) admin(ctx context.Context) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"admin"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+b.serverAddr+"/token", strings.NewReader(form.Encode()))
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

// load fills Redis: some users with many grants, some with ten, those of the
// traffic with one each, and the rest ten each for users who only take up room.
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
		if err := b.store.CreateUser(ctx, storage.User{ID: "id-of-" + j.user, Name: j.user, Created: time.Now()}); err != nil {
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
	var next atomic.Int64
	var mu sync.Mutex
	return together(64, func() error {
		for i := int(next.Add(1)) - 1; i < len(jobs); i = int(next.Add(1)) - 1 {
			held, err := b.signIn(ctx, jobs[i].user, jobs[i].n)
			if err != nil {
				return err
			}
			mu.Lock()
			switch kind, _, _ := strings.Cut(jobs[i].user, "-"); kind {
			case "big", "small":
				b.held[jobs[i].user] = held
			case "other":
				b.others = append(b.others, held...)
			}
			mu.Unlock()
		}
		return nil
	})
}

// together runs f several times at once.
func together(n int, f func() error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = f() })
	}
	all.Wait()
	return errors.Join(errs...)
}

// signIn leaves n grants of the user behind, as the password grant does, and returns
// their access tokens.
func (b *revokeBench) signIn(ctx context.Context, user string, n int) ([]string, error) {
	var held []string
	now := time.Now().UTC().Truncate(time.Millisecond)
	for range n {
		g := storage.Grant{
			ID: storage.NewGrantID("id-of-" + user), Type: storage.Password, UserID: "id-of-" + user, Username: user, ClientID: "demo",
			Scope: "read", AccessScope: "read", Generation: 1, Created: now, Issued: now,
			AccessExpiry: now.Add(12 * time.Hour), RefreshExpiry: now.Add(30 * 24 * time.Hour), End: now.Add(90 * 24 * time.Hour),
			UserAgent: "bench",
		}
		var text string
		text, g.Access = b.keys.Mint(opaque.Access, g.ID, 1)
		_, g.Refresh = b.keys.Mint(opaque.Refresh, g.ID, 1)
		var err error
		if g.Epoch, err = b.store.Epoch(ctx, g.ID); err == nil {
			err = b.store.CreateGrant(ctx, g)
		}
		if err != nil {
			return nil, err
		}
		held = append(held, text)
	}
	return held, nil
}

// signInAnew leaves a grant behind for each of the others, and returns the tokens.
func (b *revokeBench) signInAnew(ctx context.Context) ([]string, error) {
	var anew []string
	for i := range tokens {
		user := fmt.Sprintf("other-%d", i)
		held, err := b.signIn(ctx, user, 1)
		if errors.Is(err, storage.ErrRevoked) { // as it has to be: the epoch was another
			held, err = b.signIn(ctx, user, 1)
		}
		if err != nil {
			return nil, err
		}
		anew = append(anew, held...)
	}
	return anew, nil
}
