package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// execute runs the command that args name.
func execute(ctx context.Context, args []string) error {
	running := false
	root := newRoot()
	root.PersistentPreRun = func(*cobra.Command, []string) { running = true }
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)

	// An error before a command runs is a fault of the call.
	var known *failure
	if err != nil && !running && !errors.As(err, &known) {
		return usagef("%w", err).withHint("grantd --help lists the commands, grantd COMMAND --help their flags")
	}
	return err
}

func newRoot() *cobra.Command {
	root := noun("grantd", "An OAuth 2.0 authorization server",
		devCommand(), serveCommand(), resourceCommand(),
		loginCommand(), logoutCommand(),
		initCommand(), userCommand(), clientCommand(),
		grantCommand(), revocationCommand(), tokenCommand(), keyCommand(), auditCommand(),
		configCommand(), backupCommand(), restoreCommand(), migrateCommand(), secretsCommand(), healthcheckCommand(), versionCommand(),
	)
	root.Example = "  grantd dev\n  grantd serve --config grantd.yaml"
	root.Version = versionText()
	root.SetVersionTemplate("grantd {{.Version}} " + runtime.Version() + "\n")
	root.SilenceErrors, root.SilenceUsage = true, true
	addHelpCommand(root)
	root.InitDefaultCompletionCmd()
	addCompletionExamples(root)
	root.SetFlagErrorFunc(explainFlag)
	explainArgs(root)
	return root
}

// addHelpCommand adds the command help, which fails for a command that doesn't exist.
func addHelpCommand(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, _ := root.Find([]string{"help"}) // it was just added
	help.Example = "  grantd help user add"
	help.Args = func(_ *cobra.Command, args []string) error {
		if _, rest, err := root.Find(args); err != nil || len(rest) > 0 {
			return usagef("there is no command %q", strings.Join(args, " ")).withHint(root.Name() + " --help lists the commands")
		}
		return nil
	}
}

// explainFlag turns the error of a wrong flag into a failure with a hint.
func explainFlag(c *cobra.Command, err error) error {
	hint := inHours(err.Error())
	if hint == "" {
		hint = c.CommandPath() + " --help lists the flags"
	}
	var wrong *pflag.InvalidValueError
	if errors.As(err, &wrong) {
		if want := flagTypes[wrong.GetFlag().Value.Type()]; want != "" {
			err = fmt.Errorf("--%s must be %s, not %q", wrong.GetFlag().Name, want, wrong.GetValue())
		}
	}
	return usagef("%w", err).withHint(hint)
}

// flagTypes describes the values that each type of flag takes.
var flagTypes = map[string]string{"bool": "true or false", "duration": "a duration such as 24h", "int": "a whole number"}

// explainArgs makes the command and its subcommands say which argument is missing,
// or how many are too many.
func explainArgs(c *cobra.Command) {
	for _, sub := range c.Commands() {
		explainArgs(sub)
	}
	check := c.Args
	if check == nil {
		return
	}
	c.Args = func(c *cobra.Command, args []string) error {
		err := check(c, args)
		var known *failure
		if err == nil || errors.As(err, &known) {
			return err
		}
		return argsFault(c, args).withHint("usage: " + c.UseLine())
	}
}

// argsFault returns the failure of a wrong number of arguments.
func argsFault(c *cobra.Command, args []string) *failure {
	var names []string
	for _, word := range strings.Fields(c.Use)[1:] {
		if !strings.HasPrefix(word, "-") {
			names = append(names, word)
		}
	}
	if len(names) == 0 {
		return usagef("%s takes no argument", c.CommandPath())
	}
	if len(args) < len(names) {
		return usagef("%s is missing", names[len(args)])
	}
	if len(args) == len(names)+1 {
		return usagef("one argument is too many")
	}
	return usagef("%d arguments are too many", len(args)-len(names))
}

// noun returns a command that only has subcommands.
func noun(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("a command is missing").
					withHint(c.CommandPath() + " --help lists the commands")
			}
			unknown := usagef("unknown command %q for %q", args[0], c.CommandPath())
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				return unknown.withHint("did you mean " + c.CommandPath() + " " + near[0] + "?")
			}
			return unknown.withHint(c.CommandPath() + " --help lists the commands")
		},
	}
	c.SuggestionsMinimumDistance = 2 // letters to change
	c.AddCommand(verbs...)
	return c
}
