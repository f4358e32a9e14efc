package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// writesVariable makes the next release write version 2 of grants. Without it,
// that release keeps the rule of OPERATIONS.md: a new form is read for one
// release before it is written.
const writesVariable = "WRITES"

// nextRelease builds the program as a later release could be. It also reads
// version 2 of grants, which has a byte more, and has a newer schema of the
// embedded store.
//
// The program only looks at the variable's length, since it is either 2 or
// absent.
var nextRelease = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(testDir, "next")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	replaced := map[string]string{}
	for name, changes := range map[string][]string{
		"storage/encoding.go": {
			"import (\n", "import (\n\t\"os\"\n",
			"const grantVersion = 1\n", "const grantVersion = 1\n\nvar written = byte(grantVersion + len(os.Getenv(\"" + writesVariable + "\")))\n",
			"b = append(b, grantVersion)\n\tb = binary.AppendUvarint(b, uint64(g.Generation))\n\tb = binary.AppendUvarint(b, uint64(g.Epoch))\n",
			"b = append(b, written)\n\tb = binary.AppendUvarint(b, uint64(g.Generation))\n\tb = binary.AppendUvarint(b, uint64(g.Epoch))\n\tif written == 2 {\n\t\tb = append(b, 0x77)\n\t}\n",
			"if d.byte() != grantVersion {\n\t\treturn Grant{}", "version := d.byte()\n\tif version != grantVersion && version != 2 {\n\t\treturn Grant{}",
			"Epoch: d.uint32()}\n", "Epoch: d.uint32()}\n\tif version == 2 {\n\t\td.byte()\n\t}\n",
		},
		"storage/embedded/schema.go": {"{}, // the first with a mark\n", "{}, // the first with a mark\n\t{},\n", "FROM schema_5 ", "FROM schema_6 "},
	} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return "", err
		}
		changed := string(text)
		for i := 0; i < len(changes); i += 2 {
			if strings.Count(changed, changes[i]) != 1 {
				return "", fmt.Errorf("%s hasn't %q once", name, changes[i])
			}
			changed = strings.Replace(changed, changes[i], changes[i+1], 1)
		}
		path := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			return "", err
		}
		replaced[filepath.Join(root, name)] = path
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", err
	}
	file, path := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "grantd")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return "", err
	}
	if out, err := exec.Command("go", "build", "-overlay", file, "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// next starts the node as one of the next release.
func (f *fleet) next(i int, env ...string) {
	f.t.Helper()
	l := f.serve(i)
	var err error
	if l.program, err = nextRelease(); err != nil {
		f.t.Fatal(err)
	}
	l.env = append(env, l.env...)
	f.nodes[i] = l.start(f.t)
}

// at is traffic that goes to that node only.
func (f *fleet) at(i int) *traffic {
	tr := f.traffic(f.t.Context())
	tr.via = newBalancer(f.t.Context(), f.urls()[i])
	return tr
}

// Two nodes are upgraded under load, one after the other, to the next release
// and then to the one after it, which writes a new form of grants. No request
// fails, whichever node it comes to.
func TestTwoReleasesInARowRunSideBySide(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, "GRANTD_REDIS_URL="+redistest.Single(t).URL(), "GRANTD_SHUTDOWN_DELAY=1s")
	if _, err := nextRelease(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	traffic := f.traffic(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		traffic.run(ctx, time.Millisecond, traffic.signsInAndOut, traffic.refreshes, traffic.refreshes, traffic.forItself)
	}()
	for _, env := range [][]string{nil, {writesVariable + "=2"}} {
		for i := range f.nodes {
			if code := f.nodes[i].Stop(); code != 0 {
				t.Errorf("node %d exits with %d", i, code)
			}
			f.next(i, env...)
			time.Sleep(500 * time.Millisecond) // of load on both
		}
	}
	stop()
	<-ended
	traffic.report("two nodes through two upgrades")
}

// If an upgrade skips a release, the older node answers 503 for grants that it
// can't read, and the newer one accepts them. Nothing is lost, and no revoked
// token is accepted.
func TestWhatANewerReleaseWroteIsUnavailableAtAnOlderOne(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, "GRANTD_REDIS_URL="+redistest.Single(t).URL())
	f.nodes[1].Stop()
	f.next(1, writesVariable+"=2")
	older, newer := f.at(0), f.at(1)

	p := newer.signIn()
	for range 2 {
		for kind, ask := range map[string]func(kind string) answered{
			"users/me": func(kind string) answered { return older.ask(kind, "/users/me", nil, p.access, 503) },
			"introspect": func(kind string) answered {
				return older.ask(kind, "/introspect", url.Values{"token": {p.access}}, "", 503)
			},
			"refresh": func(kind string) answered { return older.ask(kind, "/token", refreshForm(p.refresh, ""), "", 503) },
			"revoke": func(kind string) answered {
				return older.ask(kind, "/revoke", url.Values{"token": {p.access}}, "", 503)
			},
		} {
			ask(kind + ", unreadable")
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(meRequest(t, f.urls()[0], p.access))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || resp.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	newer.valid(p.access)
	next := newer.token("refresh", refreshForm(p.refresh, ""))
	newer.valid(next.access)

	// Sign-ins of the older node are good at both, as long as the newer one
	// doesn't write them. The older release can end grants that it can't read.
	own := older.signIn()
	older.valid(own.access)
	newer.valid(own.access)
	f.grantd("grant", "revoke", "--user", fleetUser, "--no-wait")
	newer.refused(next.access)
	newer.refused(own.access)
	older.refused(own.access)
	for name, tr := range map[string]*traffic{"older": older, "newer": newer} {
		tr.report("at the " + name)
	}
}

func meRequest(t *testing.T, base, token string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/users/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// A command of the next release changes the file of the embedded store while an
// older server runs. This server answers 503 to all requests and says why, and
// can't be started again. A server of the next release goes on with every
// sign-in.
func TestANewerReleaseOnTheFileOfOneThatRuns(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, "GRANTD_DATA="+filepath.Join(t.TempDir(), "grantd.db"))
	older := f.at(0)
	p := older.signIn()
	older.valid(p.access)

	program, err := nextRelease()
	if err != nil {
		t.Fatal(err)
	}
	must(t, launch{program: program, args: []string{"user", "list"}, dir: f.dir, env: f.env})
	older.ask("users/me", "/users/me", nil, p.access, 503)
	older.ask("refresh", "/token", refreshForm(p.refresh, ""), "", 503)
	older.ask("sign-in", "/token", passwordForm(fleetUser, fleetPassword, ""), "", 503)
	older.report("at a server whose file was changed")
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) { // a good health check counts for a second
		if status, _ := get(t, f.urls()[0]+"/readyz"); status == http.StatusServiceUnavailable {
			break
		}
		if time.Now().After(end) {
			t.Fatal("/readyz never said 503")
		}
	}
	f.nodes[0].Stop()
	if log := f.nodes[0].Stderr(); !strings.Contains(log, "a newer grantd has changed the tables") {
		t.Errorf("the log:\n%s", log)
	}
	if code, _, stderr := f.serve(0).run(t); code != 1 || !strings.Contains(stderr, "a newer grantd wrote it: its schema is ") || strings.Contains(stderr, "hint: check ") {
		t.Errorf("started anew: exit %d\n%s", code, stderr)
	}
	f.next(0)
	newer := f.at(0)
	newer.valid(p.access)
	newer.token("refresh", refreshForm(p.refresh, ""))
	newer.report("at the next release")
}
