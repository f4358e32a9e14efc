package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tokens is how many access tokens the reading measurements take turns with.
const tokens = 64

// world is everything that is measured, running.
type world struct {
	o     options
	dir   string
	procs []*exec.Cmd

	redis, bare, stock, onRedis, embedded *server
	access                                map[*server][]string
}

// server is a process on a loopback port.
type server struct {
	name string
	addr string
	cmd  *exec.Cmd
}

// newWorld starts everything. What it returns has to be closed, error or not.
func newWorld(ctx context.Context, o options) (*world, error) {
	w := &world{o: o, access: map[*server][]string{}}
	var err error
	if w.dir, err = os.MkdirTemp("", "grantd-bench-"); err != nil {
		return w, err
	}
	for _, program := range []string{"redis-server", "wrk"} {
		if _, err := exec.LookPath(program); err != nil {
			return w, fmt.Errorf("%s is not installed (Debian: apt-get install redis-server wrk)", program)
		}
	}
	if o.grantd, err = filepath.Abs(o.grantd); err != nil {
		return w, err
	}
	self, err := os.Executable()
	if err != nil {
		return w, err
	}
	start := func(name string, command func(addr string) []string) *server {
		if err != nil {
			return nil
		}
		var s *server
		s, err = w.start(ctx, name, command)
		return s
	}
	w.redis = start("Redis", func(addr string) []string {
		_, port, _ := net.SplitHostPort(addr)
		return []string{"redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}
	})
	redisURL := func() string { return "redis://" + w.redis.addr + "/0" }
	w.bare = start("bare", func(addr string) []string { return []string{self, "bare", addr, redisURL()} })
	w.stock = start("stock", func(addr string) []string { return []string{self, "stock", addr, redisURL()} })
	w.onRedis = start("grantd", func(addr string) []string {
		return []string{o.grantd, "dev", "--addr", addr, "--redis", redisURL(), "--throttle", "off"}
	})
	w.embedded = start("grantd embedded", func(addr string) []string {
		return []string{o.grantd, "dev", "--addr", addr, "--throttle", "off"}
	})
	if err != nil {
		return w, err
	}
	return w, w.seed(ctx, redisURL())
}

// start starts a process in a directory of its own and waits until it listens.
// Its output goes to a file there, as a log would.
func (w *world) start(ctx context.Context, name string, command func(addr string) []string) (*server, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := ln.Addr().String()
	ln.Close()
	args := command(addr)
	dir := filepath.Join(w.dir, strings.ReplaceAll(name, " ", "-"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return nil, err
	}
	defer output.Close() // the child has its own descriptor
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, output, output
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	w.procs = append(w.procs, cmd)
	for range 200 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return &server{name, addr, cmd}, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	text, _ := os.ReadFile(output.Name())
	return nil, fmt.Errorf("%s does not listen:\n%s", name, text)
}

// close ends what was started.
func (w *world) close() {
	for i := len(w.procs) - 1; i >= 0; i-- {
		w.procs[i].Process.Kill()
		w.procs[i].Wait()
	}
	os.RemoveAll(w.dir)
}

func (w *world) seed(ctx context.Context, redisURL string) (err error) {
	if w.access[w.bare], err = seedBare(ctx, redisURL, tokens); err != nil {
		return err
	}
	for _, s := range []*server{w.stock, w.onRedis, w.embedded} {
		for range tokens {
			pair, err := signIn(ctx, s)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			w.access[s] = append(w.access[s], pair.Access)
		}
	}
	return nil
}

// refreshTokens makes one for each connection.
func (w *world) refreshTokens(ctx context.Context, s *server) ([]string, error) {
	if s == w.bare {
		return seedBare(ctx, "redis://"+w.redis.addr+"/0", w.o.connections)
	}
	var all []string
	for range w.o.connections {
		pair, err := signIn(ctx, s)
		if err != nil {
			return nil, err
		}
		all = append(all, pair.Refresh)
	}
	return all, nil
}

type pair struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func signIn(ctx context.Context, s *server) (p pair, err error) {
	form := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"secret123"}, "scope": {"read"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.addr+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return p, err
	}
	r.SetBasicAuth("demo", "demo-secret")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(r)
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

// cpu is the processor time that the process has used.
func (s *server) cpu() time.Duration {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// resident is how many MiB of memory the process has now.
func (s *server) resident() int {
	statm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.cmd.Process.Pid))
	pages, _ := strconv.Atoi(strings.Fields(string(statm))[1])
	return pages * os.Getpagesize() >> 20
}
