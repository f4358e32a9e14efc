package redistest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout = 10 * time.Second // until a server must answer
	pollInterval = 5 * time.Millisecond
	startTries   = 3 // somebody else may take the port in between
	shownOutput  = 4096
)

// process is one server program on a loopback port.
type process struct {
	t       testing.TB
	program string
	port    int
	args    []string
	output  string // path of the file that collects what it prints
	cmd     *exec.Cmd
	ended   chan struct{} // closed when cmd was waited for
}

// Need skips the test when the program isn't installed. If CI is true it fails
// the test instead, because a skipped test shows nothing.
func Need(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	text := program + " is not installed; this test needs the real one: `make deps` installs it on Debian"
	if os.Getenv("CI") == "true" {
		t.Fatal(text)
	}
	t.Skip(text)
}

// start starts the program and returns when it answers. It ends with the test;
// what it printed is logged if the test failed.
func start(t testing.TB, program, dir string, args func(port int) []string) *process {
	t.Helper()
	Need(t, program)
	p := &process{t: t, program: program, output: filepath.Join(dir, program+".log")}
	var err error
	for range startTries {
		p.port = freePort(t)
		p.args = args(p.port)
		if err = p.run(); err == nil {
			t.Cleanup(p.end)
			return p
		}
	}
	t.Fatalf("redistest: %s does not start: %v\n%s", program, err, p.tail())
	return nil
}

// run starts the program and waits until it answers.
func (p *process) run() error {
	out, err := os.OpenFile(p.output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close() // the child has its own descriptor
	p.cmd = exec.Command(p.program, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = endWithParent()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		cmd.Wait() // its status says nothing: we end it by SIGKILL
		close(ended)
	}(p.cmd, p.ended)
	return p.awaitAnswer()
}

func (p *process) awaitAnswer() error {
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(pollInterval) {
		select {
		case <-p.ended:
			return errors.New("it ended at once")
		default:
		}
		if answers(p.addr()) {
			return nil
		}
	}
	p.kill()
	return fmt.Errorf("no answer within %v", startTimeout)
}

// answers reports whether the server is ready. A server that refuses to serve
// because it wants a password or its master is ready: it has loaded its data.
func answers(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line := make([]byte, 64)
	n, _ := c.Read(line)
	return n > 0 && !bytes.HasPrefix(line[:n], []byte("-LOADING"))
}

func (p *process) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("redistest: %s on port %d: %v", p.program, p.port, err)
	}
}

// kill ends the process like a power cut, and waits until it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill() // fails only when it has ended already
	<-p.ended
}

func (p *process) end() {
	p.kill()
	if p.t.Failed() {
		p.t.Logf("%s on port %d printed:\n%s", p.program, p.port, p.tail())
	}
}

func (p *process) tail() []byte {
	out, err := os.ReadFile(p.output)
	if err != nil {
		return []byte(err.Error())
	}
	return out[max(0, len(out)-shownOutput):]
}

// freePort finds a port that nobody listens on. It stays below the range that
// systems draw outgoing ports from, so that a server can come back on its port.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 12000 + rand.IntN(20000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("redistest: no free port on 127.0.0.1")
	return 0
}

// await polls until done, or fails the test naming what it waited for.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * startTimeout); time.Now().Before(deadline); time.Sleep(4 * pollInterval) {
		if done() {
			return
		}
	}
	t.Fatalf("redistest: %s: not within %v", what, 2*startTimeout)
}
