package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/admin"
)

func tokenCommand() *cobra.Command {
	return noun("token", "Show what a token is, or end it", tokenInspectCommand(), tokenRevokeCommand())
}

// tokenShape matches the beginning of a token.
var tokenShape = regexp.MustCompile(`^g(at|rt|ac)_`)

func tokenText(s string) bool { return tokenShape.MatchString(s) }

// tokenArgument refuses a token as an argument, without repeating it.
func tokenArgument() *failure {
	return usagef("a token must not be an argument: others on this machine can see arguments, and shells save them").
		withHint("use --token-file FILE, or - for standard input")
}

// tokenVerb returns a command on a token. The token is never an argument.
func tokenVerb(verb, short string, run func(a *api, cmd *cobra.Command, token string) error) *cobra.Command {
	var file string
	c := addJSONFlag(addAPIFlags(&cobra.Command{
		Use:   verb + " [-]",
		Short: short,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return nil
			case len(args) > 1 || args[0] != "-":
				return tokenArgument()
			case file != "":
				return usagef("--token-file can't be combined with -")
			}
			file = "-" // standard input
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			token, err := secretInput(cmd, "token", file)
			if err != nil {
				return err
			}
			if token == "" {
				return failedf("the token is empty")
			}
			return withAPI(func(a *api, cmd *cobra.Command, _ []string) error { return run(a, cmd, token) })(cmd, args)
		},
	}))
	c.Flags().StringVar(&file, "token-file", "", "file with the token (default: standard input, or asked for on a terminal)")
	return c
}

func tokenRevokeCommand() *cobra.Command {
	c := tokenVerb("revoke", "End the sign-in that a token belongs to",
		func(a *api, cmd *cobra.Command, token string) error {
			err := revoke(a, cmd, map[string]any{"token": token}, true)
			var p *problem
			if errors.As(err, &p) && len(p.Errors) == 1 && p.Errors[0].Field == "token" {
				return failedf("the %w", err) // the token isn't part of the call, so this is no usage error
			}
			return err
		})
	c.Example = "  grantd token revoke --token-file leaked.txt\n  pass show leaked | grantd token revoke"
	return c
}

func tokenInspectCommand() *cobra.Command {
	c := tokenVerb("inspect", "Show what a token is: its kind, whether it is active, and whose it is", inspectToken)
	c.Long = `Show what a token is: its kind, whether it is active, whose it is and when it
expires. The token is sent to nobody but the server.` + whereItActs
	c.Example = "  grantd token inspect --token-file token.txt\n  pass show token | grantd token inspect --json"
	return c
}

func inspectToken(a *api, cmd *cobra.Command, token string) error {
	var document json.RawMessage
	var told admin.TokenInfo
	err := a.send(cmd.Context(), http.MethodPost, "/tokens/inspect", map[string]string{"token": token}, &document)
	if err == nil {
		err = understand(document, &told)
	}
	if err != nil {
		return err
	}
	fields := [][]any{{"kind", told.Kind}, {"active", told.Active}}
	if told.Grant != nil {
		for _, field := range grantFields(*told.Grant) {
			if field[0] == "id" {
				field[0] = "grant"
			}
			fields = append(fields, field)
		}
	}
	return showOne(cmd, document, fields)
}
