package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// operated is a machine as in OPERATIONS.md, with its directories below dir. It
// runs grantd, on a Redis unless redis is nil.
type operated struct {
	t     *testing.T
	dir   string
	redis *redistest.Server
	node  *running
}

const (
	redisPassword = "password-of-redis"
	webSecret     = "secret-of-the-client-web"
)

func newMachine(t *testing.T, onRedis bool) *operated {
	m := &operated{t: t, dir: t.TempDir()}
	for _, dir := range []string{"etc", "backups", "lib", "redis", "bin"} {
		if err := os.Mkdir(filepath.Join(m.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	store := "data: " + m.path("lib/grantd.db")
	if onRedis {
		redistest.Need(t, "redis-cli")
		m.redis = redistest.Single(t, "--dir", m.path("redis"), "--requirepass", redisPassword, "--appendonly", "yes")
		store = "redis: {url: \"redis://" + m.redis.Addr() + "/0\", password_file: " + m.path("etc/redis_password") + "}"
		m.write("etc/redis-server.conf", fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nappendonly yes\nlogfile %s\ninclude %s\n",
			m.redisPort(), m.path("redis"), m.path("redis.log"), m.path("etc/redis.conf")))
		m.write("etc/redis_password", redisPassword)
		// Stops the page's redis-server, which a step that failed may have left
		// running.
		t.Cleanup(func() {
			_ = exec.Command("redis-cli", "-p", m.redisPort(), "-a", redisPassword, "shutdown", "nosave").Run()
		})
	}
	m.write("etc/secret", secret32)
	must(t, launch{args: []string{"secrets", m.path("etc")}}) // etc/redis.conf
	m.write("etc/grantd.yaml", "issuer: http://127.0.0.1\naddr: 127.0.0.1:0\nsecret_file: "+m.path("etc/secret")+"\npassword_hash: {memory: 64, time: 1}\n"+store+"\n")
	if err := os.Symlink(path, m.path("bin/grantd")); err != nil {
		t.Fatal(err)
	}
	m.write("secret", webSecret)
	m.write("password", "correct horse battery")
	m.grantd("client", "add", "web", "--grant", "password", "--grant", "refresh_token", "--scope", "read", "--secret-file", m.path("secret"))
	m.grantd("init", "--password-file", m.path("password"))
	for _, name := range []string{"alice", "bob", "carol", "dave"} {
		m.grantd("user", "add", name, "--password-file", m.path("password"))
	}
	m.start()
	return m
}

func (m *operated) path(name string) string { return filepath.Join(m.dir, name) }

func (m *operated) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(m.path(name), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *operated) redisPort() string {
	_, port, _ := strings.Cut(m.redis.Addr(), ":")
	return port
}

// grantd runs a command on the configured store.
func (m *operated) grantd(args ...string) {
	m.t.Helper()
	must(m.t, launch{args: append(args, "--config", m.path("etc/grantd.yaml"))})
}

func (m *operated) start() {
	m.node = launch{args: []string{"serve", "--config", m.path("etc/grantd.yaml")}}.start(m.t)
}

// do runs the lines of a block of the page. The test stands in for the service
// manager.
func (m *operated) do(block string) {
	m.t.Helper()
	script := ""
	flush := func() {
		m.t.Helper()
		if script != "" {
			m.bash(script)
		}
		script = ""
	}
	for line := range strings.Lines(block) {
		line = strings.TrimPrefix(line, "$ ")
		unit, systemctl := strings.CutPrefix(strings.TrimSpace(line), "systemctl ")
		if !systemctl {
			script += line
			continue
		}
		flush()
		switch unit {
		case "stop grantd":
			if code := m.node.Stop(); code != 0 {
				m.t.Errorf("grantd exits with %d\n%s", code, m.node.Stderr())
			}
		case "start grantd", "enable --now grantd":
			m.start()
		case "stop redis-server":
			m.redis.Kill()
		case "start redis-server":
			m.redis.Restart()
		default:
			m.t.Fatalf("systemctl %s", unit)
		}
	}
	flush()
}

// bash runs commands in the directories of the machine.
func (m *operated) bash(script string) {
	m.t.Helper()
	where := []string{
		"healthcheck --config /etc/grantd/grantd.yaml", "healthcheck --url " + m.node.URL + "/readyz",
		"/var/backups", m.path("backups"), "/etc/grantd", m.path("etc"), "/var/lib/grantd", m.path("lib"), "/var/lib/redis", m.path("redis"),
		"/etc/redis/redis.conf", m.path("etc/redis-server.conf"), "/usr/local/bin", m.path("bin"), "/tmp/grantd-new", m.path("grantd-new"),
	}
	if m.redis != nil {
		where = append(where, "redis-cli ", "redis-cli -p "+m.redisPort()+" ")
	}
	cmd := exec.CommandContext(m.t.Context(), "bash", "-euo", "pipefail", "-c", strings.NewReplacer(where...).Replace(script))
	cmd.Env = []string{"PATH=" + m.path("bin") + ":" + os.Getenv("PATH"), "HOME=" + m.dir}
	cmd.Dir = m.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// page returns the blocks of OPERATIONS.md under the heading, up to the next
// heading.
func page(t *testing.T, heading string) []string {
	t.Helper()
	text, err := os.ReadFile("OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n"+heading+"\n")
	if !found {
		t.Fatalf("OPERATIONS.md has no %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	return blocks(t, section, "", "console")
}

// pair is the two tokens of a sign-in.
type pair struct{ access, refresh string }

func (m *operated) token(form url.Values) (int, pair) {
	m.t.Helper()
	status, answer := tokenFor(m.t, m.node.URL, "web", webSecret, form)
	access, _ := answer["access_token"].(string)
	refresh, _ := answer["refresh_token"].(string)
	return status, pair{access, refresh}
}

func (m *operated) signIn(user string) pair {
	m.t.Helper()
	status, p := m.token(passwordForm(user, "correct horse battery", ""))
	if status != http.StatusOK {
		m.t.Fatalf("sign-in of %s: %d", user, status)
	}
	return p
}

func (m *operated) revoke(token string) {
	m.t.Helper()
	if status, body := postForm(m.t, m.node.URL+"/revoke", "web", webSecret, url.Values{"token": {token}}); status != http.StatusOK {
		m.t.Fatalf("revoke: %d %s", status, body)
	}
}

func (m *operated) refreshed(p pair) pair {
	m.t.Helper()
	status, next := m.token(refreshForm(p.refresh, ""))
	if status != http.StatusOK {
		m.t.Fatalf("refresh: %d", status)
	}
	return next
}

// dead expects that both tokens of the pair are refused everywhere.
func (m *operated) dead(name string, p pair) {
	m.t.Helper()
	if status, body := getUsersMe(m.t, m.node.URL, p.access); status != http.StatusUnauthorized {
		m.t.Errorf("%s: /users/me: %d %s", name, status, body)
	}
	if status, _ := m.token(refreshForm(p.refresh, "")); status != http.StatusBadRequest {
		m.t.Errorf("%s: refresh: %d", name, status)
	}
}

func (m *operated) alive(name string, p pair) {
	m.t.Helper()
	if status, body := getUsersMe(m.t, m.node.URL, p.access); status != http.StatusOK {
		m.t.Errorf("%s: /users/me: %d %s", name, status, body)
	}
	if status, next := m.token(refreshForm(p.refresh, "")); status != http.StatusOK || next == p {
		m.t.Errorf("%s: refresh: %d", name, status)
	}
}

// eachMachine runs a test on both stores, with the page's heading for the
// store.
func eachMachine(t *testing.T, test func(t *testing.T, m *operated, heading string)) {
	t.Run("embedded", func(t *testing.T) { test(t, newMachine(t, false), "### Embedded") })
	t.Run("redis", func(t *testing.T) { test(t, newMachine(t, true), "### Redis") })
}

// If an old backup is restored by the page's steps, tokens that were revoked or
// spent after the backup stay dead.
func TestRestoringAnOldBackupBringsNoTokenBack(t *testing.T) {
	eachMachine(t, func(t *testing.T, m *operated, heading string) {
		steps := page(t, heading)
		before := m.signIn("alice")
		m.revoke(before.access)
		since, byAdmin, spent := m.signIn("alice"), m.signIn("bob"), m.signIn("dave")
		m.do(steps[0])

		m.revoke(since.access)
		m.grantd("grant", "revoke", "--user", "bob")
		later, next := m.signIn("carol"), m.refreshed(spent)
		for _, step := range steps[1:] {
			m.do(step)
		}
		for name, p := range map[string]pair{
			"revoked before the backup": before, "revoked after it": since, "ended by an admin after it": byAdmin,
			"signed in after it": later, "spent after it": spent, "refreshed after it": next,
		} {
			m.dead(name, p)
		}
		m.alive("signed in again", m.signIn("bob"))
	})
}

// If nothing happened since the backup, nobody has to sign in again after the
// restore, and revoked tokens stay revoked.
func TestRestoringTheNewestBackupKeepsWhatWasRevoked(t *testing.T) {
	eachMachine(t, func(t *testing.T, m *operated, heading string) {
		steps := page(t, heading)
		revoked, ended, spent := m.signIn("alice"), m.signIn("bob"), m.signIn("dave")
		m.revoke(revoked.refresh)
		m.grantd("grant", "revoke", "--user", "bob")
		next, living := m.refreshed(spent), m.signIn("carol")
		m.do(steps[0])
		for _, step := range steps[1:] {
			step = strings.Replace(step, "grantd restore ", "grantd restore --keep-grants ", 1)
			step = strings.Replace(step, "$ grantd grant revoke --all --yes --config /etc/grantd/grantd.yaml\n", "", 1)
			m.do(step)
		}
		m.dead("revoked", revoked)
		m.dead("ended by an admin", ended)
		m.alive("signed in", living)
		if status, body := getUsersMe(t, m.node.URL, spent.access); status != http.StatusUnauthorized {
			t.Errorf("a token that was replaced: %d %s", status, body)
		}
		m.alive("refreshed", next)
	})
}

// The secret isn't in the backup, and no server starts on the backup without
// it.
func TestABackupHoldsNoSecretAndIsOfNoUseWithoutIt(t *testing.T) {
	eachMachine(t, func(t *testing.T, m *operated, heading string) {
		p := m.signIn("alice")
		m.do(page(t, heading)[0])
		files, err := filepath.Glob(m.path("backups/*"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%q, %v", files, err)
		}
		info, err := os.Stat(files[0])
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", files[0], info.Mode(), err)
		}
		content, err := os.ReadFile(files[0])
		if err != nil || !bytes.Contains(content, []byte("alice")) {
			t.Fatalf("the backup lacks alice, %v", err)
		}
		for _, secret := range []string{secret32, p.access[len("gat_"):], p.refresh[len("grt_"):], webSecret, "correct horse battery"} {
			if bytes.Contains(content, []byte(secret)) {
				t.Errorf("the backup holds %q", secret)
			}
		}
		m.node.Stop()
		m.write("etc/secret", "another secret, of 32 bytes or more")
		code, _, stderr := launch{args: []string{"serve", "--config", m.path("etc/grantd.yaml")}}.run(t)
		if code != 1 || !strings.Contains(stderr, "hint: the deployment secret") {
			t.Errorf("with another secret: exit %d\n%s", code, stderr)
		}
	})
}

// The page's other commands: an upgrade, and new keys.
func TestTheStepsOfAnUpgradeAndOfNewKeys(t *testing.T) {
	m := newMachine(t, true)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, m.path("grantd-new")); err != nil {
		t.Fatal(err)
	}
	p := m.signIn("alice")
	steps := page(t, "## Upgrading")
	if len(steps) != 1 {
		t.Fatalf("%d blocks", len(steps))
	}
	os.Remove(m.path("bin/grantd")) // it is a link; install writes a file
	m.do(steps[0])
	if info, err := os.Lstat(m.path("bin/grantd")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the program is not exchanged: %v", err)
	}
	m.alive("signed in before the upgrade", p)
	p = m.signIn("alice")
	m.do(page(t, "## New deployment keys")[0])
	m.alive("signed in before the rotation", p)
}

// asUser matches what only root can do in the steps of a service. The test
// drops it, since it has one user only.
var asUser = regexp.MustCompile(`(?m)^\$ useradd .*\n| -o grantd -g grantd|runuser -u grantd -- `)

// The page's unit starts the server of the steps before it, and leaves it enough time to
// stop.
func TestTheStepsOfAService(t *testing.T) {
	m := newMachine(t, false)
	if code := m.node.Stop(); code != 0 {
		t.Fatalf("exit %d", code)
	}
	if err := os.Remove(m.path("etc/secret")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(m.path("lib")); err != nil {
		t.Fatal(err)
	}
	m.write("etc/grantd.yaml", "issuer: http://127.0.0.1\naddr: 127.0.0.1:0\nsecret_file: "+m.path("etc/secret")+
		"\nadmin_password_file: "+m.path("etc/admin_password")+"\ndata: "+m.path("lib/grantd.db")+"\n")
	m.do(asUser.ReplaceAllString(page(t, "## As a service")[0], ""))
	if status, body := getUsersMe(t, m.node.URL, "gat_none"); status != http.StatusUnauthorized {
		t.Errorf("/users/me: %d %s", status, body)
	}

	text, err := os.ReadFile("OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	unit := blocks(t, string(text), "As a service", "ini")[0]
	if !strings.Contains(unit, "\nExecStart=/usr/local/bin/grantd serve --config /etc/grantd/grantd.yaml\n") {
		t.Errorf("the unit starts something else:\n%s", unit)
	}
	stop := regexp.MustCompile(`(?m)^TimeoutStopSec=(.*)$`).FindStringSubmatch(unit)
	if stop == nil {
		t.Fatal("the unit has no TimeoutStopSec")
	}
	const delay = 5 * time.Second // the page's example of shutdown_delay
	if d, err := time.ParseDuration(stop[1]); err != nil || d <= delay+defaultConfig().ShutdownTimeout {
		t.Errorf("TimeoutStopSec=%s, %v", stop[1], err)
	}
}

// The page's Redis user is enough for a resource server: it sees a revocation, and can't
// write.
func TestAResourceServerOnlyReads(t *testing.T) {
	m := newMachine(t, true)
	m.bash(strings.ReplaceAll(page(t, "## A Redis user that only reads")[0], "$ REDIS", "REDIS"))
	reader := "redis://reader:its-password@" + m.redis.Addr() + "/0"
	m.write("etc/resource.yaml", "issuer: http://127.0.0.1\nresource_addr: 127.0.0.1:0\nsecret_file: "+m.path("etc/secret")+"\nredis: {url: \""+reader+"\"}\n")
	api := launch{args: []string{"resource", "--config", m.path("etc/resource.yaml")}}.start(t)
	p := m.signIn("alice")
	if status, body := getUsersMe(t, api.URL, p.access); status != http.StatusOK {
		t.Errorf("/users/me: %d %s", status, body)
	}
	m.revoke(p.access)
	if status, body := getUsersMe(t, api.URL, p.access); status != http.StatusUnauthorized {
		t.Errorf("/users/me after the revocation: %d %s", status, body)
	}
	code, _, stderr := launch{args: []string{"user", "disable", "alice", "--redis", reader}, env: []string{"GRANTD_SECRET=" + secret32}}.run(t)
	if code != 1 || !strings.Contains(stderr, "NOPERM") {
		t.Errorf("a write: exit %d\n%s", code, stderr)
	}
}
