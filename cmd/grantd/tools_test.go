package main

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

func TestCommandsAskForThePasswordOfRedis(t *testing.T) {
	r := redistest.Single(t, "--requirepass", "right")
	for url, hint := range map[string]string{
		"redis://" + r.Addr():        "give the password of Redis",
		"redis://:wrong@" + r.Addr(): "Redis has another password",
	} {
		err := execute(t.Context(), []string{"user", "list", "--redis", url})
		var printed bytes.Buffer
		if code := report(&printed, err); code != exitFailed || !strings.Contains(printed.String(), "\nhint: "+hint) {
			t.Errorf("%s: exit %d, %s", url, code, &printed)
		}
	}
}

// A command tries once, while a server would go on trying.
func TestCommandsTellOfARedisThatIsDown(t *testing.T) {
	down := "127.0.0.1:" + freePort(t)
	for _, args := range [][]string{
		{"user", "list", "--redis", "redis://" + down},
		{"init", "--password-file", writeFile(t, "p", "correct horse battery"), "--redis", "redis://" + down},
	} {
		var printed bytes.Buffer
		code := report(&printed, execute(t.Context(), args))
		if told := printed.String(); code != exitFailed || !strings.Contains(told, "the store can't be reached: ") || !strings.Contains(told, "dial tcp "+down) ||
			strings.Contains(told, "stopped answering") || !strings.Contains(told, "\nhint: is Redis running") {
			t.Errorf("%s: exit %d, %s", args[0], code, told)
		}
	}
}

func TestCommandsTellOfACAThatIsNotKnown(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	for _, args := range [][]string{
		{"login", "--server", server.URL, "--username", "admin", "--password-file", writeFile(t, "p", "secret")},
		{"healthcheck", "--url", server.URL + "/readyz"},
	} {
		if code, _, stderr := (launch{dir: t.TempDir(), args: args}).run(t); code != exitFailed || !strings.Contains(stderr, "\nhint: if the CA is your own, name its file in SSL_CERT_FILE") {
			t.Errorf("%s: exit %d, %s", args[0], code, stderr)
		}
	}
}

func TestCommandsTellWhatIsWrongWithTheFile(t *testing.T) {
	for name, path := range map[string]string{"no store": writeFile(t, "notes.txt", strings.Repeat("text ", 1000)), "a directory": t.TempDir()} {
		err := execute(t.Context(), []string{"user", "list", "--data", path})
		var printed bytes.Buffer
		if code := report(&printed, err); code != exitFailed || !strings.Contains(printed.String(), "\nhint: check that "+path+" is a store of grantd") {
			t.Errorf("%s: exit %d, %s", name, code, &printed)
		}
	}
}

func TestCommandsTellWhatRedisAnswers(t *testing.T) {
	add := "client add web --public --grant password --redis "
	r := redistest.Single(t)
	if err := errors.Join(
		r.Client().Do(t.Context(), "ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+@connection").Err(),
		r.Client().Set(t.Context(), "grantd:users", "no sorted set", 0).Err(),
	); err != nil {
		t.Fatal(err)
	}
	hints := map[string]struct{ command, answer, hint string }{
		"maxmemory":   {add + redistest.Single(t, "--maxmemory", "1", "--maxmemory-policy", "noeviction").URL(), "OOM ", "Redis has reached its maxmemory"},
		"a replica":   {add + redistest.Single(t, "--replicaof", "127.0.0.1 1").URL(), "READONLY ", "this Redis is a replica"},
		"no replicas": {add + redistest.Single(t, "--min-replicas-to-write", "1").URL(), "NOREPLICAS ", ""},
		"the ACL":     {add + "redis://reader:pw@" + r.Addr(), "NOPERM ", "the ACL of Redis"},
		"other keys":  {"user list --redis " + r.URL(), "WRONGTYPE ", ""},
		"database":    {"user list --redis redis://" + r.Addr() + "/99", "ERR DB index", "Redis has no database with the number"},
		"no Cluster":  {"user list --redis redis+cluster://" + r.Addr(), "ERR This instance has cluster", "this Redis is not a node of a Cluster"},
		"no Sentinel": {"user list --redis redis+sentinel://" + r.Addr() + "/mymaster", "ERR unknown command 'sentinel'", "this server is not a Sentinel"},
		"no master":   {"user list --redis " + redistest.Sentinel(t).URL() + "s", "redis: nil", "the Sentinels know no master with the name"},
		"stock":       {"migrate --dry-run --redis " + r.URL() + " --from redis://" + r.Addr() + "/99", "the stock server's Redis answers: ERR DB index", ""},
		"no TLS":      {"user list --redis rediss://" + r.Addr(), "", "is Redis running, does it speak TLS there"},
	}
	for name, c := range hints {
		t.Run(name, func(t *testing.T) {
			var printed bytes.Buffer
			code := report(&printed, execute(t.Context(), strings.Fields(c.command)))
			_, hint, _ := strings.Cut(printed.String(), "\nhint: ")
			if code != exitFailed || !strings.Contains(printed.String(), c.answer) || !strings.HasPrefix(hint, c.hint) || c.hint == "" && hint != "" {
				t.Errorf("exit %d, %s", code, &printed)
			}
			if reached := name != "no TLS"; reached == strings.Contains(printed.String(), "can't be reached") {
				t.Errorf("reached: %v, %s", reached, &printed)
			}
		})
	}
}

// If too few replicas confirm a write, Redis can be reached all the same. So the error gives
// no hint for a Redis that is down.
func TestCommandsTellThatReplicasAreMissing(t *testing.T) {
	redis := redistest.Single(t).URL()
	must(t, launch{args: []string{"user", "add", "alice", "--password-file", writeFile(t, "p", "correct horse battery"), "--redis", redis}})
	t.Setenv("GRANTD_REDIS_WAIT_REPLICAS", "1")
	var printed bytes.Buffer
	code := report(&printed, execute(t.Context(), []string{"grant", "revoke", "--all", "--yes", "--redis", redis}))
	if got := printed.String(); code != exitFailed || strings.Contains(got, "hint: ") || !strings.Contains(got, "the store answers: done, but too few replicas confirmed it in time") {
		t.Errorf("exit %d, %s", code, got)
	}
}

func TestKeysAreMadeWithTheSecretOfTheStoreOnly(t *testing.T) {
	l := launch{args: []string{"key", "rotate"}, dir: t.TempDir(), env: []string{"GRANTD_DATA=grantd.db"}}
	must(t, launch{args: []string{"init", "--password-file", writeFile(t, "p", "correct horse battery")}, dir: l.dir, env: append(l.env, "GRANTD_SECRET="+secret32)})
	must(t, launch{args: l.args, dir: l.dir, env: append(l.env, "GRANTD_SECRET="+secret32)})
	for secret, want := range map[string]string{"": "none is configured", "GRANTD_SECRET=another " + secret32: "the configured one is another store's"} {
		l := launch{args: l.args, dir: l.dir, env: l.env}
		if secret != "" {
			l.env = append(l.env[:1:1], secret)
		}
		if code, _, stderr := l.run(t); code != exitFailed || !strings.Contains(stderr, want) {
			t.Errorf("with %q: exit %d\n%s", secret, code, stderr)
		}
	}
}

// Commands that read tokens or the throttle say the same of a wrong secret as
// serve does.
func TestCommandsTellThatTheSecretIsAnothers(t *testing.T) {
	l := launch{dir: t.TempDir(), env: []string{"GRANTD_DATA=grantd.db", "GRANTD_SECRET=" + secret32}}
	password := writeFile(t, "p", "correct horse battery")
	for _, args := range [][]string{{"init", "--password-file", password}, {"key", "rotate"}} {
		l.args = args
		must(t, l)
	}
	l.env[1] = "GRANTD_SECRET=another " + secret32
	for _, command := range []string{"token inspect --token-file " + password, "token revoke --token-file " + password, "user unlock admin"} {
		l.args = strings.Fields(command)
		code, _, stderr := l.run(t)
		if want := "grantd: the deployment secret does not open the store's keys\nhint: " + ownSecret + "\n"; code != exitFailed || stderr != want {
			t.Errorf("%s: exit %d\n%s", command, code, stderr)
		}
	}
}

// These commands must not make the first key: if they made it with a wrong
// secret, servers couldn't start.
func TestCommandsMakeNoFirstKey(t *testing.T) {
	l := launch{dir: t.TempDir(), env: []string{"GRANTD_DATA=grantd.db", "GRANTD_SECRET=" + secret32}}
	password := writeFile(t, "p", "correct horse battery")
	l.args = []string{"init", "--password-file", password}
	must(t, l)
	for _, command := range []string{"token inspect --token-file " + password, "token revoke --token-file " + password, "user unlock admin"} {
		l.args = strings.Fields(command)
		code, _, stderr := l.run(t)
		if want := "grantd: the store " + filepath.Join(l.dir, "grantd.db") + " has no deployment key yet: no server has used it\nhint: check that it is the store that the server uses; grantd serve makes the key\n"; code != exitFailed || stderr != want {
			t.Errorf("%s: exit %d\n%s", command, code, stderr)
		}
	}
	l.args = []string{"key", "list", "--json"}
	if out := must(t, l); strings.Contains(out, `"id"`) {
		t.Errorf("there is a key: %s", out)
	}
}

// The commands work on Redis as on a file.
func TestCommandsOnRedis(t *testing.T) {
	l := launch{dir: t.TempDir(), env: []string{"GRANTD_REDIS_URL=redis://" + redistest.Single(t).Addr(), "GRANTD_SECRET=" + secret32}}
	password := writeFile(t, "p", "correct horse battery")
	for _, c := range []struct{ args, want string }{
		{"init --password-file " + password, "user admin is the first admin"},
		{"user add alice --password-file " + password, "user alice added"},
		{"user update alice --admin", "user alice is an admin"},
		{"user list --prefix al", "alice"},
		{"client add web --grant password", "client_secret"},
		{"client rotate-secret web --overlap 1h", "previous_expires"},
		{"client list", "grantd-cli"},
		{"grant list", "USERNAME"},
		{"grant revoke --user alice", "complete"},
		{"grant revoke --all --yes", "complete"},
		{"revocation list", "user alice"},
		{"key rotate", "new tokens are made under it from"},
		{"key list", "MINTS FROM"},
		{"user unlock alice", "wasn't slowed down"},
		{"user delete alice --yes", "user alice is deleted"},
		{"client delete web --yes", "client web is deleted"},
		{"audit tail -n 100", "client.secret"},
	} {
		l.args = strings.Fields(c.args)
		if out := must(t, l); !strings.Contains(out, c.want) {
			t.Errorf("%s: %s", c.args, out)
		}
	}
}
