package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/redisstore"
)

// Every deployment has these clients, whose secrets are their ids followed by
// "-secret", and users with one password.
const (
	appClient   = "app"   // with which users sign in
	apiClient   = "api"   // which introspects
	adminClient = "admin" // which gets the scope admin for itself
	password    = "correct horse battery"
	secret      = "0123456789abcdef0123456789abcdef" // of the deployment

	startTimeout = 20 * time.Second
	shownLog     = 2048 // bytes of a failed node's log
)

// cheap makes hashing quick: these tests aren't about the time of a sign-in.
var cheap = passhash.Params{Memory: 64, Time: 1, Threads: 1}

// deployment is nodes on one store.
type deployment struct {
	t     *testing.T
	store storeConfig
	users []string
	nodes []*node
}

// storeConfig names a Redis or a file.
type storeConfig struct {
	redis        string // URL
	waitReplicas int
	data         string // file
}

func (s storeConfig) open() (storage.Store, error) {
	if s.redis == "" {
		return embedded.Open(s.data)
	}
	return redisstore.Open(s.redis)
}

func (s storeConfig) yaml() string {
	if s.redis == "" {
		return fmt.Sprintf("data: %s\n", s.data)
	}
	text := fmt.Sprintf("redis:\n  url: %s\n", s.redis)
	if s.waitReplicas > 0 {
		text += fmt.Sprintf("  wait_replicas: %d\n", s.waitReplicas)
	}
	return text
}

// deploy fills the store with so many users, and starts so many nodes on it.
func deploy(t *testing.T, store storeConfig, users, nodes int) *deployment {
	t.Helper()
	d := &deployment{t: t, store: store}
	for i := range users {
		d.users = append(d.users, fmt.Sprintf("user%d", i))
	}
	s, err := store.open()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.fill(s), s.Close()); err != nil {
		t.Fatal(err)
	}
	for range nodes {
		d.add(&node{})
	}
	return d
}

// fill makes the clients and the users.
func (d *deployment) fill(s storage.Store) error {
	now := time.Now().UTC()
	for _, c := range []storage.Client{
		{ID: appClient, Grants: []string{"password", "refresh_token"}, Scopes: []string{"read"}},
		{ID: apiClient, Introspect: true},
		{ID: adminClient, Grants: []string{"client_credentials"}, Scopes: []string{"admin"}},
	} {
		c.Secret, c.Created = storage.NewSecretVerifier(c.ID+"-secret"), now
		if err := s.CreateClient(d.t.Context(), c); err != nil {
			return err
		}
	}
	hasher, err := passhash.New(cheap)
	if err != nil {
		return err
	}
	hash, err := hasher.Hash(d.t.Context(), password)
	if err != nil {
		return err
	}
	for i, name := range d.users {
		u := storage.User{ID: fmt.Sprintf("usr_%d", i), Name: name, Password: hash, Created: now}
		if err := s.CreateUser(d.t.Context(), u); err != nil {
			return err
		}
	}
	return nil
}

// urls returns the URLs of the nodes.
func (d *deployment) urls() (all []string) {
	for _, n := range d.nodes {
		all = append(all, n.url())
	}
	return all
}

// program builds grantd once and returns its path.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(testDir, "grantd")
	out, err := exec.Command("go", "build", "-o", path, "github.com/grantd/grantd/cmd/grantd").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// node is one process of a deployment, on a port that a restart keeps.
type node struct {
	command []string // the command to run; empty for grantd itself
	env     []string
	within  []string // a command that runs the command appended to it; may be empty

	t     *testing.T
	dir   string
	addr  string
	cmd   *exec.Cmd
	ended chan struct{}
}

// add starts n as one more node.
func (d *deployment) add(n *node) {
	d.t.Helper()
	n.t, n.dir, n.addr = d.t, d.t.TempDir(), freeAddr(d.t)
	n.env = append(n.env, addrVar+"="+n.addr)
	d.nodes = append(d.nodes, n)
	if len(n.command) == 0 {
		path, err := program()
		if err != nil {
			d.t.Fatal(err)
		}
		config := filepath.Join(n.dir, "grantd.yaml")
		if err := os.WriteFile(config, []byte(d.config(n)), 0o600); err != nil {
			d.t.Fatal(err)
		}
		n.command = []string{path, "serve", "--config", config}
	}
	n.start()
	d.t.Cleanup(func() {
		n.kill()
		if d.t.Failed() {
			d.t.Logf("the node on %s answered 503 because of\n%s\nand logged at last\n%s", n.addr, n.causes(), n.tail())
		}
	})
}

// config returns the node's configuration. All nodes have the URL of the first
// as issuer.
func (d *deployment) config(n *node) string {
	return fmt.Sprintf("issuer: %s\naddr: %s\nsecret: %s\n", d.nodes[0].url(), n.addr, secret) +
		fmt.Sprintf("password_hash:\n  memory: %d\n  time: %d\n  threads: %d\n", cheap.Memory, cheap.Time, cheap.Threads) +
		d.store.yaml()
}

// freeAddr finds a port that nobody listens on, below the range from which
// systems take outgoing ports.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(12000+rand.IntN(20000)))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port on 127.0.0.1")
	return ""
}

func (n *node) url() string { return "http://" + n.addr }

// start runs the node and waits until it is ready.
func (n *node) start() {
	n.t.Helper()
	out, err := os.OpenFile(n.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer out.Close() // the child has its own descriptor
	argv := append(append([]string{}, n.within...), n.command...)
	n.cmd = exec.Command(argv[0], argv[1:]...)
	n.cmd.Dir = n.dir
	n.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + n.dir}, n.env...)
	n.cmd.Stdout, n.cmd.Stderr = out, out
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		cmd.Wait() // the status tells nothing, since SIGKILL ends the process
		close(ended)
	}(n.cmd, n.ended)
	n.awaitReady()
}

func (n *node) awaitReady() {
	n.t.Helper()
	c := http.Client{Timeout: time.Second}
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case <-n.ended:
			n.t.Fatalf("the node ended:\n%s", n.tail())
		default:
		}
		response, err := c.Get(n.url() + "/readyz")
		if err != nil {
			continue
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return
		}
	}
	n.t.Fatalf("the node isn't ready within %v:\n%s", startTimeout, n.tail())
}

// kill ends the node like a power cut. It may be called again.
func (n *node) kill() {
	n.cmd.Process.Kill() // fails only if the process has ended already
	<-n.ended
}

func (n *node) logFile() string { return filepath.Join(n.dir, "log") }

func (n *node) tail() []byte {
	out, err := os.ReadFile(n.logFile())
	if err != nil {
		return []byte(err.Error())
	}
	out = out[max(0, len(out)-shownLog):]
	return out[bytes.IndexByte(out, '\n')+1:]
}

// causes returns the errors in the log that led to a 503, with the count of
// each.
func (n *node) causes() string {
	out, err := os.ReadFile(n.logFile())
	if err != nil {
		return err.Error()
	}
	counts := map[string]int{}
	for line := range bytes.Lines(out) {
		var event struct {
			Status int
			Error  string
		}
		if json.Unmarshal(line, &event) == nil && event.Status == http.StatusServiceUnavailable {
			counts[event.Error]++
		}
	}
	var b strings.Builder
	for _, cause := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return counts[b] - counts[a] }) {
		fmt.Fprintf(&b, "%6d %s\n", counts[cause], cause)
	}
	return b.String()
}
