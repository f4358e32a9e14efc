package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// slowWriter counts its writes and lets one through at a time.
type slowWriter struct {
	mu     sync.Mutex
	text   strings.Builder
	writes int
	gate   chan struct{}
}

func (s *slowWriter) Write(p []byte) (int, error) {
	<-s.gate
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	return s.text.Write(p)
}

func TestLineWriter(t *testing.T) {
	s := &slowWriter{gate: make(chan struct{})}
	l := newLineWriter(s, nil)
	var want strings.Builder
	for i := range 1000 {
		line := fmt.Sprintln("line", i)
		want.WriteString(line)
		if n, err := l.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatalf("Write gives %d, %v", n, err)
		}
	}
	close(s.gate)
	l.flush()
	if s.text.String() != want.String() {
		t.Error("lines were lost or changed their order")
	}
	if s.writes > 2 {
		t.Errorf("%d writes, want the lines that waited to share one", s.writes)
	}
}

// giveLines writes n numbered lines of 1/64 MiB each, and returns how long the slowest
// write took.
func giveLines(l *lineWriter, n int) (slowest time.Duration) {
	for i := range n {
		began := time.Now()
		fmt.Fprintf(l, "%d %s\n", i, strings.Repeat("x", 16<<10))
		slowest = max(slowest, time.Since(began))
	}
	return slowest
}

func TestLineWriterHoldsBackForASlowWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowWriter{gate: make(chan struct{})}
		l := newLineWriter(s, nil)
		done := make(chan struct{})
		defer close(done)
		go func() {
			reads := time.NewTicker(logPatience / 2)
			for {
				select {
				case <-reads.C:
				case <-done:
					return
				}
				select {
				case s.gate <- struct{}{}:
				case <-done:
					return
				}
			}
		}()
		if slowest := giveLines(l, 4*64); slowest == 0 || slowest > logPatience {
			t.Errorf("a line waited for %v", slowest)
		}
		l.flush()
		if got := strings.Count(s.text.String(), "\n"); got != 4*64 {
			t.Errorf("%d lines were written, want all", got)
		}
	})
}

func TestLineWriterDropsWhatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowWriter{gate: make(chan struct{})}
		l := newLineWriter(s, func(lines int) []byte { return fmt.Appendln(nil, "lost", lines) })
		began := time.Now()
		const lines = 1000
		giveLines(l, lines)
		if took := time.Since(began); took > 2*logPatience {
			t.Errorf("%d lines took %v", lines, took)
		}
		l.flush()
		close(s.gate)
		l.flush()
		_, err := l.Write([]byte("next\n"))
		l.flush()
		text := s.text.String()
		kept := strings.Count(text, "x\n")
		if err != nil || kept < 64 || kept > 150 || !strings.HasSuffix(text, fmt.Sprintf("x\nlost %d\nnext\n", lines-kept)) {
			t.Errorf("%d lines were written, and then %q, %v", kept, text[strings.LastIndex(text, "x\n"):], err)
		}
	})
}

// Neither requests nor the end of a server wait for the reader of its log.
func TestALogThatNobodyReadsHoldsNobodyUp(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	log, stderr, err := os.Pipe() // of 64 KiB, which nobody reads
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	addr := "127.0.0.1:" + freePort(t)
	server := exec.Command(path, "dev", "--memory", "--addr", addr)
	server.Dir, server.Stderr = t.TempDir(), stderr
	if err := errors.Join(server.Start(), stderr.Close()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	defer server.Process.Kill()
	await(t, 20*time.Second, "a server that is ready", func() bool {
		res, err := http.Get("http://" + addr + "/readyz")
		return err == nil && res.Body.Close() == nil && res.StatusCode == http.StatusOK
	})
	var wg sync.WaitGroup
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	for range 16 {
		wg.Go(func() {
			for range 600 { // twice as much as the pipe and the queue take
				res, err := client.Get("http://" + addr + "/users/me")
				if err != nil || res.StatusCode != http.StatusUnauthorized {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
	wg.Wait()
	server.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the server doesn't end")
	}
}
