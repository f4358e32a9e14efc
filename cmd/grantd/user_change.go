package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/storage"
)

func userUpdateCommand() *cobra.Command {
	var asAdmin bool
	c := userVerb("update", "Make a user an admin, or no longer an admin", func(a *api, cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed("admin") {
			return usagef("nothing to change").withHint("give --admin or --admin=false")
		}
		what := "is an admin"
		if !asAdmin {
			what = "is no admin any more, and all grants are ended"
			if err := confirmLockout(a, cmd, args[0], "Take admin away from user"); err != nil {
				return err
			}
		}
		return changeUser(a, cmd, args[0], "admin", asAdmin, what)
	})
	c.Long = "Make a user an admin, who may be granted the scope admin, or no longer an admin,\nwhich ends all the user's grants." + whenItAsks + whereItActs
	c.Example = "  grantd user update alice --admin\n  grantd user update alice --admin=false"
	c.Flags().BoolVar(&asAdmin, "admin", false, `whether the user may be granted the scope "admin"`)
	return addJSONFlag(addLockoutFlag(c))
}

func userDisableCommand() *cobra.Command {
	c := userVerb("disable", "Keep a user from signing in and end all the user's grants",
		func(a *api, cmd *cobra.Command, args []string) error {
			if err := confirmLockout(a, cmd, args[0], "Disable user"); err != nil {
				return err
			}
			return changeUser(a, cmd, args[0], "disabled", true, "is disabled, and all grants are ended")
		})
	c.Long = "Keep a user from signing in and end all the user's grants." + whenItAsks + whereItActs
	return addJSONFlag(addLockoutFlag(c))
}

// whenItAsks is part of the help of the commands that call confirmLockout.
const whenItAsks = `

The command asks for confirmation if that user is signed in here by grantd login, or
if the command acts on a store and nobody else is an admin who can sign in.`

// addLockoutFlag gives the command the flag --yes of confirmLockout.
func addLockoutFlag(c *cobra.Command) *cobra.Command {
	c.Flags().Bool("yes", false, "don't ask for confirmation; needed only where it would be asked for and there is no terminal")
	return c
}

// confirmLockout asks whether to do it to the user, if warnOfLockout warns.
func confirmLockout(a *api, cmd *cobra.Command, arg, do string) error {
	name, err := username(arg)
	if err != nil {
		return err
	}
	warned, err := a.warnOfLockout(cmd, name)
	if err != nil || !warned {
		return err
	}
	return confirm(cmd, do+" "+printable(name, longestCell)+"?")
}

// warnOfLockout warns if the user who is about to be locked out is the one who is
// signed in here, or on a store the last admin who can sign in. It reports whether it
// did. A server needs no warning of the latter, because it refuses that.
func (a *api) warnOfLockout(cmd *cobra.Command, name string) (warned bool, err error) {
	text := ""
	switch {
	case a.user == name:
		text = "you are signed in as this user, and will be signed out"
	case a.local != nil:
		last, err := lastAdmin(cmd.Context(), a.local.tools.store, name)
		if err != nil {
			return false, err
		}
		if last {
			text = "this is the last admin who can sign in; to make another one: grantd user add NAME --admin"
		}
	}
	if text != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "grantd: warning: "+text)
	}
	return text != "", nil
}

// lastAdmin reports whether the user is an admin who can sign in, and nobody else is.
func lastAdmin(ctx context.Context, users storage.Users, name string) (bool, error) {
	u, err := users.LoadUser(ctx, name)
	if errors.Is(err, storage.ErrNotFound) || err == nil && !u.CanAdmin() {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	last := true
	err = eachUser(ctx, users, func(u storage.User) bool {
		last = u.Name == name || !u.CanAdmin()
		return last
	})
	return last, err
}

func userEnableCommand() *cobra.Command {
	return addJSONFlag(userVerb("enable", "Let a disabled user sign in again",
		func(a *api, cmd *cobra.Command, args []string) error {
			return changeUser(a, cmd, args[0], "disabled", false, "is enabled")
		}))
}

// changeUser sets a flag of the user, and prints what that means.
func changeUser(a *api, cmd *cobra.Command, arg, member string, value bool, what string) error {
	name, err := username(arg)
	if err != nil {
		return err
	}
	var document json.RawMessage
	err = a.send(cmd.Context(), http.MethodPatch, userPath(name), map[string]bool{member: value}, &document)
	if isProblem(err, "not_found") {
		return noUser(name)
	}
	if err != nil {
		return err
	}
	return say(cmd, document, "user %s %s", name, what)
}

func userPasswdCommand() *cobra.Command {
	var file string
	c := userVerb("passwd", "Set a user's password and end all the user's grants",
		func(a *api, cmd *cobra.Command, args []string) error {
			u, _, err := loadUser(a, cmd, args[0]) // before anybody types a password
			if err != nil {
				return err
			}
			password, err := askPassword(cmd, file)
			if err != nil {
				return err
			}
			err = a.send(cmd.Context(), http.MethodPut, userPath(u.Username)+"/password", map[string]string{"password": password}, nil)
			if err != nil {
				return badPassword(err)
			}
			return say(cmd, map[string]string{"username": u.Username}, "user %s has a new password, and all grants are ended", printable(u.Username, longestCell))
		})
	c.Example = "  grantd user passwd alice\n  grantd user passwd alice --password-file -"
	addPasswordFlag(c, &file)
	return addJSONFlag(c)
}

func userUnlockCommand() *cobra.Command {
	return addJSONFlag(userVerb("unlock", "Let a user sign in at once after too many wrong passwords", unlockUser))
}

// unlockUser shows the networks that it unlocks: an admin should know of guessing.
func unlockUser(a *api, cmd *cobra.Command, args []string) error {
	if a.local != nil && a.local.tools.config.Secret.IsZero() {
		return failedf("the deployment secret is missing: without it the records of wrong passwords can't be found").
			withHint("name it in the configuration (secret_file), or act through a server: grantd login")
	}
	u, _, err := loadUser(a, cmd, args[0])
	if err != nil {
		return err
	}
	path := userPath(u.Username) + "/throttle"
	var document json.RawMessage
	var answer struct {
		Throttled []admin.Throttled `json:"throttled"`
	}
	err = a.get(cmd.Context(), path, nil, &document)
	if err == nil {
		err = understand(document, &answer)
	}
	if err == nil {
		err = a.send(cmd.Context(), http.MethodDelete, path, nil, nil)
	}
	if err != nil {
		return err
	}
	var from []string
	for _, t := range answer.Throttled {
		from = append(from, t.Network)
	}
	name := printable(u.Username, longestCell)
	if len(from) == 0 {
		return say(cmd, document, "user %s wasn't slowed down", name)
	}
	return say(cmd, document, "user %s may sign in again from %s", name, printable(strings.Join(from, ", "), longestText))
}

func userDeleteCommand() *cobra.Command {
	c := userVerb("delete", "Delete a user and end all the user's grants",
		func(a *api, cmd *cobra.Command, args []string) error {
			u, _, err := loadUser(a, cmd, args[0])
			if err != nil {
				return a.surely(cmd.Context(), err, userPath(args[0]))
			}
			name := printable(u.Username, longestCell)
			if _, err := a.warnOfLockout(cmd, u.Username); err != nil {
				return err
			}
			if err := confirm(cmd, "Delete user "+name+" and end all grants?"); err != nil {
				return err
			}
			if err := a.send(cmd.Context(), http.MethodDelete, userPath(u.Username), nil, nil); err != nil {
				return err
			}
			return say(cmd, map[string]string{"username": u.Username}, "user %s is deleted, and all grants are ended", name)
		})
	c.Example = "  grantd user delete alice\n  grantd user delete alice --yes"
	return addJSONFlag(addYesFlag(c))
}
