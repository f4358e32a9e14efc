package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// traffic is GET /users/me over connections that are always busy. It costs little
// compared with the server: each connection writes the same bytes again and again.
type traffic struct {
	good    atomic.Int64 // answers with 200
	stop    atomic.Bool
	running sync.WaitGroup

	mu  sync.Mutex
	bad map[int]int // the number of other answers, by status; 0: the connection broke
}

// newTraffic starts the traffic. Each connection uses one of the tokens.
func newTraffic(ctx context.Context, addr string, connections int, tokens []string) *traffic {
	t := &traffic{bad: map[int]int{}}
	for i := range connections {
		request := fmt.Appendf(nil, "GET /users/me HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", addr, tokens[i%len(tokens)])
		t.running.Go(func() {
			for !t.stop.Load() {
				if err := t.drive(ctx, addr, request); err != nil {
					t.note(0)
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	return t
}

// drive keeps one connection busy.
func (t *traffic) drive(ctx context.Context, addr string, request []byte) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for !t.stop.Load() {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		answer, err := http.ReadResponse(answers, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if err != nil {
			return err
		}
		if answer.StatusCode == http.StatusOK {
			t.good.Add(1)
		} else {
			t.note(answer.StatusCode)
		}
	}
	return nil
}

func (t *traffic) note(status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bad[status]++
}

// failures returns the number of answers that weren't 200, by status. On a machine
// that others use too, some may be 503, because Redis doesn't answer in time.
func (t *traffic) failures() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.bad) == 0 {
		return "none"
	}
	var all []string
	for _, status := range slices.Sorted(maps.Keys(t.bad)) {
		all = append(all, fmt.Sprintf("%d × %d", t.bad[status], status))
	}
	return strings.Join(all, ", ")
}

// end stops the traffic.
func (t *traffic) end() {
	t.stop.Store(true)
	t.running.Wait()
}

// rate returns the throughput until done is closed, or for most at the longest, in
// answers a second.
func (t *traffic) rate(done <-chan struct{}, most time.Duration) float64 {
	began, before := time.Now(), t.good.Load()
	select {
	case <-done:
	case <-time.After(most):
	}
	return float64(t.good.Load()-before) / time.Since(began).Seconds()
}

// windows returns the throughput in each of five parts of the time.
func (t *traffic) windows(whole time.Duration) []float64 {
	var rates []float64
	for range 5 {
		rates = append(rates, t.rate(nil, whole/5))
	}
	return rates
}
