package main

import (
	"io"
	"sync"
	"time"
)

// lineWriter writes lines from a goroutine of its own, so that a request
// doesn't wait for its line of the log, and lines that come meanwhile share a
// write. Lines keep their order. If w is too slow, callers wait for a moment;
// while w takes nothing at all, lines are dropped and counted. It is safe for
// concurrent use.
type lineWriter struct {
	w    io.Writer
	lost func(lines int) []byte // makes the line that tells how many were dropped

	mu      sync.Mutex
	changed sync.Cond // after every write, and when somebody has waited enough
	pending []byte
	spare   []byte // is swapped with pending
	busy    bool
	stuck   bool // callers don't wait for w until it has written something
	dropped int  // lines, since it was stuck
}

const (
	// maxPending is how many bytes may wait, without the last line.
	maxPending = 1 << 20

	// gather is how long a line waits for others to share its write, which
	// costs a busy server more than the line itself.
	gather = 5 * time.Millisecond

	logPatience   = 200 * time.Millisecond // how long a line waits for room
	flushPatience = 2 * time.Second        // how long flush waits for a write
)

func newLineWriter(w io.Writer, lost func(lines int) []byte) *lineWriter {
	l := &lineWriter{w: w, lost: lost}
	l.changed.L = &l.mu
	return l
}

// Write takes the line. If the line can't be written in the end, the caller
// doesn't learn it.
func (l *lineWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full := func() bool { return len(l.pending) > maxPending }
	if full() && !l.stuck && !l.wait(logPatience, func() bool { return !full() || l.stuck }) {
		l.stuck = true
	}
	if full() {
		l.dropped++
		return len(line), nil
	}
	l.pending = append(l.pending, line...)
	if !l.busy {
		l.busy = true
		go l.drain()
	}
	return len(line), nil
}

// wait waits until done returns true, or for patience at most, and returns the
// result of done.
func (l *lineWriter) wait(patience time.Duration, done func() bool) bool {
	enough := false
	timer := time.AfterFunc(patience, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		enough = true
		l.changed.Broadcast()
	})
	defer timer.Stop()
	for !done() && !enough {
		l.changed.Wait()
	}
	return done()
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
		if l.dropped > 0 {
			l.pending = append(l.pending, l.lost(l.dropped)...)
		}
		l.stuck, l.dropped = false, 0
		l.changed.Broadcast()
	}
	l.busy = false
	l.changed.Broadcast()
}

// flush returns when all lines are written, or w takes nothing.
func (l *lineWriter) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wait(flushPatience, func() bool { return !l.busy })
}
