package faults

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The only node is killed again and again while all clients only refresh. Each
// client repeats its refresh until it is answered.
func TestANodeIsKilledWhileAllRefresh(t *testing.T) {
	s := size(t)
	server := durable(t)
	d := deploy(t, storeConfig{redis: server.URL()}, s.clients, 1)
	l := newLoad(t, "grantd killed, restarted, while all refresh", s, d)
	l.mute = true
	l.start()
	l.calm()
	l.stop()

	var left atomic.Int64
	left.Store(int64(s.refreshes))
	var all sync.WaitGroup
	for _, c := range l.clients {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if (c.pair == pair{}) {
					c.again(c.signIn)
				}
				c.refresh()
			}
		})
	}
	l.during(func() {
		for kill := range s.kills {
			mark := int64(s.refreshes * (s.kills - kill) / (s.kills + 1))
			for left.Load() > mark {
				time.Sleep(time.Millisecond)
			}
			d.nodes[0].kill()
			d.nodes[0].start()
		}
	})
	all.Wait()
	l.finish(keysOf(server))
}
