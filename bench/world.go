package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// tokens is how many access tokens a load that reads uses in turn.
const tokens = 64

// world is all the running servers that are measured.
type world struct {
	*fleet
	o options

	redis, bare, stock, onRedis, onCluster, embedded *server

	access map[*server][]string // access tokens
}

// newWorld starts everything. The caller has to close the world, even after an error.
func newWorld(ctx context.Context, o options) (*world, error) {
	f, err := newFleet("redis-server", "wrk")
	w := &world{fleet: f, o: o, access: map[*server][]string{}}
	if err != nil {
		return w, err
	}
	if w.redis, err = w.startRedis(ctx, "Redis"); err != nil {
		return w, err
	}
	nodes, err := w.startCluster(ctx)
	if err != nil {
		return w, err
	}
	if err := w.startServers(ctx, nodes); err != nil {
		return w, err
	}
	return w, w.seed(ctx)
}

func (w *world) startServers(ctx context.Context, nodes []*server) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	grantd, err := filepath.Abs(w.o.grantd)
	if err != nil {
		return err
	}
	for _, s := range []struct {
		place  **server
		name   string
		args   []string // the address is appended
		stores []*server
	}{
		{&w.bare, "bare", []string{self, "bare", w.redisURL()}, []*server{w.redis}},
		{&w.stock, "stock", []string{self, "stock", w.redisURL()}, []*server{w.redis}},
		{&w.onRedis, "grantd", grantdArgs(grantd, w.redisURL()), []*server{w.redis}},
		{&w.onCluster, "grantd on Cluster", grantdArgs(grantd, clusterURL(nodes)), nodes},
		{&w.embedded, "grantd embedded", grantdArgs(grantd, ""), nil},
	} {
		*s.place, err = w.start(ctx, s.name, func(addr string) []string { return append(s.args, addr) })
		if err != nil {
			return err
		}
		(*s.place).stores = s.stores
	}
	return nil
}

// grantdArgs returns a command line of grantd, but for the address, which has to be
// appended. The throttle is off because the loads send very many passwords.
func grantdArgs(binary, redisURL string) []string {
	args := []string{binary, "dev", "--throttle", "off"}
	if redisURL != "" {
		args = append(args, "--redis", redisURL)
	}
	return append(args, "--addr")
}

func (w *world) redisURL() string { return "redis://" + w.redis.addr + "/0" }

func (w *world) seed(ctx context.Context) (err error) {
	if w.access[w.bare], err = seedBare(ctx, w.redisURL(), tokens); err != nil {
		return err
	}
	for _, s := range []*server{w.stock, w.onRedis, w.onCluster, w.embedded} {
		pairs, err := signIns(ctx, s, tokens)
		if err != nil {
			return err
		}
		for _, p := range pairs {
			w.access[s] = append(w.access[s], p.Access)
		}
	}
	return nil
}

// refreshTokens makes one refresh token for each connection.
func (w *world) refreshTokens(ctx context.Context, s *server) ([]string, error) {
	if s == w.bare {
		return seedBare(ctx, w.redisURL(), w.o.connections)
	}
	pairs, err := signIns(ctx, s, w.o.connections)
	var all []string
	for _, p := range pairs {
		all = append(all, p.Refresh)
	}
	return all, err
}

type pair struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// signIns signs the demo user in n times, four at once.
func signIns(ctx context.Context, s *server, n int) ([]pair, error) {
	pairs := make([]pair, n)
	next := make(chan *pair, n)
	for i := range pairs {
		next <- &pairs[i]
	}
	close(next)
	err := together(4, func() (err error) {
		for p := range next {
			if *p, err = signIn(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		return nil
	})
	return pairs, err
}

func signIn(ctx context.Context, s *server) (p pair, err error) {
	form := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"secret123"}, "scope": {"read"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.addr+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return p, err
	}
	r.SetBasicAuth("demo", "demo-secret")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := client.Do(r)
	if err != nil {
		return p, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&p); err != nil {
		return p, err
	}
	if p.Access == "" || p.Refresh == "" {
		return p, errors.New("no tokens, but status " + response.Status)
	}
	return p, nil
}

// together runs f n times at once.
func together(n int, f func() error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = f() })
	}
	all.Wait()
	return errors.Join(errs...)
}
