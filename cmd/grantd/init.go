package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

// defaultAdmin is the name of the first admin.
const defaultAdmin = "admin"

func initCommand() *cobra.Command {
	var name, file string
	c := &cobra.Command{
		Use:   "init",
		Short: "Make the first admin, if the store has none",
		Long: `Make the first admin, if the store has none. The password comes from
--password-file, or from admin_password in the configuration (for example
GRANTD_ADMIN_PASSWORD_FILE), or it is asked for on the terminal.

Along with the admin, init makes the client grantd-cli, which grantd login uses. It
is a public client with the password grant, for the scope admin only. In the strict
profile, which has no password grant, init doesn't make it.`,
		Example: "  grantd init --config grantd.yaml\n  grantd init --data grantd.db --password-file admin_password",
		Args:    cobra.NoArgs,
		RunE: withNewStore(func(t *tools, cmd *cobra.Command, _ []string) error {
			return runInit(t, cmd, name, file)
		}),
	}
	c.Flags().StringVar(&name, "name", defaultAdmin, "name of the admin")
	addPasswordFlag(c, &file)
	addConfigFlags(c, "data", "redis")
	return c
}

func runInit(t *tools, cmd *cobra.Command, name, file string) error {
	name, err := username(name)
	if err != nil {
		return err
	}
	_, noClient := t.store.LoadClient(cmd.Context(), loginClient)
	who, made, err := ensureAdmin(cmd.Context(), t.store, newAdmin{
		name:   name,
		login:  t.config.offersLogin(),
		hasher: t.hasher,
		password: func() (string, error) {
			if file == "" && !t.config.AdminPassword.IsZero() {
				password := t.config.AdminPassword.Reveal()
				return password, t.config.passwordPolicy().Check(name, password)
			}
			return t.newPassword(cmd, name, file)
		},
	})
	if err != nil {
		return err
	}
	if !made {
		text := "user " + who + " is an admin already\n"
		if who != name && cmd.Flags().Changed("name") {
			text += "user " + name + " was not made; to make this admin too: grantd user add " + name + " --admin\n"
		}
		_, err = fmt.Fprint(cmd.OutOrStdout(), text)
		return err
	}
	text := "user " + who + " is the first admin\n"
	if t.config.offersLogin() {
		if errors.Is(noClient, storage.ErrNotFound) {
			text += "client " + loginClient + " made\n"
		}
		text += "sign in with: grantd login --server " + cmp.Or(t.config.Issuer, "ISSUER") + " --username " + who + "\n"
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), text)
	return err
}

// newAdmin is the admin to make. password is called only if the admin is made.
type newAdmin struct {
	name     string
	login    bool // make the client of grantd login too
	password func() (string, error)
	hasher   *passhash.Hasher
}

// ensureAdmin makes the admin, unless the store has an admin of any name. It returns
// the name of an existing or new admin, and whether it made that admin.
func ensureAdmin(ctx context.Context, s storage.Store, a newAdmin) (string, bool, error) {
	who, err := findAdmin(ctx, s, a.name)
	if err != nil || who != "" {
		return who, false, err
	}
	password, err := a.password()
	if err != nil {
		return "", false, err
	}
	hash, err := a.hasher.Hash(ctx, password)
	if err != nil {
		return "", false, fmt.Errorf("hashing the password: %w", err)
	}
	if a.login { // before the admin: once there is an admin, this code isn't reached again
		create := func(ctx context.Context, c storage.Client) error {
			made := storage.AuditEvent{Action: storage.ActClientCreate, ClientID: c.ID, Detail: "the client of grantd login"}
			return locally(ctx, s, made, func() error { return s.CreateClient(ctx, c) })
		}
		if err := ensureLoginClient(ctx, s, create); err != nil {
			return "", false, fmt.Errorf("making client %s: %w", loginClient, err)
		}
	}
	admin := newUser(a.name, hash, true)
	made := storage.AuditEvent{Action: storage.ActUserCreate, Username: admin.Name, UserID: admin.ID, Detail: "the first admin"}
	err = locally(ctx, s, made, func() error { return s.CreateUser(ctx, admin) })
	if errors.Is(err, storage.ErrExists) {
		u, err := s.LoadUser(ctx, a.name)
		if err == nil && !u.CanAdmin() {
			err = failedf("user %s exists already, and isn't an admin who can sign in", a.name).withHint("choose another name: grantd init --name NAME")
		}
		return a.name, false, err
	}
	return a.name, err == nil, err
}

// findAdmin returns the name of an admin who can sign in, or "". It tries the likely name
// first, so that it seldom has to read all users.
func findAdmin(ctx context.Context, s storage.Users, likely string) (string, error) {
	u, err := s.LoadUser(ctx, likely)
	if err == nil && u.CanAdmin() {
		return u.Name, nil
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return "", err
	}
	found := ""
	err = eachUser(ctx, s, func(u storage.User) bool {
		if u.CanAdmin() {
			found = u.Name
		}
		return found == ""
	})
	return found, err
}

// newUser returns a user with a new id.
func newUser(name, hash string, admin bool) storage.User {
	return storage.User{
		ID:       storage.NewUserID(),
		Name:     name,
		Password: hash,
		Admin:    admin,
		Created:  time.Now().UTC(),
	}
}
