// Command grantd is an OAuth 2.0 authorization server with a resource server
// beside it. It exits with 0 when done, 1 when it failed and 2 when it was
// called or configured wrongly.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	err := execute(untilStopped(), os.Args[1:])
	os.Exit(report(os.Stderr, err))
}

// untilStopped returns a context that ends at the first signal to stop. A second
// signal kills the process, unless it is SIGHUP: a closing terminal sends SIGHUP
// twice, and systemd with SendSIGHUP sends it right after SIGTERM. Under nohup
// SIGHUP stays ignored.
func untilStopped() context.Context {
	ctx, kill := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		ctx, _ = signal.NotifyContext(ctx, syscall.SIGHUP)
	}
	context.AfterFunc(ctx, kill)
	return ctx
}

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// failure is an error with a hint and an exit code for the person at the terminal.
type failure struct {
	err  error
	hint string // what to do; may be empty
	code int
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usagef returns a failure that the call or the configuration caused.
func usagef(format string, args ...any) *failure {
	return &failure{err: fmt.Errorf(format, args...), code: exitUsage}
}

// failedf returns any other failure.
func failedf(format string, args ...any) *failure {
	return &failure{err: fmt.Errorf(format, args...), code: exitFailed}
}

func (f *failure) withHint(hint string) *failure {
	f.hint = hint
	return f
}

// plain rewrites error texts of packages, which are meant for programs, for the
// person at the terminal.
var plain = strings.NewReplacer(
	"passhash: password not acceptable: ", "the password is ",
	"passhash: password hash not acceptable: ", "the password hash is ",
	"passhash: ", "",
	"redisstore: bad URL: ", "",
	"stockredis: bad URL: ", "",
	"storage: unavailable: stock tokens: ", "the stock server's Redis can't be reached: stock tokens: ",
	"redisstore: Redis stopped answering, and gets no commands until it answers again: ", "", // for a command this was the first time
	"redisstore: ", "",
	"opaque: ", "",
	"storage: unavailable: ", "the store can't be reached: ",
)

// report prints err, if any, and returns the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(w, "grantd: %s\n", plain.Replace(err.Error()))
	var f *failure
	if !errors.As(err, &f) {
		return exitFailed
	}
	if f.hint != "" {
		fmt.Fprintf(w, "hint: %s\n", f.hint)
	}
	return f.code
}
