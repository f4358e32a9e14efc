package main

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/admin"
)

func userUpdateCommand() *cobra.Command {
	var asAdmin bool
	c := userVerb("update", "Make a user an admin, or no longer an admin", func(a *api, cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed("admin") {
			return usagef("nothing to change").withHint("give --admin or --admin=false")
		}
		what := "is no admin any more, and all grants are ended"
		if asAdmin {
			what = "is an admin"
		}
		return changeUser(a, cmd, args[0], "admin", asAdmin, what)
	})
	c.Long = "Make a user an admin, who may be granted the scope admin, or no longer an admin,\nwhich ends all the user's grants." + whereItActs
	c.Example = "  grantd user update alice --admin\n  grantd user update alice --admin=false"
	c.Flags().BoolVar(&asAdmin, "admin", false, `whether the user may be granted the scope "admin"`)
	return addJSONFlag(c)
}

func userDisableCommand() *cobra.Command {
	return addJSONFlag(userVerb("disable", "Keep a user from signing in and end all the user's grants",
		func(a *api, cmd *cobra.Command, args []string) error {
			return changeUser(a, cmd, args[0], "disabled", true, "is disabled, and all grants are ended")
		}))
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
