package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// newPassword reads a new password for the user from the file ("-" is standard input),
// or without a file from the terminal, where it is typed twice. A password is never an
// argument: every user of the machine can see arguments, and shells keep them.
func (t *tools) newPassword(cmd *cobra.Command, user, file string) (string, error) {
	password, err := askPassword(cmd, file)
	if err != nil {
		return "", err
	}
	if err := t.config.passwordPolicy().Check(user, password); err != nil {
		return "", failedf("%w", err).withHint("choose another password")
	}
	return password, nil
}

func askPassword(cmd *cobra.Command, file string) (string, error) {
	if file != "" {
		return readPassword(cmd, "password", file)
	}
	if !isTerminal(os.Stdin) {
		return "", usagef("there is no terminal to ask for a password on").
			withHint("use --password-file FILE, or --password-file - for standard input")
	}
	first, err := typePassword(cmd.Context(), "New password: ")
	if err != nil {
		return "", err
	}
	second, err := typePassword(cmd.Context(), "Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", failedf("the two passwords differ")
	}
	return first, nil
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// readPassword reads a secret from the file; "-" is a line of standard input. what is
// the name of the secret in errors, which never contain the secret itself.
func readPassword(cmd *cobra.Command, what, file string) (string, error) {
	if file != "-" {
		secret, err := readSecretFile(file)
		if err != nil {
			return "", failedf("reading the %s: %w", what, err)
		}
		return secret, nil
	}
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if errors.Is(err, io.EOF) && line == "" {
		return "", failedf("the %s is empty", what)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", failedf("reading the %s from standard input: %w", what, err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}

// secretInput reads a secret of one line from the file; "-" is standard input. Without
// a file it asks on the terminal, or reads standard input if that is no terminal.
func secretInput(cmd *cobra.Command, what, file string) (string, error) {
	if file == "" && !isTerminal(os.Stdin) {
		file = "-"
	}
	if file == "" {
		return typePassword(cmd.Context(), strings.ToUpper(what[:1])+what[1:]+": ")
	}
	return readPassword(cmd, what, file)
}

// typePassword reads a line without showing it. When a signal ends ctx, it restores the
// terminal.
func typePassword(ctx context.Context, question string) (string, error) {
	fd := int(os.Stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", failedf("asking for a password: %w", err)
	}
	fmt.Fprint(os.Stderr, question)
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		typed <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr)
		return "", errors.Join(failedf("interrupted"), term.Restore(fd, before))
	case l := <-typed:
		fmt.Fprintln(os.Stderr)
		if l.err != nil {
			return "", failedf("reading the password: %w", l.err)
		}
		return string(l.text), nil
	}
}

// confirm asks the question on the terminal, unless --yes is set. Without a terminal
// --yes is required, so that a command pasted into a script doesn't delete by itself.
func confirm(cmd *cobra.Command, question string) error {
	if yes, _ := cmd.Flags().GetBool("yes"); yes {
		return nil
	}
	if !isTerminal(os.Stdin) {
		return usagef("there is no terminal to ask for confirmation on").withHint("use --yes")
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer, err := readAnswer(cmd.Context(), cmd.InOrStdin())
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr())
		return err
	}
	if !strings.EqualFold(answer, "y") && !strings.EqualFold(answer, "yes") {
		return failedf("nothing was changed")
	}
	return nil
}

// readAnswer reads a line, unless a signal ends ctx first. At the end of the input the
// answer is empty.
func readAnswer(ctx context.Context, r io.Reader) (string, error) {
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(r).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		return "", failedf("interrupted")
	case text := <-answer:
		return text, nil
	}
}
