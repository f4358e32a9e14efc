package main

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/grantd/grantd/storage/embedded"
)

// passwords is a running server, and the commands that set its users' passwords.
type passwords struct {
	dir, url string
	env      []string
}

func startPasswords(t *testing.T, env ...string) passwords {
	t.Helper()
	p := passwords{dir: t.TempDir(), env: append(append([]string{"GRANTD_DATA=grantd.db"}, serveEnv...), env...)}
	must(t, launch{args: []string{"client", "add", "web", "--grant", "password", "--secret-file", writeFile(t, "s", secret32)}, dir: p.dir, env: p.env})
	p.url = launch{args: []string{"serve"}, dir: p.dir, env: p.env}.start(t).URL
	return p
}

// user runs a verb of grantd user with the password, and returns the exit code
// and what is printed at the terminal.
func (p passwords) user(t *testing.T, verb, name, password string) (code int, stderr string) {
	t.Helper()
	file := writeFile(t, "password", password+"\n")
	code, _, stderr = launch{args: []string{"user", verb, name, "--password-file", file}, dir: p.dir, env: p.env}.run(t)
	return code, stderr
}

// signIn returns the status of POST /token and the error.
func (p passwords) signIn(t *testing.T, name, password string) string {
	t.Helper()
	status, answer := tokenFor(t, p.url, "web", secret32, passwordForm(name, password, ""))
	if code, failed := answer["error"].(string); failed {
		return strconv.Itoa(status) + " " + code
	}
	return strconv.Itoa(status)
}

// cheapHash makes hashing nearly free.
var cheapHash = []string{"GRANTD_PASSWORD_HASH_MEMORY=64", "GRANTD_PASSWORD_HASH_TIME=1"}

const mixed = "aB3 "

func TestPasswordsThatMayBeChosen(t *testing.T) {
	p := startPasswords(t, cheapHash...)
	for i, c := range []struct{ name, set, sent, wrong string }{
		{"PW-NIST63B-5.1.1.2-01 8 characters", "vier7ünf", "vier7ünf", "vier7ün"},
		{"PW-NIST63B-5.1.1.2-03 64 characters", strings.Repeat(mixed, 16), strings.Repeat(mixed, 16), strings.Repeat(mixed, 15)},
		{"PW-NIST63B-5.1.1.2-03 PW-NIST63B-5.1.1.2-04 100 characters, and the last one counts", strings.Repeat("x", 99) + "y", strings.Repeat("x", 99) + "y", strings.Repeat("x", 99) + "z"},
		{"PW-NIST63B-5.1.1.2-03 128 characters", strings.Repeat(mixed, 32), strings.Repeat(mixed, 32), strings.Repeat(mixed, 31) + "aB3x"},
		{"PW-NIST63B-5.1.1.2-03 PW-NIST63B-5.1.1.2-04 1024 bytes, and the last one counts", strings.Repeat(mixed, 256), strings.Repeat(mixed, 256), strings.Repeat(mixed, 255) + "aB3x"},
		{"PW-NIST63B-5.1.1.2-05 two spaces", "correct horse  battery", "correct horse  battery", "correct horse battery"},
		{"PW-NIST63B-5.1.1.2-05 ASCII that prints", ` !"#$%&'()*+,-./:;<=>?@[\]^_{|}~` + "`", ` !"#$%&'()*+,-./:;<=>?@[\]^_{|}~` + "`", ` !"#$%&'()*+,-./:;<=>?@[\]^_{|}~`},
		{"PW-NIST63B-5.1.1.2-05 Unicode", "pä€ß пароль 密码", "pä€ß пароль 密码", "pa€ß пароль 密码"},
		{"PW-NIST63B-5.1.1.2-05 emoji", "🔑😀🔒 smile", "🔑😀🔒 smile", "🔑😀🔓 smile"},
		{"PW-NIST63B-5.1.1.2-06 set composed, sent decomposed", "caf\u00e9 cr\u00e8me", "cafe\u0301 cre\u0300me", "cafe creme"},
		{"PW-NIST63B-5.1.1.2-06 set decomposed, sent composed", "cafe\u0301 cre\u0300me", "caf\u00e9 cr\u00e8me", "cafe creme"},
		{"PW-NIST63B-5.1.1.2-08 words of one case, without digits", "aaaa bbbb cccc dddd", "aaaa bbbb cccc dddd", "AAAA bbbb cccc dddd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			user := "user" + strconv.Itoa(i)
			if code, stderr := p.user(t, "add", user, c.set); code != 0 {
				t.Fatalf("exit %d: %s", code, stderr)
			}
			if got := p.signIn(t, user, c.sent); got != "200" {
				t.Errorf("signing in with %+q: %s", c.sent, got)
			}
			if got := p.signIn(t, user, c.wrong); got != "400 invalid_grant" {
				t.Errorf("signing in with %+q: %s", c.wrong, got)
			}
		})
	}
}

// refusedPasswords are passwords that a user named walburga can't choose, and
// why.
var refusedPasswords = []struct{ name, password, reason string }{
	{"PW-NIST63B-5.1.1.2-01 7 characters", "vier7ün", "the password is shorter than 8 characters"},
	{"PW-NIST63B-5.1.1.2-03 1025 bytes", strings.Repeat(mixed, 256) + "a", "the password is longer than 1024 bytes"},
	// RFC 8265 section 4.2 allows no invisible characters. Most systems accept them, but then a
	// password that looks the same, typed on another keyboard, is a different one.
	{"PW-NIST63B-5.1.1.2-05 all of Unicode but what RFC 8265 disallows: an emoji with a variation selector", "\u2764\ufe0f my heart", "RFC 8265"},
	{"PW-NIST63B-5.1.1.2-07 a common one", "password123", "the password is one of the most common passwords"},
	{"PW-NIST63B-5.1.1.2-07 one of grantd dev", "secret123", "the password is one of the most common passwords"},
	{"PW-NIST63B-5.1.1.2-07 a sequence", "opqrstuvw", "a plain sequence"},
	{"PW-NIST63B-5.1.1.2-07 the user's name", "walburga", "the password is little more than the user's name"},
	{"PW-NIST63B-5.1.1.2-07 the user's name and a year", "Walburga1999", "the password is little more than the user's name"},
}

func TestPasswordsThatMayNotBeChosen(t *testing.T) {
	p := startPasswords(t, cheapHash...)
	const first = "a first password"
	if code, stderr := p.user(t, "add", "walburga", first); code != 0 {
		t.Fatal(stderr)
	}
	for _, c := range refusedPasswords {
		t.Run(c.name, func(t *testing.T) {
			code, stderr := p.user(t, "passwd", "walburga", c.password)
			if code != 1 || !strings.HasPrefix(stderr, "grantd: the password is ") || !strings.Contains(stderr, c.reason) || !strings.Contains(stderr, "\nhint: ") {
				t.Errorf("exit %d: %s", code, stderr)
			}
			if got := p.signIn(t, "walburga", c.password); got != "400 invalid_grant" {
				t.Errorf("signing in with it: %s", got)
			}
			if got := p.signIn(t, "walburga", first); got != "200" {
				t.Errorf("signing in with the one from before: %s", got)
			}
		})
	}
	t.Run("user add asks for as much", func(t *testing.T) {
		if code, stderr := p.user(t, "add", "alice", "alice1234567"); code != 1 || !strings.Contains(stderr, "the user's name") {
			t.Errorf("exit %d: %s", code, stderr)
		}
		if got := p.signIn(t, "alice", "alice1234567"); got != "400 invalid_grant" {
			t.Errorf("signing in: %s", got)
		}
	})
}

func TestPasswordOfTheFirstAdmin(t *testing.T) {
	for _, c := range refusedPasswords {
		t.Run(c.name, func(t *testing.T) {
			l := launch{
				args: []string{"init", "--name", "walburga", "--data", "grantd.db"},
				env:  []string{"GRANTD_ADMIN_PASSWORD_FILE=" + writeFile(t, "password", c.password)},
			}
			if code, _, stderr := l.run(t); code != 1 || !strings.Contains(stderr, c.reason) {
				t.Errorf("exit %d: %s", code, stderr)
			}
		})
	}
	t.Run("PW-NIST63B-5.1.1.2-07 from a file of its own", func(t *testing.T) {
		file := writeFile(t, "password", "password123")
		code, _, stderr := launch{args: []string{"init", "--data", "grantd.db", "--password-file", file}}.run(t)
		if code != 1 || !strings.Contains(stderr, "most common") {
			t.Errorf("exit %d: %s", code, stderr)
		}
	})
	t.Run("PW-NIST63B-5.1.1.2-07 serve doesn't start with the admin's name in it", func(t *testing.T) {
		env := append([]string{"GRANTD_DATA=grantd.db", "GRANTD_ADMIN_PASSWORD=admin2026"}, serveEnv...)
		if code, _, stderr := (launch{args: []string{"serve"}, env: env}).run(t); code != 2 || !strings.Contains(stderr, "the user's name") {
			t.Errorf("exit %d: %s", code, stderr)
		}
	})
}

func TestLongerPasswordsCanBeAskedFor(t *testing.T) {
	p := startPasswords(t, append(cheapHash, "GRANTD_PASSWORD_MIN_LENGTH=15")...)
	t.Run("PW-NIST63B-5.1.1.2-02 14 characters are too few then, and 15 are enough", func(t *testing.T) {
		if code, stderr := p.user(t, "add", "alice", "fourteen chars"); code != 1 || !strings.Contains(stderr, "the password is shorter than 15 characters") {
			t.Errorf("exit %d: %s", code, stderr)
		}
		if code, stderr := p.user(t, "add", "alice", "fifteen chars !"); code != 0 {
			t.Errorf("exit %d: %s", code, stderr)
		}
		if got := p.signIn(t, "alice", "fifteen chars !"); got != "200" {
			t.Error(got)
		}
	})
}

func TestWhatTheStoreKeepsOfAPassword(t *testing.T) {
	p := startPasswords(t)
	const password = "correct horse battery"
	for _, name := range []string{"alice", "bob"} {
		if code, stderr := p.user(t, "add", name, password); code != 0 {
			t.Fatal(stderr)
		}
	}
	store, err := embedded.Open(filepath.Join(p.dir, "grantd.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	stored := func(name string) string {
		u, err := store.LoadUser(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return u.Password
	}
	t.Run("PW-NIST63B-5.1.1.2-09 PW-NIST63B-5.1.1.2-10 PW-OWASP-storage-01 argon2id of 19 MiB, 2 passes, 16 bytes of salt", func(t *testing.T) {
		phc := regexp.MustCompile(`^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`)
		if got := stored("alice"); !phc.MatchString(got) {
			t.Errorf("stored %q", got)
		}
	})
	t.Run("PW-NIST63B-5.1.1.2-09 another salt for everybody", func(t *testing.T) {
		a, b := strings.Split(stored("alice"), "$"), strings.Split(stored("bob"), "$")
		if a[4] == b[4] || a[5] == b[5] {
			t.Errorf("stored %q and %q for the same password", a, b)
		}
	})
	t.Run("a sign-in leaves such a hash as it is", func(t *testing.T) {
		before := stored("alice")
		if got := p.signIn(t, "alice", password); got != "200" || stored("alice") != before {
			t.Errorf("%s, stored %q after %q", got, stored("alice"), before)
		}
	})
}
