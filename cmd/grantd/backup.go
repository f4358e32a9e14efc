package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/opaque"
)

func backupCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the embedded store into a new file, while servers run",
		Long: `Copy the embedded store, as it is at one instant, into a new file that only the
user who runs the command can read. Servers may go on using the store. Nothing is
written to the store, and it may be the store of an older grantd.

The backup holds all that the store holds, including the hashes of passwords. It
holds no tokens, and not the deployment secret. Protect the backup as you protect
the store. Keep a copy of the deployment secret elsewhere: without it the sign-ins
and the keys in the backup are lost.

Redis has its own means of backup: cmd/grantd/OPERATIONS.md has the steps.`,
		Example: "  grantd backup /var/backups/grantd-1.db --config grantd.yaml\n  grantd backup grantd-1.db --data grantd.db",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := embeddedConfig(cmd)
			if err != nil {
				return err
			}
			path := c.Data
			if err := storeExists(path); err != nil {
				return err
			}
			if err := embedded.Backup(cmd.Context(), path, args[0]); err != nil {
				return explainCopy(args[0], err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "the store %s was copied to %s\n", path, args[0])
			return err
		},
	}
	addConfigFlags(c, "data")
	return c
}

func restoreCommand() *cobra.Command {
	var keep bool
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make the embedded store from a backup",
		Long: `Make the embedded store from a backup. First stop the servers on the old store,
and move away what is left of its files: restore doesn't overwrite them. No server
may use the store until the command is done.

A backup doesn't know what was revoked after it was made. So restore ends all
sign-ins in it, and everybody has to sign in again. With --keep-grants the sign-ins
stay valid, including those that were revoked since. Use it only if nothing
happened after the backup. Passwords, users, clients and keys are as they were when
the backup was made.`,
		Example: "  grantd restore /var/backups/grantd-1.db --config grantd.yaml\n  grantd restore grantd-1.db --data moved.db --keep-grants",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := embeddedConfig(cmd)
			if err != nil {
				return err
			}
			if _, err := os.Stat(args[0]); errors.Is(err, fs.ErrNotExist) {
				return failedf("there is no file %s", args[0])
			}
			path, ctx := c.Data, cmd.Context()
			end, told := endAll, "all its sign-ins are ended"
			if keep {
				end, told = func(context.Context, *embedded.Store) error { return nil }, "its sign-ins stay valid, including those that were revoked after the backup"
			}
			opens := true
			prepare := func(s *embedded.Store) error {
				var err error
				if opens, err = c.opensKeys(ctx, s); err != nil {
					return err
				}
				return end(ctx, s)
			}
			if err := embedded.Restore(ctx, args[0], path, prepare); err != nil {
				if errors.Is(err, fs.ErrExist) {
					return failedf("%w", err).withHint("stop every server on the store, then move " + path + " away together with its -wal and -shm files; or name another file with --data")
				}
				if strings.Contains(err.Error(), "file is not a database") {
					return failedf("%s", ofFile(err)).withHint("name a file that grantd backup made")
				}
				return explainCopy(path, err)
			}
			if !opens {
				fmt.Fprintln(cmd.ErrOrStderr(), "grantd: warning: the deployment secret in the configuration is not the one that the backup was made under: no server can start on the store with it")
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "the store %s was made from %s; %s\n", path, args[0], told)
			return err
		},
	}
	c.Flags().BoolVar(&keep, "keep-grants", false, "keep the sign-ins in the backup valid")
	addConfigFlags(c, "data")
	return c
}

// endAll ends all grants of a store. The next server on it deletes their records and
// makes the receipt.
func endAll(ctx context.Context, s *embedded.Store) error {
	ended := storage.AuditEvent{Action: storage.ActRevocation, Detail: "all grants of a backup that is restored"}
	return locally(ctx, s, ended, func() error {
		_, err := s.Revoke(ctx, storage.Target{All: true})
		return err
	})
}

// opensKeys reports whether the deployment secret opens the keys of the store. It
// returns true if there are no keys, or if the configuration has no secret.
func (c *config) opensKeys(ctx context.Context, s storage.Keys) (bool, error) {
	keys, err := s.ListKeys(ctx)
	if err != nil || c.Secret.IsZero() {
		return true, err
	}
	sealer, err := opaque.NewSealer([]byte(c.Secret.Reveal()))
	if err != nil {
		return len(keys) == 0, nil // the secret is too short to have sealed any
	}
	for _, k := range keys {
		if _, err := sealer.Unseal(k.ID, k.Sealed); err != nil {
			return false, nil
		}
	}
	return true, nil
}

// embeddedConfig returns the configuration, which has to name the file of an embedded
// store.
func embeddedConfig(cmd *cobra.Command) (*config, error) {
	c, err := loadConfig(cmd, func(c *config, f *faults) { c.checkStore(f) })
	if err != nil {
		return nil, err
	}
	c.warnUnknown(cmd.ErrOrStderr())
	switch c.Data {
	case "":
		return nil, usagef("%s works on the embedded store only, and the configuration names a Redis", cmd.CommandPath()).
			withHint("cmd/grantd/OPERATIONS.md has the steps for Redis")
	case embedded.Memory:
		return nil, usagef("a store in memory has no file").withHint("name the file of a store in data, GRANTD_DATA or --data")
	}
	return c, nil
}

// explainCopy turns the error of making a backup or a store into a failure that says
// what to do.
func explainCopy(path string, err error) error {
	var in *fs.PathError
	switch {
	case errors.Is(err, fs.ErrExist):
		return failedf("%w", err).withHint("choose another name, or move that file away first")
	case errors.As(err, &in):
		return failedf("writing %s: %w", path, in.Err)
	}
	return failedf("%s", ofFile(err))
}
