package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func secretsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "secrets DIR",
		Short: "Write the random secrets that a deployment needs, where they are missing",
		Long: `Write the random secrets of a deployment into DIR, where they are missing:

  secret           the deployment secret, for secret_file
  admin_password   of the first admin, for admin_password_file
  redis_password   for redis.password_file
  redis.conf       requirepass, for redis-server

Everybody who can enter DIR can read them: containers run as different users.
So give DIR to nobody but the containers that need it.`,
		Example: "  grantd secrets /run/secrets/grantd",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return writeSecrets(cmd.OutOrStdout(), args[0])
		},
	}
}

func writeSecrets(w io.Writer, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return failedf("making the directory: %w", err)
	}
	_, err := os.Stat(filepath.Join(dir, "redis.conf"))
	_, errPassword := os.Stat(filepath.Join(dir, "redis_password"))
	if err == nil && errors.Is(errPassword, fs.ErrNotExist) {
		return failedf("%s holds redis.conf but no redis_password", dir).
			withHint("remove redis.conf, or write the password that it requires to redis_password")
	}
	for _, name := range []string{"secret", "admin_password", "redis_password"} {
		if err := writeSecret(w, dir, name, randomText(32)+"\n"); err != nil {
			return err
		}
	}
	password, err := readSecretFile(filepath.Join(dir, "redis_password"))
	if err != nil {
		return failedf("reading redis_password: %w", err)
	}
	return writeSecret(w, dir, "redis.conf", "requirepass "+password+"\n")
}

func writeSecret(w io.Writer, dir, name, text string) error {
	made, err := createFile(filepath.Join(dir, name), 0o644, text)
	if err != nil {
		return failedf("writing %s: %w", name, err)
	}
	state := "kept"
	if made {
		state = "written"
	}
	_, err = fmt.Fprintf(w, "%-15s %s\n", name, state)
	return err
}
