package main

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script: the commands as a person at the terminal
// sees them, on a store and through a server.
func TestScripts(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "server": scriptServer, "sets": sets, "sleeps": sleeps, "signin": signin, "usersme": usersMeIs},
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(path)+string(filepath.ListSeparator)+e.Getenv("PATH"))
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			return nil
		},
	})
}

// exits CODE ARG... runs grantd with the arguments and expects that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := exitCode(ts.Exec("grantd", args[1:]...)); got != want {
		ts.Fatalf("grantd %q: exit %d, want %d", args[1:], got, want)
	}
}

// scriptServer: server ARG... starts grantd with the arguments, those of dev or of serve,
// and sets $SERVER to its URL. It is stopped at the end of the script.
func scriptServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: server ARG...")
	}
	path, err := binary()
	ts.Check(err)
	cmd := exec.Command(path, append(args, "--addr", "127.0.0.1:0")...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{"HOME=" + ts.Getenv("HOME")}
	var printed lockedBuffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ts.Defer(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	for range 4000 {
		if m := address.FindStringSubmatch(printed.String()); m != nil {
			ts.Setenv("SERVER", cmp.Or(m[1], "http://"+m[2]))
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	ts.Fatalf("grantd %q printed no address\n%s", args, printed.String())
}

// sets VARIABLE REGEXP sets the variable to the match of the expression's first
// group in the standard output of the command before.
func sets(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sets VARIABLE REGEXP")
	}
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) < 2 {
		ts.Fatalf("%q matches nothing in\n%s", args[1], ts.ReadFile("stdout"))
	}
	ts.Setenv(args[0], m[1])
}

// sleeps DURATION waits until a command in the background can have noticed
// something.
func sleeps(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sleeps DURATION")
	}
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	time.Sleep(d)
}

// signin USER PASSWORD [CLIENT SECRET] signs in at $SERVER, as the client demo unless
// another is named, and sets $ACCESS_TOKEN and $REFRESH_TOKEN.
func signin(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 && len(args) != 4 {
		ts.Fatalf("usage: signin USER PASSWORD [CLIENT SECRET]")
	}
	args = append(args, "demo", "demo-secret")
	form := url.Values{
		"grant_type": {"password"}, "username": {args[0]}, "password": {args[1]}, "client_id": {args[2]}, "client_secret": {args[3]},
	}
	resp, err := http.PostForm(ts.Getenv("SERVER")+"/token", form)
	ts.Check(err)
	defer resp.Body.Close()
	var answer map[string]any
	ts.Check(json.NewDecoder(resp.Body).Decode(&answer))
	for name, member := range map[string]string{"ACCESS_TOKEN": "access_token", "REFRESH_TOKEN": "refresh_token"} {
		token, ok := answer[member].(string)
		if !ok {
			ts.Fatalf("%d %v", resp.StatusCode, answer)
		}
		ts.Setenv(name, token)
	}
}

// usersMeIs: usersme STATUS asks /users/me of $SERVER with $ACCESS_TOKEN and expects
// that status.
func usersMeIs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: usersme STATUS")
	}
	req, err := http.NewRequest(http.MethodGet, ts.Getenv("SERVER")+"/users/me", nil)
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+ts.Getenv("ACCESS_TOKEN"))
	resp, err := http.DefaultTransport.RoundTrip(req)
	ts.Check(err)
	resp.Body.Close()
	if got := strconv.Itoa(resp.StatusCode); got != args[0] {
		ts.Fatalf("GET /users/me: %s, want %s", got, args[0])
	}
}
