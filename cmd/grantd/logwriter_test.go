package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
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
	l := newLineWriter(s)
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

func TestLineWriterHoldsBackInsteadOfDropping(t *testing.T) {
	s := &slowWriter{gate: make(chan struct{})}
	l := newLineWriter(s)
	line := []byte(strings.Repeat("x", 64<<10) + "\n")
	const lines = 64 // four times what may wait
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range lines {
			l.Write(line)
		}
	}()
	s.gate <- struct{}{}
	select {
	case <-done:
		t.Error("a writer that stands still took everything")
	default:
	}
	close(s.gate)
	<-done
	l.flush()
	if got := s.text.Len(); got != lines*len(line) {
		t.Errorf("%d bytes were written, want %d", got, lines*len(line))
	}
}
