package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/storage/opaque"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// A deployment key is rotated, and the old one deleted, while requests of every
// kind go to two nodes on one store: none of them fails. The nodes use the
// clock of testing/synctest, so minutes pass at once; the store has its own
// clock.
func TestKeyRotationUnderLoad(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "grantd.db")
		rotateUnderLoad(t, func(c *config) { c.Data = file })
	})
	t.Run("redis", func(t *testing.T) {
		server := redistest.Single(t)
		rotateUnderLoad(t, func(c *config) { c.Redis.URL = server.URL() })
	})
}

func rotateUnderLoad(t *testing.T, store func(*config)) {
	c := defaultConfig()
	c.Issuer = "http://127.0.0.1"
	c.Secret = newSecret(randomText(32))
	c.PasswordHash = hashConfig{Memory: 64, Time: 1, Threads: 1}
	store(&c)
	today := time.Now()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(today)) // the store's clock says today
		n := &twoNodes{t: t, keyIDs: map[byte]int{}}
		for i := range n.nodes {
			n.nodes[i] = startNode(t, &c)
		}
		old, _ := n.token(passwordForm("alice", "secret123", ""))
		ctx, stop := context.WithCancel(t.Context())
		var load sync.WaitGroup
		for _, client := range []func(){n.password, n.refreshing, n.retrying, n.validating} {
			load.Go(func() {
				for ctx.Err() == nil {
					client()
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		keys := c.deploymentKeys(n.nodes[0].store)
		time.Sleep(20 * time.Second)
		if _, err := keys.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*opaque.Activation + time.Second)
		before := n.minted(1)
		time.Sleep(time.Minute)
		stop()
		load.Wait()
		if before == 0 || n.minted(1) != before || n.minted(2) == 0 {
			t.Errorf("%d, then %d tokens were made under the old key, and %d under the new one", before, n.minted(1), n.minted(2))
		}
		n.deleteOldKey(keys, old)
		for i := range n.nodes {
			n.nodes[i].close()
		}
	})
}

// twoNodes are two servers on one store, and clients that alternate between
// them.
type twoNodes struct {
	t     *testing.T
	nodes [2]node

	mu     sync.Mutex
	turn   int
	keyIDs map[byte]int // how many tokens were made under each
}

type node struct {
	*process
	handler http.Handler
}

func startNode(t *testing.T, c *config) node {
	p, err := newProcess(t.Context(), c, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	p.throttle = nil
	return offerNode(t, p)
}

// offerNode starts the process, with the demo set, but without a listener.
func offerNode(t *testing.T, p *process) node {
	t.Helper()
	p.prepare = func(ctx context.Context) error {
		return seedDemo(ctx, p.store, p.hasher)
	}
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	h, err := p.offerAll("")
	if err != nil {
		t.Fatal(err)
	}
	n := node{process: p}
	if n.handler, err = p.handler("127.0.0.1:0", h); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n node) close() {
	n.admin.Close()
	n.store.Close()
	n.flush()
}

// next returns the two nodes in turn.
func (n *twoNodes) next() http.Handler {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.turn++
	return n.nodes[n.turn%len(n.nodes)].handler
}

func (n *twoNodes) minted(id byte) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.keyIDs[id]
}

// token asks a node for a pair.
func (n *twoNodes) token(form url.Values) (access, refresh string) {
	r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("demo", "demo-secret")
	w := httptest.NewRecorder()
	n.next().ServeHTTP(w, r)
	var pair struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &pair); err != nil || w.Code != http.StatusOK {
		n.t.Errorf("%s: %d %s", form.Get("grant_type"), w.Code, w.Body)
		return "", ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.keyIDs[madeUnder(pair.Access)]++
	return pair.Access, pair.Refresh
}

// valid asks both nodes about the token, one after the other.
func (n *twoNodes) valid(access string) {
	for range n.nodes {
		if status := n.me(n.next(), access); status != http.StatusOK {
			n.t.Errorf("/users/me: %d", status)
		}
	}
}

func (n *twoNodes) me(node http.Handler, access string) int {
	r := httptest.NewRequest(http.MethodGet, "/users/me", nil)
	r.Header.Set("Authorization", "Bearer "+access)
	w := httptest.NewRecorder()
	node.ServeHTTP(w, r)
	return w.Code
}

func (n *twoNodes) password() {
	access, _ := n.token(passwordForm("alice", "secret123", ""))
	n.valid(access)
}

// refreshing refreshes a sign-in a few times.
func (n *twoNodes) refreshing() {
	_, refresh := n.token(passwordForm("bob", "builder456", ""))
	for range 20 {
		time.Sleep(500 * time.Millisecond)
		var access string
		access, refresh = n.token(refreshForm(refresh, ""))
		n.valid(access)
	}
}

// retrying repeats each refresh at the other node, after longer and longer
// pauses, and gets the same pair.
func (n *twoNodes) retrying() {
	_, refresh := n.token(passwordForm("alice", "secret123", ""))
	for i := range 8 {
		access, next := n.token(refreshForm(refresh, ""))
		time.Sleep(time.Duration(i) * time.Second)
		again, nextAgain := n.token(refreshForm(refresh, ""))
		if again != access || nextAgain != next {
			n.t.Errorf("a retry after %d s gave another pair", i)
		}
		n.valid(again)
		refresh = next
	}
}

// validating uses one token all the time.
func (n *twoNodes) validating() {
	access, _ := n.token(passwordForm("bob", "builder456", ""))
	for range 400 {
		n.valid(access)
		time.Sleep(200 * time.Millisecond)
	}
}

// deleteOldKey deletes the old key: both nodes refuse its tokens, and no
// others.
func (n *twoNodes) deleteOldKey(keys *opaque.Keys, old string) {
	access, _ := n.token(passwordForm("alice", "secret123", ""))
	n.valid(old)
	if err := keys.Delete(n.t.Context(), 1); err != nil {
		n.t.Fatal(err)
	}
	time.Sleep(opaque.MaxAge)
	for _, node := range n.nodes {
		if status := n.me(node.handler, old); status != http.StatusUnauthorized {
			n.t.Errorf("a token of the deleted key: %d, want 401", status)
		}
	}
	n.valid(access)
}

// madeUnder is the id of the key that the token was made under, its first byte.
func madeUnder(token string) byte {
	raw, err := base64.RawURLEncoding.DecodeString(token[len("gat_"):])
	if err != nil {
		return 0
	}
	return raw[0]
}
