package main

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/admin"
)

func keyCommand() *cobra.Command {
	return noun("key", "Manage the deployment keys, under which tokens are made",
		keyListCommand(), keyRotateCommand(), keyDeleteCommand())
}

func keyListCommand() *cobra.Command {
	return addJSONFlag(addAPIFlags(&cobra.Command{
		Use:   "list",
		Short: "List the deployment keys",
		Long: `List the deployment keys. New tokens are made under the key in the state minting,
and soon under one that is pending. Tokens that were made under an accepted key stay
valid.`,
		Example: "  grantd key list",
		Args:    cobra.NoArgs,
		RunE: withAPI(func(a *api, cmd *cobra.Command, _ []string) error {
			keys, documents, err := loadKeys(cmd.Context(), a)
			if err != nil {
				return err
			}
			if asJSON(cmd) {
				return writeIndented(cmd.OutOrStdout(), documents)
			}
			rows := [][]any{{"ID", "STATE", "CREATED", "MINTS FROM"}}
			for _, k := range keys {
				rows = append(rows, []any{k.ID, k.State, k.Created, k.MintsFrom})
			}
			return writeTable(cmd.OutOrStdout(), rows)
		}),
	}))
}

// loadKeys returns the keys, and the JSON documents of them.
func loadKeys(ctx context.Context, a *api) ([]admin.Key, []json.RawMessage, error) {
	var answer struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := a.get(ctx, "/keys", nil, &answer); err != nil {
		return nil, nil, err
	}
	keys := make([]admin.Key, len(answer.Keys))
	for i, document := range answer.Keys {
		if err := understand(document, &keys[i]); err != nil {
			return nil, nil, err
		}
	}
	return keys, answer.Keys, nil
}

func keyRotateCommand() *cobra.Command {
	return addJSONFlag(addAPIFlags(&cobra.Command{
		Use:   "rotate",
		Short: "Make a new deployment key",
		Long: `Make a new deployment key. New tokens are made under it as soon as every server has
read it. Tokens that were made under other keys stay valid.`,
		Example: "  grantd key rotate",
		Args:    cobra.NoArgs,
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
			return say(cmd, document, "key %d is made; new tokens are made under it from %s on", k.ID, cellText(k.MintsFrom))
		}),
	}))
}

func keyDeleteCommand() *cobra.Command {
	return addJSONFlag(addAPIFlags(addYesFlag(&cobra.Command{
		Use:     "delete ID",
		Short:   "Delete a deployment key, which ends all tokens made under it",
		Example: "  grantd key delete 1 --yes",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 31)
			if err != nil {
				return usagef("%q isn't the id of a key", args[0]).withHint("grantd key list shows the keys")
			}
			return withAPI(func(a *api, cmd *cobra.Command, _ []string) error {
				return deleteKey(a, cmd, int(id))
			})(cmd, args)
		},
	})))
}

// deleteKey looks first, because the API doesn't refuse to delete a key that doesn't
// exist.
func deleteKey(a *api, cmd *cobra.Command, id int) error {
	keys, _, err := loadKeys(cmd.Context(), a)
	if err != nil {
		return err
	}
	name := strconv.Itoa(id)
	if !slices.ContainsFunc(keys, func(k admin.Key) bool { return k.ID == id }) {
		err := failedf("%w", none("there is no key "+name)).withHint("grantd key list shows the keys")
		return a.surely(cmd.Context(), err, "/keys/"+name)
	}
	if err := confirm(cmd, "Delete key "+name+" and end all tokens that were made under it?"); err != nil {
		return err
	}
	if err := a.send(cmd.Context(), http.MethodDelete, "/keys/"+name, nil, nil); err != nil {
		return err
	}
	return say(cmd, map[string]string{"id": name}, "key %s is deleted", name)
}
