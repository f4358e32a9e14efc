package main

import (
	"io"
	"sync"
	"time"
)

// lineWriter writes log lines to w in a goroutine of its own, so that no request waits
// for its line, and lines that come at the same time share a write. Lines keep their
// order. If w is too slow, Write waits for a moment; while w takes nothing at all,
// lines are dropped and counted. It is safe for concurrent use.
type lineWriter struct {
	w    io.Writer
	lost func(lines int) []byte // returns the line that tells of dropped lines

	mu      sync.Mutex
	changed sync.Cond // after every write, and when a wait has taken too long
	pending []byte
	spare   []byte // swapped with pending
	busy    bool   // drain is running
	stuck   bool   // Write doesn't wait until w has taken something again
	dropped int    // lines, since the last write
}

const (
	// maxPending is how many bytes may wait to be written. The last line may exceed
	// it.
	maxPending = 1 << 20

	// gather is how long a line waits for others to share its write. On a busy
	// server a write costs more than the line itself.
	gather = 5 * time.Millisecond

	logPatience   = 200 * time.Millisecond // how long a line waits for room
	flushPatience = 2 * time.Second        // how long flush waits for w
)

func newLineWriter(w io.Writer, lost func(lines int) []byte) *lineWriter {
	l := &lineWriter{w: w, lost: lost}
	l.changed.L = &l.mu
	return l
}

// Write takes the line. It reports no error, even if the line can't be written later.
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

// wait waits until done returns true, but no longer than patience, and returns done().
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
		_, _ = l.w.Write(batch) // an error means that standard error is gone
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

// flush returns when all lines are written, or after flushPatience.
func (l *lineWriter) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wait(flushPatience, func() bool { return !l.busy })
}
