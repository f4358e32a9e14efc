package faults

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// idle is the number of clients that wait for load.endIdle, in scenarios that have
// them. The grants that they revoke then are old, and known to every replica.
const idle = 8

// client is a user's device: it has one pair of tokens at a time, and uses it.
type client struct {
	*load
	user  string
	idle  bool // signs in, then waits for load.endIdle
	rand  *rand.Rand
	pair  pair
	ended []pair // pairs whose revocation was acknowledged
}

// pair is the tokens of a sign-in or a refresh. The zero pair is none.
type pair struct {
	access, refresh string
	given           time.Time
}

// step does one thing, chosen at random.
func (c *client) step() {
	n := c.rand.IntN(100)
	switch {
	case c.pair == pair{}:
		c.again(c.signIn)
	case n < 35:
		c.use(usersMe)
	case n < 55:
		c.use(introspect)
	case n < 75:
		c.refresh()
	case n < 80:
		c.race(3)
	case n < 90:
		c.look(c.rand.IntN(100))
	default:
		c.revoke()
	}
}

// again repeats try until it succeeds, as a client does without an answer.
// After patience it gives up and notes a fault.
func (c *client) again(try func() bool) {
	for deadline := time.Now().Add(patience); !try(); time.Sleep(retryPause) {
		if time.Now().After(deadline) {
			c.fault("%s tried for %v and doesn't get in", c.user, patience)
			return
		}
	}
}

// forget drops the pair if the server doesn't know it any more, so that the
// user signs in again.
func (c *client) forget(o outcome) {
	if o == wrong || o == forgotten {
		c.pair = pair{}
	}
}

func (c *client) signIn() bool {
	a, o := c.ask(c.anyURL(c.rand), question{
		kind: signIn,
		build: form("/token", appClient, url.Values{
			"grant_type": {"password"}, "username": {c.user}, "password": {password},
		}),
		right: goodAnswer(signIn, c.user),
	})
	if o != granted {
		return false
	}
	c.pair = pair{a.field("access_token"), a.field("refresh_token"), time.Now()}
	return true
}

// use presents the access token, once.
func (c *client) use(kind string) {
	_, o := c.ask(c.anyURL(c.rand), c.asks(kind, c.pair))
	c.forget(o)
}

// asks returns the question whether the pair is good.
func (c *client) asks(kind string, p pair) question {
	q := question{kind: kind, right: goodAnswer(kind, c.user), given: p.given}
	switch kind {
	case usersMe:
		q.build = bearer(http.MethodGet, "/users/me", p.access, "")
	case introspect:
		q.build = form("/introspect", apiClient, url.Values{"token": {p.access}})
	case refresh:
		q.build = form("/token", appClient, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {p.refresh}})
	case revoke:
		q.build = form("/revoke", appClient, url.Values{"token": {p.refresh}})
	}
	return q
}

// dead returns the question whether the pair is dead.
func (c *client) dead(kind string, p pair) question {
	q := c.asks(kind, p)
	q.dead, q.right = true, deadAnswer(kind)
	return q
}

// refresh spends the refresh token, with as many tries as it takes. The access
// token that it replaces is dead from then on, unless a master dies before any
// replica knows of the refresh.
func (c *client) refresh() {
	old := c.pair
	if c.pair = c.spend(old, c.rand); c.pair != (pair{}) && !c.lossy && c.rand.IntN(4) == 0 {
		c.ask(c.anyURL(c.rand), c.dead(usersMe, old))
	}
}

// spend returns the pair that follows old, or none if old was refused.
func (c *client) spend(old pair, r *rand.Rand) (next pair) {
	c.again(func() bool {
		a, o := c.ask(c.anyURL(r), c.asks(refresh, old))
		if o == granted {
			next = pair{a.field("access_token"), a.field("refresh_token"), time.Now()}
			c.follow(old.refresh, successor{next.access, next.refresh}, c)
		}
		return o == granted || o == wrong || o == forgotten
	})
	return next
}

// race spends the refresh token n times at once. All must get the same pair.
func (c *client) race(n int) {
	old, nexts := c.pair, make([]pair, n)
	var all sync.WaitGroup
	for i := range nexts {
		r := rand.New(rand.NewPCG(c.rand.Uint64(), 1))
		all.Go(func() { nexts[i] = c.spend(old, r) })
	}
	all.Wait()
	c.pair = nexts[0]
}

// revoke ends the grant, with as many tries as it takes. The grant must be dead
// from the acknowledgement on.
func (c *client) revoke() {
	old, done := c.pair, false
	c.again(func() bool {
		_, o := c.ask(c.anyURL(c.rand), c.asks(revoke, old))
		done = o == granted
		return done || o == wrong
	})
	if !done {
		return
	}
	c.pair = pair{}
	c.ended = append(c.ended, old)
	c.mu.Lock()
	c.revoked++
	c.mu.Unlock()
	c.ask(c.anyURL(c.rand), c.dead(usersMe, old))
	c.ask(c.anyURL(c.rand), c.dead(refresh, old))
}

// look presents a pair that was revoked some time ago.
func (c *client) look(n int) {
	if len(c.ended) > 0 {
		kinds := []string{usersMe, introspect, refresh}
		c.ask(c.anyURL(c.rand), c.dead(kinds[n%len(kinds)], c.ended[n%len(c.ended)]))
	}
}

// settle checks that all revoked pairs are dead, and gets in again, as every
// client must after a fault.
func (c *client) settle() {
	for _, old := range c.ended {
		for _, kind := range []string{usersMe, introspect, refresh} {
			c.again(func() bool {
				_, o := c.ask(c.anyURL(c.rand), c.dead(kind, old))
				return o == refused || o == wrong
			})
		}
	}
	for range 3 { // a master may have forgotten the pair, twice at most
		if c.pair == (pair{}) {
			c.again(c.signIn)
		}
		if c.pair = c.spend(c.pair, c.rand); c.pair != (pair{}) && c.alive(successor{c.pair.access, c.pair.refresh}) {
			return
		}
	}
	c.fault("%s doesn't get in again", c.user)
}

// alive asks until there is an answer, and reports whether the access token is
// good.
func (c *client) alive(s successor) (alive bool) {
	c.again(func() bool {
		a, o := c.ask(c.urls[0], question{
			kind: usersMe, build: bearer(http.MethodGet, "/users/me", s.access, ""),
			right: func(a answer) bool { return a.status == http.StatusOK || a.status == http.StatusUnauthorized },
		})
		alive = a.status == http.StatusOK
		return o == granted || o == wrong
	})
	return alive
}
