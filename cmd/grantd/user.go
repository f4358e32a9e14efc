package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

func userCommand() *cobra.Command {
	return noun("user", "Manage users",
		userAddCommand(), userListCommand(), userPasswdCommand(),
		userDisableCommand(), userEnableCommand(), userDeleteCommand(),
		userImportCommand(), userExportCommand())
}

// userVerb is a command on one user.
func userVerb(verb, short string, run func(*tools, *cobra.Command, []string) error) *cobra.Command {
	c := &cobra.Command{
		Use:     verb + " NAME",
		Short:   short,
		Example: "  grantd user " + verb + " alice --config grantd.yaml",
		Args:    cobra.ExactArgs(1),
		RunE:    withTools(run),
	}
	addConfigFlags(c, "data", "redis")
	return c
}

// username is the name as users are stored under it.
func username(name string) (string, error) {
	stored, err := passhash.Username(name)
	if err != nil {
		return "", usagef("%q can't be a user's name: %w", name, err).
			withHint("letters, digits and most ASCII punctuation, no spaces (RFC 8265)")
	}
	return stored, nil
}

func userAddCommand() *cobra.Command {
	c := userVerb("add", "Add a user", func(t *tools, cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		name, err := username(args[0])
		if err != nil {
			return err
		}
		_, err = t.store.LoadUser(ctx, name) // before anybody types a password
		if err == nil {
			return userExists(name)
		}
		if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		password, err := t.newPassword(cmd, name, cmd.Flags().Lookup("password-file").Value.String())
		if err != nil {
			return err
		}
		hash, err := t.hasher.Hash(ctx, password)
		if err != nil {
			return err
		}
		admin, _ := cmd.Flags().GetBool("admin")
		u := newUser(name, hash, admin)
		err = t.store.CreateUser(ctx, u)
		if errors.Is(err, storage.ErrExists) {
			return userExists(name)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "user %s added, id %s\n", name, u.ID)
		return err
	})
	c.Example = "  grantd user add alice --config grantd.yaml\n  grantd user add root --admin --data grantd.db --password-file -"
	c.Flags().Bool("admin", false, `the user may be granted the scope "admin"`)
	c.Flags().String("password-file", "", "file with the password; - is standard input")
	return c
}

func userExists(name string) error {
	return failedf("user %s exists already", name).withHint("grantd user passwd " + name + " changes the password")
}

// listedUser is a user for people and scripts: without the password's hash.
type listedUser struct {
	Name     string    `json:"name"`
	ID       string    `json:"id"`
	Admin    bool      `json:"admin"`
	Disabled bool      `json:"disabled"`
	Created  time.Time `json:"created"`
}

func userListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the users",
		Example: "  grantd user list --config grantd.yaml --json",
		Args:    cobra.NoArgs,
		RunE: withTools(func(t *tools, cmd *cobra.Command, _ []string) error {
			users := []listedUser{}
			err := eachUser(cmd.Context(), t.store, func(u storage.User) bool {
				users = append(users, listedUser{u.Name, u.ID, u.Admin, u.Disabled, u.Created})
				return true
			})
			if err != nil {
				return err
			}
			if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
				return writeIndented(cmd.OutOrStdout(), users)
			}
			rows := [][]any{{"NAME", "ID", "ADMIN", "DISABLED", "CREATED"}}
			for _, u := range users {
				rows = append(rows, []any{u.Name, u.ID, yesNo(u.Admin), yesNo(u.Disabled), u.Created.Format(time.RFC3339)})
			}
			return writeTable(cmd.OutOrStdout(), rows)
		}),
	}
	c.Flags().Bool("json", false, "print JSON")
	addConfigFlags(c, "data", "redis")
	return c
}
