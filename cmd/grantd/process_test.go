package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// This file runs the real program for tests. Typical use:
//
//	g := startDev(t, "--memory")
//	resp, err := http.Get(g.URL + "/readyz")
//	…
//	if code := g.Stop(); code != 0 { … }
//	g.Stderr() // the log
//
// Use launch for everything else: other commands, a directory, an environment.

var testDir string // holds the binary; removed at the end

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "grantd-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// binary builds the program once and returns its path.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(testDir, "bin", "grantd")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// launch says how to run the program. An empty dir means a fresh directory. The
// environment is env, PATH and HOME.
type launch struct {
	args    []string
	dir     string
	env     []string
	program string // the program to run; empty: binary
}

// running is a started program.
type running struct {
	URL string // of the listener: http://127.0.0.1:40123; empty for start without a wait
	Pid int

	t      testing.TB
	cmd    *exec.Cmd
	stdout lockedBuffer
	stderr lockedBuffer
	ended  chan struct{}
	code   int // the exit code, once it ended
}

// startDev starts grantd dev on a free port and waits until it listens.
func startDev(t testing.TB, args ...string) *running {
	t.Helper()
	return launch{args: append([]string{"dev", "--addr", "127.0.0.1:0"}, args...)}.start(t)
}

// start starts the program and waits until it listens.
func (l launch) start(t testing.TB) *running {
	t.Helper()
	g := l.spawn(t)
	g.awaitAddress()
	return g
}

// spawn starts the program. It is stopped at the end of the test.
func (l launch) spawn(t testing.TB) *running {
	t.Helper()
	path := l.program
	if path == "" {
		var err error
		if path, err = binary(); err != nil {
			t.Fatal(err)
		}
	}
	if l.dir == "" {
		l.dir = t.TempDir()
	}
	g := &running{t: t, cmd: exec.Command(path, l.args...), ended: make(chan struct{})}
	g.cmd.Dir = l.dir
	g.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.dir}, l.env...)
	g.cmd.Stdout, g.cmd.Stderr = &g.stdout, &g.stderr
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g.Pid = g.cmd.Process.Pid
	go func() {
		g.code = exitCode(g.cmd.Wait())
		close(g.ended)
	}()
	t.Cleanup(func() { g.Stop() })
	return g
}

// run runs the program to its end and returns its exit code and output.
func (l launch) run(t testing.TB) (code int, stdout, stderr string) {
	t.Helper()
	g := l.spawn(t)
	code = g.Wait(30 * time.Second)
	return code, g.Stdout(), g.Stderr()
}

var address = regexp.MustCompile(`listening on (https?://\S+)|msg"?[=:]"?listening"?[ ,]"?addr"?[=:]"?([^" ]+)`)

// awaitAddress reads the address that dev prints and serve logs.
func (g *running) awaitAddress() {
	g.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if m := address.FindStringSubmatch(g.Stdout() + g.Stderr()); m != nil {
			g.URL = m[1]
			if g.URL == "" {
				g.URL = "http://" + m[2]
			}
			return
		}
		select {
		case <-g.ended:
			g.t.Fatalf("grantd %q exited with %d\n%s%s", g.cmd.Args[1:], g.code, g.Stdout(), g.Stderr())
		case <-time.After(5 * time.Millisecond):
		}
	}
	g.t.Fatalf("grantd %q printed no address\n%s%s", g.cmd.Args[1:], g.Stdout(), g.Stderr())
}

// Signal sends a signal to the program.
func (g *running) Signal(s syscall.Signal) {
	if err := g.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		g.t.Error(err)
	}
}

// Stop sends SIGTERM, waits for the end and returns the exit code. It may be
// called again.
func (g *running) Stop() int {
	g.Signal(syscall.SIGTERM)
	return g.Wait(20 * time.Second)
}

// Wait waits for the end and returns the exit code. It kills a program that
// takes too long.
func (g *running) Wait(limit time.Duration) int {
	select {
	case <-g.ended:
	case <-time.After(limit):
		g.t.Errorf("grantd did not end within %s\n%s%s", limit, g.Stdout(), g.Stderr())
		g.Signal(syscall.SIGKILL)
		<-g.ended
	}
	return g.code
}

// Stdout is what the program has printed.
func (g *running) Stdout() string { return g.stdout.String() }

// Stderr is what the program has logged.
func (g *running) Stderr() string { return g.stderr.String() }

// awaitLog waits until the log holds the text.
func (g *running) awaitLog(text string) {
	g.t.Helper()
	for range 2000 {
		if strings.Contains(g.Stderr(), text) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	g.t.Fatalf("the log never held %q\n%s", text, g.Stderr())
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode() // -1 when a signal ended it
	}
	return -2
}

// lockedBuffer is a buffer that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
