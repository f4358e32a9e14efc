// Package redistest starts real Redis servers for tests: one server, a Sentinel
// trio, or a Cluster of three masters, each on free loopback ports and with its
// files in a directory of the test. They end with the test.
//
// Without an installed Redis a test is skipped, or fails if CI is true: see
// [Need]. A test may share one server among its sub-tests and call Flush
// between them.
package redistest

import (
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is one Redis server. Its methods fail the test that started it.
type Server struct {
	process  *process
	password string
	client   *redis.Client
}

// Single starts one server that keeps nothing on disk. args are further
// arguments for redis-server, which take precedence: "--appendonly", "yes" or
// "--requirepass", "x".
func Single(t testing.TB, args ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	p := start(t, "redis-server", dir, func(port int) []string {
		return append(baseArgs(dir, port), args...)
	})
	s := &Server{process: p}
	if i := slices.Index(args, "--requirepass"); i >= 0 && i+1 < len(args) {
		s.password = args[i+1]
	}
	s.client = redis.NewClient(clientOptions(s.Addr(), s.password))
	t.Cleanup(func() { s.client.Close() })
	return s
}

func baseArgs(dir string, port int) []string {
	return []string{
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir,
		"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0",
	}
}

// clientOptions makes a client that finds a restarted server at once.
func clientOptions(addr, password string) *redis.Options {
	return &redis.Options{Addr: addr, Password: password, DialTimeout: time.Second, MinRetryBackoff: time.Millisecond}
}

// URL returns the URL for redisstore.Open.
func (s *Server) URL() string {
	if s.password != "" {
		return "redis://:" + s.password + "@" + s.Addr() + "/0"
	}
	return "redis://" + s.Addr() + "/0"
}

// Addr returns the host and port that the server listens on. A restart keeps
// them.
func (s *Server) Addr() string { return s.process.addr() }

// Client returns a plain client of the server, to check what a store did. It is
// closed with the test.
func (s *Server) Client() *redis.Client { return s.client }

// Flush deletes every key, so that sub-tests can share the server. Scripts and
// statistics stay.
func (s *Server) Flush() {
	s.process.t.Helper()
	if err := s.client.FlushAll(s.process.t.Context()).Err(); err != nil {
		s.process.t.Fatalf("redistest: flush: %v", err)
	}
}

// Kill ends the server like a power cut (SIGKILL). Restart brings it back.
func (s *Server) Kill() { s.process.kill() }

// Restart starts the server again on its port and files, killing it first if it
// still runs. It returns when the server answers.
func (s *Server) Restart() {
	s.process.t.Helper()
	s.process.kill()
	if err := s.process.run(); err != nil {
		s.process.t.Fatalf("redistest: restart: %v\n%s", err, s.process.tail())
	}
}

// Stop freezes the server (SIGSTOP): connections stay open, and accept more,
// but nothing answers until Cont.
func (s *Server) Stop() { s.process.signal(syscall.SIGSTOP) }

// Cont lets a stopped server run on (SIGCONT). It then runs the commands that
// came meanwhile.
func (s *Server) Cont() { s.process.signal(syscall.SIGCONT) }

// AwaitReplicas returns when the replicas have all that was written to the server. It
// doesn't use WAIT, which doesn't wait on a connection that sent nothing before.
func (s *Server) AwaitReplicas(replicas ...*Server) {
	t := s.process.t
	t.Helper()
	for _, r := range replicas {
		await(t, "a replica in step", func() bool {
			written := field(s.client.Info(t.Context(), "replication").Val(), "master_repl_offset")
			return written != "" && field(r.client.Info(t.Context(), "replication").Val(), "slave_repl_offset") == written
		})
	}
}

// field returns the value of a field of INFO.
func field(info, name string) string {
	_, after, _ := strings.Cut(info, "\r\n"+name+":")
	value, _, _ := strings.Cut(after, "\r\n")
	return value
}

// Part cuts a replica off from its master until Rejoin. The replica keeps the
// data that it has.
func (s *Server) Part() {
	s.process.t.Helper()
	s.follow("nobody")
	if err := s.client.ClientKillByFilter(s.process.t.Context(), "TYPE", "master").Err(); err != nil {
		s.process.t.Fatalf("redistest: part: %v", err)
	}
}

// Rejoin makes a parted replica follow its master again, within seconds.
func (s *Server) Rejoin() {
	s.process.t.Helper()
	s.follow("")
}

// follow sets the name with which a replica signs in to its master when it next
// connects. No master here knows any name.
func (s *Server) follow(as string) {
	s.process.t.Helper()
	for _, key := range []string{"masteruser", "masterauth"} {
		if err := s.client.ConfigSet(s.process.t.Context(), key, as).Err(); err != nil {
			s.process.t.Fatalf("redistest: %s: %v", key, err)
		}
	}
}
