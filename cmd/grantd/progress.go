package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// progress shows how far a long command is: on a terminal in one line that changes,
// elsewhere with a new line every ten seconds.
type progress struct {
	w        io.Writer
	terminal bool
	noun     string // what the command goes through, in the plural
	began    time.Time
	total    atomic.Int64 // size of the input, in the unit of read; 0: not known
	read     atomic.Int64
	count    atomic.Int64 // lines, or what noun says, so far

	mu    sync.Mutex // guards w
	shown bool       // the changing line is on the terminal
}

// newProgress returns a progress that is shown on w. w is a terminal if it is standard
// error and that is a terminal.
func newProgress(w io.Writer, total int64) *progress {
	p := &progress{w: w, terminal: w == os.Stderr && isTerminal(os.Stderr), noun: "lines", began: time.Now()}
	p.total.Store(total)
	return p
}

// start shows the progress until the returned function is called.
func (p *progress) start() (stop func()) {
	every := 10 * time.Second
	if p.terminal {
		every = 200 * time.Millisecond
	}
	ticker := time.NewTicker(every)
	done := make(chan struct{})
	var shower sync.WaitGroup
	shower.Go(func() {
		for {
			select {
			case <-ticker.C:
				p.show(time.Since(p.began))
			case <-done:
				return
			}
		}
	})
	return func() {
		ticker.Stop()
		close(done)
		shower.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.clear()
	}
}

// reader returns r, and counts the bytes that are read.
func (p *progress) reader(r io.Reader) io.Reader { return &countedReader{r, &p.read} }

type countedReader struct {
	io.Reader
	read *atomic.Int64
}

// Read counts the bytes.
func (c *countedReader) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.read.Add(int64(n))
	return n, err
}

// tell writes a line that stays.
func (p *progress) tell(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintln(p.w, text)
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

func (p *progress) show(elapsed time.Duration) {
	text := p.text(elapsed)
	if !p.terminal {
		p.tell(text)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprint(p.w, "\r\x1b[K"+text)
	p.shown = true
}

// text returns "[=====     ] 50%  41000 lines  8200 a second  5s left", or as much of
// that as is known.
func (p *progress) text(elapsed time.Duration) string {
	count, read, total := p.count.Load(), p.read.Load(), p.total.Load()
	text := fmt.Sprintf("%d %s", count, p.noun)
	if seconds := elapsed.Seconds(); seconds > 0 {
		text += fmt.Sprintf("  %.0f a second", float64(count)/seconds)
	}
	if total <= 0 || read <= 0 {
		return text
	}
	const width = 20
	done := min(float64(read)/float64(total), 1)
	left := time.Duration(float64(elapsed) * (1/done - 1)).Round(time.Second)
	bar := fmt.Sprintf("[%-*.*s]", width, int(done*width), "====================")
	return fmt.Sprintf("%s %.0f%%  %s  %s left", bar, done*100, text, left)
}
