package main

import (
	"context"
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// How long a shell may wait for names, and how many it gets at most.
const (
	completionPatience = time.Second
	mostCompletions    = 50
)

// completeUsers returns the names of users that begin with the typed text.
func completeUsers(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	query := url.Values{}
	if typed != "" {
		query.Set("prefix", typed)
	}
	return completeNames(cmd, args, typed, listing[any]{path: "/users", member: "users", query: query}, "username")
}

// completeClients is completeUsers for clients. The API can't search them by prefix.
func completeClients(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeNames(cmd, args, typed, listing[any]{path: "/clients", member: "clients"}, "client_id")
}

// completeNames ignores errors: a shell that asks for names couldn't show them.
func completeNames(cmd *cobra.Command, args []string, typed string, l listing[any], member string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionPatience)
	defer cancel()
	cmd.SetContext(ctx)
	cmd.SetErr(io.Discard)
	var names []cobra.Completion
	l.limit = mostCompletions
	_ = withAPI(func(a *api, cmd *cobra.Command, _ []string) error {
		return l.each(cmd.Context(), a, func(page []json.RawMessage) error {
			for _, document := range page {
				var record map[string]any
				if json.Unmarshal(document, &record) != nil {
					continue
				}
				if name, _ := record[member].(string); strings.HasPrefix(name, typed) && printable(name, longestCell) == name {
					names = append(names, name)
				}
			}
			return nil
		})
	})(cmd, args)
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeFlags completes the names in the flags --user and --client.
func completeFlags(c *cobra.Command) {
	for flag, complete := range map[string]cobra.CompletionFunc{"user": completeUsers, "client": completeClients} {
		f := func(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return complete(cmd, nil, typed)
		}
		if err := c.RegisterFlagCompletionFunc(flag, f); err != nil {
			panic(err) // the command has no such flag
		}
	}
}

// addCompletionExamples adds examples to the completion commands that cobra makes.
func addCompletionExamples(root *cobra.Command) {
	places := map[string]string{
		"bash":       " > /etc/bash_completion.d/grantd",
		"zsh":        ` > "${fpath[1]}/_grantd"`,
		"fish":       " > ~/.config/fish/completions/grantd.fish",
		"powershell": " | Out-String | Invoke-Expression",
	}
	completion, _, err := root.Find([]string{"completion"})
	if err != nil {
		panic(err) // cobra has made it
	}
	completion.Example = "  grantd completion bash" + places["bash"]
	for _, c := range completion.Commands() {
		c.Example = "  grantd completion " + c.Name() + places[c.Name()]
	}
}
