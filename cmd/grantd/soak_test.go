package main

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// soakTime is how long the soak sends requests without the variable SOAK: a
// short time, since all tests wait for it. make soak runs it for long.
const soakTime = 12 * time.Second

// soakEnv makes grants end soon, so that they end in every way: revoked,
// expired, idle for too long, reused.
var soakEnv = []string{
	"GRANTD_ACCESS_LIFETIME=4s", "GRANTD_REFRESH_IDLE=5s", "GRANTD_REFRESH_ABSOLUTE=8s", "GRANTD_RETRY_WINDOW=3s",
	"GRANTD_TRUSTED_PROXIES=127.0.0.1", "GOTRACEBACK=all",
}

// TestSoak sends requests of all kinds to the real program. After that nothing
// of them may be left: no goroutine, no file handle, no key or row. The memory
// must not have grown.
func TestSoak(t *testing.T) {
	duration := soakTime
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "grantd.db")
		newSoak(t, "GRANTD_DATA="+path, "").run(duration, func() string { return leftRows(t, path) })
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		server := redistest.Single(t)
		newSoak(t, "GRANTD_REDIS_URL="+server.URL(), server.Addr()).run(duration, func() string { return leftKeys(t, server.Client()) })
	})
}

type soak struct {
	*fleet
	*traffic
	t     *testing.T
	store string // address of Redis, or empty
	short *traffic
	admin *traffic
}

func newSoak(t *testing.T, store, address string) *soak {
	f := newFleet(t, 0, append([]string{store}, soakEnv...)...)
	secret, password := writeFile(t, "secret", webSecret), writeFile(t, "password", fleetPassword)
	f.grantd("client", "add", "short", "--grant", "password", "--grant", "client_credentials", "--scope", "read", "--access-lifetime", "2s", "--secret-file", secret)
	f.grantd("client", "add", "operator", "--grant", "client_credentials", "--scope", "admin", "--secret-file", secret)
	for _, name := range []string{"bob", "carol"} {
		f.grantd("user", "add", name, "--password-file", password)
	}
	f.addrs, f.nodes = []string{net.JoinHostPort("127.0.0.1", freePort(t))}, []*running{nil}
	f.start(0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the balancer asks /readyz only once: an idle node must get no requests
	s := &soak{fleet: f, traffic: f.traffic(ctx), t: t, store: address}
	s.patient = true // users and sign-ins are ended all the time
	s.short, s.admin = s.as("short", fleetUser), s.as("operator", "")
	return s
}

// as returns traffic of another client and user with the same counts.
func (s *soak) as(client, user string) *traffic {
	other := *s.traffic
	other.id, other.user = client, user
	return &other
}

func (s *soak) run(duration time.Duration, left func() string) {
	kinds := []func(){
		s.signsInAndOut, s.refreshes, s.refreshes, s.forItself, s.reuses, s.leavesShortTokens, s.leavesSignIns, s.administers, s.endsAUser,
		s.changesAPassword, s.aborts, s.guesses,
	}
	began := time.Now()
	rss := s.load(min(duration/4, 30*time.Second), kinds) // until pools and caches have their size
	idle := s.idle()
	rss = append(rss[:0], s.load(duration, kinds)...)
	after := s.idle()

	s.grantd("grant", "revoke", "--all", "--yes")
	remains := ""
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if remains = left(); remains == "" {
			break
		}
	}
	s.report(fmt.Sprintf("soak of %s", time.Since(began).Round(time.Second)))
	third := len(rss) / 3
	middle, last := median(rss[third:2*third]), median(rss[2*third:])
	after.goroutines = s.goroutines()
	fresh := s.fresh()
	s.t.Logf("resident memory %d MiB in the middle third, %d MiB in the last one; idle: file handles %d before, %d after, of them not to the store %d and %d; goroutines %d in a fresh process, %d after; left in the store: %s",
		middle>>20, last>>20, idle.files, after.files, idle.others, after.others, total(fresh), total(after.goroutines), cmp.Or(remains, "nothing"))
	const noise = 4 << 20
	if last > middle+middle/10+noise {
		s.t.Errorf("memory grew from %d to %d bytes", middle, last)
	}
	if after.others > idle.others {
		s.t.Errorf("%d file handles leaked", after.others-idle.others)
	}
	for origin, n := range after.goroutines {
		if n > fresh[origin] {
			s.t.Errorf("%d goroutines leaked, %s", n-fresh[origin], origin)
		}
	}
	if told := s.answers["sign-in, to be repeated"]; told > s.answers["sign-in"]/100 {
		s.t.Errorf("%d of %d sign-ins were told to be repeated", told, s.answers["sign-in"])
	}
	if remains != "" {
		s.t.Errorf("left in the store: %s", remains)
	}
}

// load makes clients do all these things for that time, and returns the
// resident memory during it.
func (s *soak) load(d time.Duration, kinds []func()) (rss []int64) {
	ctx, cancel := context.WithTimeout(s.t.Context(), d)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.traffic.run(ctx, 20*time.Millisecond, kinds...)
	}()
	tick := time.NewTicker(max(d/120, 100*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-done:
			return rss
		case <-tick.C:
			rss = append(rss, s.rss())
		}
	}
}

// reuses spends a refresh token a second time, after its successor was used.
// That ends the sign-in.
func (s *soak) reuses() {
	first := s.signIn()
	second := s.token("refresh", refreshForm(first.refresh, ""))
	third := s.token("refresh", refreshForm(second.refresh, ""))
	s.ask("refresh, reused", "/token", refreshForm(first.refresh, ""), "", http.StatusBadRequest)
	s.refused(third.access)
}

// leavesShortTokens uses tokens that live for two seconds, and then once more
// when they have expired.
func (s *soak) leavesShortTokens() {
	p := s.short.signIn()
	for range 3 {
		s.short.token("client_credentials, left", url.Values{"grant_type": {"client_credentials"}})
	}
	s.valid(p.access)
	time.Sleep(2100 * time.Millisecond)
	s.ask("users/me, expired", "/users/me", nil, p.access, http.StatusUnauthorized)
}

// leavesSignIns leaves sign-ins to expire.
func (s *soak) leavesSignIns() {
	p := s.signIn()
	s.token("refresh", refreshForm(p.refresh, ""))
	time.Sleep(20 * time.Millisecond)
}

func (s *soak) adminToken() string {
	return s.admin.token("client_credentials, admin", url.Values{"grant_type": {"client_credentials"}, "scope": {"admin"}}).access
}

// administers reads the lists of the admin API.
func (s *soak) administers() {
	token := s.adminToken()
	for _, path := range []string{"/users", "/clients", "/keys", "/grants?user=" + fleetUser + "&limit=20", "/grants?client=web&limit=20", "/revocations?limit=5", "/audit?limit=20", "/users/bob/throttle"} {
		s.ask("admin, read", "/admin/v1"+path, nil, token, http.StatusOK)
	}
	time.Sleep(100 * time.Millisecond)
}

func (s *soak) sendJSON(kind, path, token string, body any, want ...int) answered {
	return s.send(kind, func(base string) *http.Request {
		text, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		r, err := http.NewRequest(http.MethodPost, base+path, bytes.NewReader(text))
		if err != nil {
			panic(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		return r
	}, want...)
}

// endsAUser ends all sign-ins of bob.
func (s *soak) endsAUser() {
	bob := s.as("web", "bob")
	pairs := []pair{bob.signIn(), bob.signIn(), bob.signIn()}
	bob.valid(pairs[0].access)
	s.sendJSON("admin, revoke a user", "/admin/v1/revocations", s.adminToken(), map[string]any{"user": "bob"}, http.StatusOK, http.StatusCreated, http.StatusAccepted)
	for _, p := range pairs {
		s.refused(p.access)
		s.ask("refresh, revoked", "/token", refreshForm(p.refresh, ""), "", http.StatusBadRequest)
	}
	time.Sleep(200 * time.Millisecond)
}

// changesAPassword signs carol out everywhere, twice.
func (s *soak) changesAPassword() {
	carol := s.as("web", "carol")
	for _, next := range []string{"another battery horse", fleetPassword} {
		p := carol.signIn()
		change := map[string]string{"old_password": carol.password, "new_password": next}
		if a := s.sendJSON("users/me/password", "/users/me/password", p.access, change, http.StatusOK, http.StatusNoContent); a.status < 300 {
			carol.password = next
		}
		s.refused(p.access)
	}
	time.Sleep(200 * time.Millisecond)
}

// aborts closes connections early: within the head, within the body, and before
// the answer.
func (s *soak) aborts() {
	form := passwordForm(s.user, s.password, "").Encode()
	head := fmt.Sprintf("POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n", len(form))
	basic, err := http.NewRequest(http.MethodPost, "http://x", nil)
	if err != nil {
		panic(err)
	}
	basic.SetBasicAuth(s.id, s.pass)
	head += "Authorization: " + basic.Header.Get("Authorization") + "\r\n\r\n"
	for _, sent := range []string{head[:30], head + form[:10], head + form} {
		c, err := net.Dial("tcp", s.addrs[0])
		if err != nil {
			s.fail("aborting: %v", err)
			return
		}
		io.WriteString(c, sent)
		c.Close()
		s.count("aborted", 0, 0, []int{0}, "")
	}
}

// guesses tries wrong passwords from another network.
func (s *soak) guesses() {
	for i := range 10 {
		s.send("guess", func(base string) *http.Request {
			r, err := http.NewRequest(http.MethodPost, base+"/token", strings.NewReader(passwordForm(fmt.Sprint("nobody", i), "wrong password", "").Encode()))
			if err != nil {
				panic(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("X-Forwarded-For", fmt.Sprint("203.0.113.", i))
			r.SetBasicAuth(s.id, s.pass)
			return r
		}, http.StatusBadRequest, http.StatusTooManyRequests)
	}
	time.Sleep(200 * time.Millisecond)
}

// atRest counts what an idle process holds open.
type atRest struct {
	files  int
	others int // files other than connections to the store, whose pool has its own size

	goroutines map[string]int
}

// idle closes the clients' connections, and waits until the process has noticed.
func (s *soak) idle() (at atRest) {
	s.t.Helper()
	previous := atRest{files: -1}
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		s.via.http.CloseIdleConnections()
		at = s.open()
		if at.files == previous.files && at.others == previous.others && len(s.sockets(s.addrs[0])) == 0 {
			return at
		}
		previous = at
	}
	s.t.Errorf("file handles never settled: %+v", at)
	return at
}

func (s *soak) open() (at atRest) {
	s.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", s.nodes[0].Pid)
	names, err := os.ReadDir(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	known := append(s.sockets(s.store), s.sockets(s.addrs[0])...)
	for _, name := range names {
		at.files++
		if target, err := os.Readlink(filepath.Join(dir, name.Name())); err == nil && !slices.Contains(known, target) {
			at.others++
		}
	}
	return at
}

// sockets are the process's connections from or to the address, as /proc/PID/fd
// names them.
func (s *soak) sockets(address string) (names []string) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", s.nodes[0].Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	own := map[string]bool{}
	dir := fmt.Sprintf("/proc/%d/fd", s.nodes[0].Pid)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		target, _ := os.Readlink(filepath.Join(dir, e.Name()))
		own[target] = true
	}
	const established = "01"
	hex := fmt.Sprintf(":%04X", n)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != established || !strings.HasSuffix(f[1], hex) && !strings.HasSuffix(f[2], hex) {
			continue
		}
		if name := "socket:[" + f[9] + "]"; own[name] {
			names = append(names, name)
		}
	}
	return names
}

var vmRSS = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

// rss is the process's resident memory in bytes.
func (s *soak) rss() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.nodes[0].Pid))
	m := vmRSS.FindSubmatch(text)
	if err != nil || m == nil {
		s.t.Errorf("no memory of the process: %v", err)
		return 0
	}
	kib, _ := strconv.ParseInt(string(m[1]), 10, 64) // the expression matched digits
	return kib << 10
}

func median(values []int64) int64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

var goroutineOrigin = regexp.MustCompile(`(?m)^created by (.*?)( in goroutine \d+)?$`)

// goroutines ends the process, which then prints its goroutines, and counts
// them by what created them. It leaves out the first one, and those of the
// runtime, which come and go.
func (s *soak) goroutines() map[string]int {
	s.t.Helper()
	s.nodes[0].Signal(syscall.SIGQUIT)
	s.nodes[0].Wait(10 * time.Second)
	found := map[string]int{}
	for _, m := range goroutineOrigin.FindAllStringSubmatch(s.nodes[0].Stderr(), -1) {
		if !strings.HasPrefix(m[1], "runtime.") {
			found["created by "+m[1]]++
		}
	}
	if len(found) == 0 {
		s.t.Error("the process printed no goroutines")
	}
	return found
}

func total(counts map[string]int) (n int) {
	for _, some := range counts {
		n += some
	}
	return n
}

// fresh are the goroutines of a process that has just begun to serve.
func (s *soak) fresh() map[string]int {
	s.t.Helper()
	after := s.nodes[0]
	defer func() { s.nodes[0] = after }()
	s.start(0)
	s.signsInAndOut()
	s.idle()
	return s.goroutines()
}

// leftRows returns the number of rows in the file that grants and their ends
// have left; there should be none.
func leftRows(t *testing.T, path string) string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var left []string
	for _, table := range []string{"grants", "floors", "sweeps"} {
		n := 0
		if err := db.QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil {
			return err.Error()
		}
		if n > 0 {
			left = append(left, fmt.Sprintf("%d %s", n, table))
		}
	}
	return strings.Join(left, ", ")
}

// leftKeys is leftRows for Redis. Users, clients, keys, receipts, the trail,
// the throttle's records, and the epoch of each partition may stay.
func leftKeys(t *testing.T, c *redis.Client) string {
	t.Helper()
	const partitioned, epochs = len("grantd:{ab}"), 8
	left := map[string]int{}
	for iter := c.Scan(t.Context(), 0, "grantd:{??}*", 1000).Iterator(); iter.Next(t.Context()); {
		switch kind := iter.Val()[partitioned:][:1]; {
		case kind != "f":
			left["keys of kind "+kind]++
		case c.StrLen(t.Context(), iter.Val()).Val() != epochs:
			left["floors"]++
		}
	}
	if len(left) == 0 {
		return ""
	}
	return fmt.Sprint(left)
}
