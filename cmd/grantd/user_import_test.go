package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/redisstore"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// importing returns an importer into users, and the text that it reports.
func importing(users storage.Store) (*importer, *bytes.Buffer) {
	var reported bytes.Buffer
	return &importer{store: users, progress: newProgress(&reported, 0)}, &reported
}

func inMemory(t testing.TB) storage.Store {
	t.Helper()
	s, err := embedded.Open(embedded.Memory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func allUsers(t testing.TB, s storage.Users) (users []storage.User) {
	t.Helper()
	err := eachUser(context.WithoutCancel(t.Context()), s, func(u storage.User) bool {
		users = append(users, u)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return users
}

// jsonLines returns n users, a line each.
func jsonLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"username":"user%05d"}`+"\n", i)
	}
	return b.String()
}

// Export, import into an empty store, export: nothing is lost.
func TestExportAndImportLoseNothing(t *testing.T) {
	open := func(t *testing.T, url string) storage.Store {
		s, err := redisstore.Open(url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	stores := map[string]func(t *testing.T) (args []string, s storage.Store){
		"embedded": func(t *testing.T) ([]string, storage.Store) {
			path := filepath.Join(t.TempDir(), "grantd.db")
			s, err := embedded.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return []string{"--data", path}, s
		},
		"redis": func(t *testing.T) ([]string, storage.Store) {
			url := "redis://" + redistest.Single(t).Addr()
			return []string{"--redis", url}, open(t, url)
		},
	}
	created := time.Date(2020, 2, 29, 23, 59, 59, 123456789, time.UTC)
	users := []storage.User{
		{ID: "usr_aaaaaaaaaaaaaaaa", Name: "alice", Password: "$2b$05$46T/sLwQQznq6OZcFfXRDurradZ/lkoZebIxkv22S04whfexXqmUO", Created: created},
		{ID: "usr_bbbbbbbbbbbbbbb-", Name: "amélie@example.com", Password: "scrypt:16:8:5$<&>\u2028$" + strings.Repeat("ab", 64), Admin: true, Created: created.Add(time.Hour)},
		{ID: "usr_cccccccccccccc_c", Name: "carol", Disabled: true, Created: created.Truncate(time.Second)},
		{ID: "usr_dddddddddddddddd", Name: "日本", Disabled: true, Admin: true, Created: time.Unix(0, 0).UTC()},
	}
	for i := range 1200 { // more than two pages
		users = append(users, storage.User{ID: fmt.Sprintf("usr_%016d", i), Name: fmt.Sprintf("user%d", i), Created: created})
	}
	slices.SortFunc(users, func(a, b storage.User) int { return strings.Compare(a.Name, b.Name) })
	for i := range users {
		users[i].Revision = 1
	}
	for from, openFrom := range stores {
		for to, openTo := range stores {
			t.Run(from+" to "+to, func(t *testing.T) {
				args, source := openFrom(t)
				for _, u := range users {
					if err := source.CreateUser(t.Context(), u); err != nil {
						t.Fatal(err)
					}
				}
				file := filepath.Join(t.TempDir(), "users.jsonl")
				must(t, launch{args: append([]string{"user", "export", "--output", file}, args...)})
				if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
					t.Errorf("%v, mode %v", err, info.Mode())
				}
				args, target := openTo(t)
				out := must(t, launch{args: append([]string{"user", "import", file}, args...)})
				if want := "1204 users imported (2 admins), 0 existed already, 0 lines bad\n"; out != want {
					t.Errorf("said %q, want %q", out, want)
				}
				if d := cmp.Diff(users, allUsers(t, target)); d != "" {
					t.Errorf("(-exported +imported)\n%s", d)
				}
			})
		}
	}
}

// A user of a Django application signs in with the password from there, and
// then once more.
func TestImportedUsersSignIn(t *testing.T) {
	p := startPasswords(t, cheapHash...)
	file := writeFile(t, "users.csv", "username,password_hash,disabled\n"+
		"django,pbkdf2_sha256$3$seasalt$"+djangoSecret123+",\n"+
		"gone,pbkdf2_sha256$3$seasalt$"+djangoSecret123+",true\n"+
		"nobody,,\n")
	must(t, launch{args: []string{"user", "import", file}, dir: p.dir, env: p.env})
	for _, c := range []struct{ name, password, want string }{
		{"django", "secret124", "400 invalid_grant"},
		{"django", "secret123", "200"},
		{"Django", "secret123", "200"},
		{"gone", "secret123", "400 invalid_grant"},
		{"nobody", "secret123", "400 invalid_grant"},
	} {
		if got := p.signIn(t, c.name, c.password); got != c.want {
			t.Errorf("%s with %s: %s, want %s", c.name, c.password, got, c.want)
		}
	}
	out := must(t, launch{args: []string{"user", "export"}, dir: p.dir, env: p.env})
	if !strings.Contains(out, `"username":"django","password_hash":"$argon2id$`) || strings.Count(out, "pbkdf2_sha256") != 1 {
		t.Errorf("after the sign-ins:\n%s", out)
	}
}

// djangoSecret123 is PBKDF2 of secret123 under the salt seasalt, 3 rounds, by
// Django.
const djangoSecret123 = "FK5XJIGUPWXuRuDuJFkN3nJ9NjnTqmU5uckaVWYD0z0="

// breaking is a store that fails after a number of users.
type breaking struct {
	storage.Store
	left atomic.Int64
	err  error
}

func (b *breaking) CreateUser(ctx context.Context, u storage.User) error {
	if b.left.Add(-1) < 0 {
		return b.err
	}
	return b.Store.CreateUser(ctx, u)
}

func TestImportThatStopsSaysWhatItTook(t *testing.T) {
	const n = 3000
	s := inMemory(t)
	b := &breaking{Store: s, err: fmt.Errorf("%w: gone", storage.ErrUnavailable)}
	b.left.Store(1000)
	im, _ := importing(b)
	err := im.verdict(im.run(t.Context(), strings.NewReader(jsonLines(n))))
	var f *failure
	if !errors.As(err, &f) || f.code != exitFailed || !strings.Contains(f.hint, "imports the missing users") || !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("%v, want a failure with a hint", err)
	}
	if got := len(allUsers(t, s)); got != 1000 || im.summary() != "1000 users imported, 0 existed already, 0 lines bad" {
		t.Errorf("%d users are there, and it says %q", got, im.summary())
	}

	im, _ = importing(s) // without fault
	if err := im.verdict(im.run(t.Context(), strings.NewReader(jsonLines(n)))); err != nil {
		t.Fatal(err)
	}
	if got := len(allUsers(t, s)); got != n || im.tally.taken+im.tally.present != n || im.tally.taken != 2000 {
		t.Errorf("%d users are there, and it says %q", got, im.summary())
	}
}

func TestInterruptedImportSaysWhatItTook(t *testing.T) {
	s := inMemory(t)
	im, _ := importing(s)
	ctx, interrupt := context.WithCancel(t.Context())
	in, out := io.Pipe()
	ended := make(chan error)
	go func() { ended <- im.run(ctx, in) }()
	io.WriteString(out, jsonLines(700)) // and no end
	for im.progress.count.Load() < 700 {
		time.Sleep(time.Millisecond)
	}
	interrupt()
	if err := <-ended; err == nil || err.Error() != "interrupted" {
		t.Errorf("ended with %v", err)
	}
	out.Close()
	if got := len(allUsers(t, s)); got != 700 || im.tally.taken != 700 {
		t.Errorf("%d users are there, and it says %q", got, im.summary())
	}
}

func TestFileThatBreaksOff(t *testing.T) {
	s := inMemory(t)
	im, _ := importing(s)
	broken := errors.New("input/output error")
	err := im.run(t.Context(), io.MultiReader(strings.NewReader(jsonLines(5)), errReader{broken}))
	if !errors.Is(err, broken) || im.tally.taken != 5 {
		t.Errorf("%v, %q", err, im.summary())
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func TestLinesAreBounded(t *testing.T) {
	long := func(n int) string { // a line of n bytes with its end
		const frame = `{"username":"x"}`
		return strings.Repeat(" ", n-len(frame)-1) + frame + "\n"
	}
	for _, c := range []struct {
		name, text, want string
		taken            int
	}{
		{"as long as may be", long(maxLine), "", 1},
		{"one byte more", long(maxLine + 1), "line 1: longer than 65536 bytes\n", 0},
		{"many times that, and others around it", jsonLines(2) + long(10*maxLine+3) + `{"username":"last"}`, "line 3: longer than 65536 bytes\n", 3},
		{"at the end", jsonLines(1) + strings.Repeat("x", maxLine), "line 2: longer than 65536 bytes\n", 1},
		{"no end of the last line, a byte order mark, and line ends of Windows", "\ufeff\r\n" + `{"username":"x"}` + "\r\n\r\n" + `{"username":"y"}`, "", 2},
		{"quotes that go on in the next line", "username\n\"a\nb\"\nc\n", "line 2: extraneous or missing \" in quoted-field\nline 3: bare \" in non-quoted-field\n", 1},
		{"too many fields and too few", "username,admin\na,1,2\nb\nc,t\nd,maybe\n", "line 2: wrong number of fields\nline 3: wrong number of fields\nline 5: admin must be true or false\n", 1},
		{"a terminal's commands in a name", `{"username":"\u001b[2J"}` + "\n", "line 1: \"?[2J\" can't be a user's name\n", 0},
		{"a list on a line", `{"username":"a"}` + "\n[]\n", "line 2: must be a JSON object\n", 1},
		{"other values on lines", `{"username":"a"}` + "\nnull\n\"b\"\n", "line 2: must be a JSON object\nline 3: must be a JSON object\n", 1},
		{"a name twice", `{"username":"a","admin":false,"admin":true}` + "\n", "line 1: admin appears twice\n", 0},
		{"another case", `{"username":"a","Admin":true}` + "\n", "line 1: unknown field \"Admin\"\n", 0},
		{"two objects", `{"username":"a"} {"username":"b"}` + "\n", "line 1: more than one JSON object\n", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := inMemory(t)
			im, reported := importing(s)
			if err := im.run(t.Context(), strings.NewReader(c.text)); err != nil {
				t.Fatal(err)
			}
			if im.tally.taken != c.taken || reported.String() != c.want {
				t.Errorf("%s, want %d taken\n%s\nwant\n%s", im.summary(), c.taken, reported, c.want)
			}
		})
	}
}

// FuzzUserLine checks that any accepted line, written and read again, gives the
// same user.
func FuzzUserLine(f *testing.F) {
	for _, s := range []string{
		`{"username":"Alice","password_hash":"","created":"2021-03-04T05:06:07.123456789+05:30","admin":true}`,
		`{"id":"usr_0123456789abcdef","username":"b","disabled":true,"password_hash":"pbkdf2_sha256$3$s\u2028<>$FK5XJIGUPWXuRuDuJFkN3nJ9NjnTqmU5uckaVWYD0z0="}`,
		`{"username":"x","created":"9999-12-31T23:59:59-23:59"}`, `{"username":"x","created":"0000-01-01T00:00:00Z"}`, "null", `{}{}`,
		"alice,$2b$05$46T/sLwQQznq6OZcFfXRDurradZ/lkoZebIxkv22S04whfexXqmUO,,t,0,2021-03-04", `"a""b",,,,,`, `a,"`,
	} {
		f.Add(s)
	}
	asCSV, err := newCSVDecoder("username,password_hash,id,disabled,admin,created")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, decode := range []decoder{decodeJSON, asCSV} {
			p, err := decode(text)
			if err != nil {
				continue
			}
			u, err := p.user()
			if err != nil {
				continue
			}
			written, err := json.Marshal(portable(u))
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			again, err := decodeJSON(string(written))
			if err != nil {
				t.Fatalf("%q is written as %s: %v", text, written, err)
			}
			if back, err := again.user(); err != nil || back != u {
				t.Errorf("%q is read as %+v, written as %s and read as %+v, %v", text, u, written, back, err)
			}
		}
	})
}

func TestProgress(t *testing.T) {
	var w bytes.Buffer
	p := newProgress(&w, 1000)
	p.count.Store(50)
	p.read.Store(250)
	if got, want := p.text(5*time.Second), "[=====               ] 25%  50 lines  10 a second  15s left"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	p.total.Store(0)
	if got, want := p.text(5*time.Second), "50 lines  10 a second"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.show(5 * time.Second)
	p.tell("line 7: bad")
	if got, want := w.String(), "50 lines  10 a second\nline 7: bad\n"; got != want {
		t.Errorf("no terminal: %q, want %q", got, want)
	}
	w.Reset()
	p.terminal = true
	stop := p.start()
	p.show(5 * time.Second)
	p.tell("line 7: bad")
	p.show(5 * time.Second)
	stop()
	const bar = "\r\x1b[K50 lines  10 a second"
	if got, want := w.String(), bar+"\r\x1b[Kline 7: bad\n"+bar+"\r\x1b[K"; got != want {
		t.Errorf("terminal: %q, want %q", got, want)
	}
}
