package redistest

import (
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// SlowProxy stands in front of a Redis and passes on its answers, each packet
// with a set delay.
type SlowProxy struct {
	listener net.Listener
	target   string
	delay    atomic.Int64 // nanoseconds
}

// packet is data to be written at a time.
type packet struct {
	due  time.Time
	data []byte
}

// SlowProxies stand in front of all servers of a deployment.
type SlowProxies []*SlowProxy

// Delay sets how much later each of them answers, from now on.
func (all SlowProxies) Delay(delay time.Duration) {
	for _, p := range all {
		p.Delay(delay)
	}
}

// Slow starts a proxy in front of the server until the test ends, at first without a
// delay.
func Slow(t testing.TB, s *Server) *SlowProxy {
	t.Helper()
	return slow(t, s.Addr())
}

func slow(t testing.TB, target string) *SlowProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &SlowProxy{listener: l, target: target}
	go p.accept()
	return p
}

// URL returns the URL for redisstore.Open.
func (p *SlowProxy) URL() string { return "redis://" + p.Addr() + "/0" }

// Addr returns the host and port that the proxy listens on.
func (p *SlowProxy) Addr() string { return p.listener.Addr().String() }

func (p *SlowProxy) port() string {
	_, port, _ := net.SplitHostPort(p.Addr())
	return port
}

// Delay sets how much later Redis answers, from now on.
func (p *SlowProxy) Delay(delay time.Duration) { p.delay.Store(int64(delay)) }

func (p *SlowProxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.serve(c)
	}
}

func (p *SlowProxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	go p.pass(client, server, func() time.Duration { return 0 })
	p.pass(server, client, func() time.Duration { return time.Duration(p.delay.Load()) })
}

// pass copies until one end is closed, then closes both. Packets wait side by side:
// a connection becomes slow, not narrow.
func (p *SlowProxy) pass(from, to net.Conn, delay func() time.Duration) {
	packets := make(chan packet, 1024)
	go func() {
		defer close(packets)
		for {
			data := make([]byte, 16<<10)
			n, err := from.Read(data)
			if err != nil {
				return
			}
			packets <- packet{time.Now().Add(delay()), data[:n]}
		}
	}()
	for next := range packets {
		time.Sleep(time.Until(next.due))
		if _, err := to.Write(next.data); err != nil {
			from.Close() // which ends the reader
		}
	}
	from.Close()
	to.Close()
}
