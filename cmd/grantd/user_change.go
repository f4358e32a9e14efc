package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/storage"
)

// A change that ends grants is made in this order: the record, the revocation,
// the sweep. A sign-in that began before the revocation fails, and one that
// begins after it reads the changed record; see storage.Revocations.

func userPasswdCommand() *cobra.Command {
	c := userVerb("passwd", "Change a user's password and end all the user's grants",
		func(t *tools, cmd *cobra.Command, args []string) error {
			u, err := t.loadUser(cmd.Context(), args[0]) // before anybody types a password
			if err != nil {
				return err
			}
			password, err := t.newPassword(cmd, u.Name, cmd.Flags().Lookup("password-file").Value.String())
			if err != nil {
				return err
			}
			hash, err := t.hasher.Hash(cmd.Context(), password)
			if err != nil {
				return err
			}
			if err := t.changeUser(cmd.Context(), u.Name, func(u *storage.User) { u.Password = hash }); err != nil {
				return err
			}
			return t.endUserGrants(cmd, u, "has a new password")
		})
	c.Flags().String("password-file", "", "file with the password; - is standard input")
	return c
}

func userDisableCommand() *cobra.Command {
	return userVerb("disable", "Keep a user from signing in and end all the user's grants",
		func(t *tools, cmd *cobra.Command, args []string) error {
			u, err := t.loadUser(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := t.changeUser(cmd.Context(), u.Name, func(u *storage.User) { u.Disabled = true }); err != nil {
				return err
			}
			return t.endUserGrants(cmd, u, "is disabled")
		})
}

func userEnableCommand() *cobra.Command {
	return userVerb("enable", "Let a disabled user sign in again",
		func(t *tools, cmd *cobra.Command, args []string) error {
			u, err := t.loadUser(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := t.changeUser(cmd.Context(), u.Name, func(u *storage.User) { u.Disabled = false }); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "user %s is enabled\n", u.Name)
			return err
		})
}

// userDeleteCommand disables the user first and forgets it last: were the record
// gone first, its id would be lost with it, and nobody could repeat a
// revocation that failed.
func userDeleteCommand() *cobra.Command {
	c := userVerb("delete", "Delete a user and end all the user's grants",
		func(t *tools, cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			u, err := t.loadUser(ctx, args[0])
			if err != nil {
				return err
			}
			if err := confirm(cmd, "Delete user "+u.Name+" and end all grants?"); err != nil {
				return err
			}
			if err := t.changeUser(ctx, u.Name, func(u *storage.User) { u.Disabled = true }); err != nil {
				return err
			}
			n, err := endGrants(ctx, t.store, storage.Target{UserID: u.ID})
			if err != nil {
				return err
			}
			if err := t.store.DeleteUser(ctx, u.Name); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "user %s is deleted, %s ended\n", u.Name, counted(n, "grant"))
			return err
		})
	c.Flags().Bool("yes", false, "don't ask; needed without a terminal")
	return c
}

func (t *tools) loadUser(ctx context.Context, arg string) (storage.User, error) {
	name, err := username(arg)
	if err != nil {
		return storage.User{}, err
	}
	u, err := t.store.LoadUser(ctx, name)
	if errors.Is(err, storage.ErrNotFound) {
		return u, failedf("there is no user %s", name).withHint("grantd user list shows who there is")
	}
	return u, err
}

// changeUser changes the record, again when somebody else changed it meanwhile:
// a server does so when it renews a hash.
func (t *tools) changeUser(ctx context.Context, name string, change func(*storage.User)) error {
	const tries = 5
	var err error
	for range tries {
		var u storage.User
		if u, err = t.loadUser(ctx, name); err != nil {
			return err
		}
		change(&u)
		if err = t.store.UpdateUser(ctx, u); !errors.Is(err, storage.ErrConflict) {
			return err
		}
	}
	return err
}

func (t *tools) endUserGrants(cmd *cobra.Command, u storage.User, state string) error {
	n, err := endGrants(cmd.Context(), t.store, storage.Target{UserID: u.ID})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "user %s %s, %s ended\n", u.Name, state, counted(n, "grant"))
	return err
}
