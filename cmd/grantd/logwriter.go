package main

import (
	"io"
	"sync"
	"time"
)

// lineWriter writes what it is given from a goroutine of its own, so that a
// request doesn't wait for its line of the log, and lines that come meanwhile
// share a write. Lines keep their order. A writer that is too slow holds its
// callers up: no line is dropped. It is safe for concurrent use.
type lineWriter struct {
	w io.Writer

	mu      sync.Mutex
	changed sync.Cond // after every write
	pending []byte
	spare   []byte // what pending is swapped with
	busy    bool
}

const (
	// maxPending is how many bytes may wait, but for the last line.
	maxPending = 1 << 20

	// gather is how long a line waits for others to share its write, which
	// costs a busy server more than the line itself.
	gather = 5 * time.Millisecond
)

func newLineWriter(w io.Writer) *lineWriter {
	l := &lineWriter{w: w}
	l.changed.L = &l.mu
	return l
}

// Write takes the line; that it could not be written in the end nobody learns.
func (l *lineWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.pending) > maxPending {
		l.changed.Wait()
	}
	l.pending = append(l.pending, line...)
	if !l.busy {
		l.busy = true
		go l.drain()
	}
	return len(line), nil
}

func (l *lineWriter) drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.pending) > 0 {
		l.mu.Unlock()
		time.Sleep(gather)
		l.mu.Lock()
		batch := l.pending
		l.pending = l.spare[:0]
		l.mu.Unlock()
		_, _ = l.w.Write(batch) // nobody is left to tell that standard error is gone
		l.mu.Lock()
		l.spare = batch
		l.changed.Broadcast()
	}
	l.busy = false
	l.changed.Broadcast()
}

// flush returns when all that was given is written.
func (l *lineWriter) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.busy {
		l.changed.Wait()
	}
}
