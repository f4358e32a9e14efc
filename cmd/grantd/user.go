package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

func userCommand() *cobra.Command {
	return noun("user", "Manage users",
		userListCommand(), userShowCommand(), userAddCommand(), userUpdateCommand(), userPasswdCommand(),
		userDisableCommand(), userEnableCommand(), userUnlockCommand(), userDeleteCommand(),
		userImportCommand(), userExportCommand())
}

// userVerb returns a command on one user.
func userVerb(verb, short string, run apiFunc) *cobra.Command {
	return addAPIFlags(&cobra.Command{
		Use:               verb + " NAME",
		Short:             short,
		Example:           "  grantd user " + verb + " alice",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeUsers,
		RunE:              withAPI(run),
	})
}

// username returns the name in the form in which it is stored.
func username(name string) (string, error) {
	stored, err := passhash.Username(name)
	if err != nil {
		return "", usagef("%q can't be a user's name", name).
			withHint("a name may have letters, digits and most ASCII punctuation, but no spaces (RFC 8265)")
	}
	return stored, nil
}

// loadUser returns the user, and the JSON document of it.
func loadUser(a *api, cmd *cobra.Command, arg string) (u admin.User, document json.RawMessage, err error) {
	name, err := username(arg)
	if err != nil {
		return u, nil, err
	}
	err = a.get(cmd.Context(), userPath(name), nil, &document)
	if isProblem(err, "not_found") {
		return u, nil, noUser(name)
	}
	if err == nil {
		err = understand(document, &u)
	}
	return u, document, err
}

func userPath(name string) string { return "/users/" + segment(name) }

func noUser(name string) error {
	hint := "grantd user list shows the users"
	if strings.HasPrefix(name, storage.UserIDPrefix) {
		hint = "this is the id of a user: grantd user list --id shows the name"
	}
	return failedf("%w", none("there is no user "+name)).withHint(hint)
}

func userListCommand() *cobra.Command {
	var prefix, id string
	var admins, disabled bool
	var limit int
	c := addJSONFlag(addAPIFlags(&cobra.Command{
		Use:     "list",
		Short:   "List the users",
		Example: "  grantd user list\n  grantd user list --prefix al --disabled=false --json\n  grantd user list --id usr_bilDjHfcNKtQ7Djc",
		Args:    cobra.NoArgs,
		RunE: withAPI(func(a *api, cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			for name, value := range map[string]string{"prefix": prefix, "id": id} {
				if value != "" {
					query.Set(name, value)
				}
			}
			for name, value := range map[string]bool{"admin": admins, "disabled": disabled} {
				if cmd.Flags().Changed(name) {
					query.Set(name, strconv.FormatBool(value))
				}
			}
			return listing[admin.User]{
				path: "/users", query: query, member: "users", limit: limit,
				heading: []any{"USERNAME", "ID", "ADMIN", "DISABLED", "PASSWORD", "CREATED"},
				row: func(u admin.User) []any {
					return []any{u.Username, u.ID, u.Admin, u.Disabled, u.HasPassword, u.Created}
				},
			}.show(a, cmd)
		}),
	}))
	c.Flags().StringVar(&prefix, "prefix", "", "only users whose name begins with this")
	c.Flags().StringVar(&id, "id", "", "only the user with this id, which is the sub of the user's tokens")
	c.Flags().BoolVar(&admins, "admin", false, "only admins; --admin=false: only users who aren't")
	c.Flags().BoolVar(&disabled, "disabled", false, "only disabled users; --disabled=false: only users who aren't")
	addLimitFlag(c, &limit)
	return c
}

func userShowCommand() *cobra.Command {
	return addJSONFlag(userVerb("show", "Show a user", func(a *api, cmd *cobra.Command, args []string) error {
		u, document, err := loadUser(a, cmd, args[0])
		if err != nil {
			return err
		}
		return showOne(cmd, document, [][]any{
			{"username", u.Username}, {"id", u.ID}, {"admin", u.Admin}, {"disabled", u.Disabled},
			{"has_password", u.HasPassword}, {"created", u.Created},
		})
	}))
}

func userAddCommand() *cobra.Command {
	var asAdmin bool
	var file string
	c := userVerb("add", "Add a user", func(a *api, cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		name, err := username(args[0])
		if err != nil {
			return err
		}
		err = a.get(ctx, userPath(name), nil, nil) // before anybody types a password
		if err == nil {
			return userExists(name)
		}
		if !isProblem(err, "not_found") {
			return err
		}
		password, err := askPassword(cmd, file)
		if err != nil {
			return err
		}
		var document json.RawMessage
		var u admin.User
		err = a.send(ctx, http.MethodPost, "/users", map[string]any{"username": name, "password": password, "admin": asAdmin}, &document)
		if isProblem(err, "already_exists") {
			return userExists(name)
		}
		if err == nil {
			err = understand(document, &u)
		}
		if err != nil {
			return badPassword(err)
		}
		return say(cmd, document, "user %s added, id %s", u.Username, u.ID)
	})
	c.Example = "  grantd user add alice\n  grantd user add root --admin --data grantd.db --password-file -"
	c.ValidArgsFunction = cobra.NoFileCompletions
	c.Flags().BoolVar(&asAdmin, "admin", false, `the user may be granted the scope "admin"`)
	addPasswordFlag(c, &file)
	return addJSONFlag(c)
}

func addPasswordFlag(c *cobra.Command, file *string) {
	c.Flags().StringVar(file, "password-file", "", "file with the password; - is standard input")
}

func userExists(name string) error {
	return failedf("user %s exists already", name).withHint("grantd user passwd " + name + " changes the password")
}

// badPassword turns the refusal of a password into a failure. It isn't a usage error,
// because the password isn't part of the call.
func badPassword(err error) error {
	var p *problem
	if !errors.As(err, &p) || len(p.Errors) != 1 || p.Errors[0].Field != "password" {
		return err
	}
	why := strings.Replace(p.Error(), "isn't acceptable: ", "is ", 1)
	return failedf("the %s", why).withHint("choose another password")
}
