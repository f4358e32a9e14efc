package main

import (
	"encoding/json"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/admin"
)

func keyCommand() *cobra.Command {
	return noun("key", "Manage the deployment keys, which tokens are made under",
		keyListCommand(), keyRotateCommand(), keyDeleteCommand())
}

func keyListCommand() *cobra.Command {
	return addJSONFlag(addAPIFlags(&cobra.Command{
		Use:   "list",
		Short: "List the deployment keys",
		Long: `List the deployment keys. One is minting: new tokens are made under it. Tokens
made under those that are accepted are good as long as they live.`,
		Example: "  grantd key list",
		Args:    noArgs,
		RunE: withAPI(func(a *api, cmd *cobra.Command, _ []string) error {
			var answer struct {
				Keys []json.RawMessage `json:"keys"`
			}
			if err := a.get(cmd.Context(), "/keys", nil, &answer); err != nil {
				return err
			}
			if asJSON(cmd) {
				return writeIndented(cmd.OutOrStdout(), answer.Keys)
			}
			rows := [][]any{{"ID", "STATE", "CREATED", "MINTS FROM"}}
			for _, document := range answer.Keys {
				var k admin.Key
				if err := understand(document, &k); err != nil {
					return err
				}
				rows = append(rows, []any{k.ID, k.State, k.Created, k.MintsFrom})
			}
			return writeTable(cmd.OutOrStdout(), rows)
		}),
	}))
}

func keyRotateCommand() *cobra.Command {
	return addJSONFlag(addAPIFlags(&cobra.Command{
		Use:   "rotate",
		Short: "Make a new deployment key",
		Long: `Make a new deployment key. It mints once every server has read it; tokens made
under the others stay good.`,
		Example: "  grantd key rotate",
		Args:    noArgs,
		RunE: withAPI(func(a *api, cmd *cobra.Command, _ []string) error {
			var document json.RawMessage
			var k admin.Key
			err := a.send(cmd.Context(), http.MethodPost, "/keys", nil, &document)
			if err == nil {
				err = understand(document, &k)
			}
			if err != nil {
				return err
			}
			return say(cmd, document, "key %d is made, and mints from %s on", k.ID, cellText(k.MintsFrom))
		}),
	}))
}

func keyDeleteCommand() *cobra.Command {
	return addJSONFlag(addAPIFlags(addYesFlag(&cobra.Command{
		Use:     "delete ID",
		Short:   "Delete a deployment key: tokens made under it are no longer good",
		Example: "  grantd key delete 1 --yes",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id := args[0]
			if err := confirm(cmd, "Delete key "+printable(id, longestCell)+", and with it all tokens made under it?"); err != nil {
				return err
			}
			return withAPI(func(a *api, cmd *cobra.Command, _ []string) error {
				if err := a.send(cmd.Context(), http.MethodDelete, "/keys/"+segment(id), nil, nil); err != nil {
					return err
				}
				return say(cmd, map[string]string{"id": id}, "key %s is deleted", id)
			})(cmd, args)
		},
	})))
}
