package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func secretsCommand() *cobra.Command {
	var worldReadable bool
	var redisDir string
	c := &cobra.Command{
		Use:   "secrets DIR",
		Short: "Write the random secrets that a deployment needs, where they are missing",
		Long: `Write the random secrets of a deployment into DIR, where they are missing:

  secret           the deployment secret, for secret_file
  admin_password   of the first admin, for admin_password_file
  redis_password   for redis.password_file
  redis.conf       requirepass, to start redis-server with, or for its
                   configuration to include

With --redis-dir the last two go there, so that Redis needn't see the others.
Only the user who runs this can read them. --world-readable is for a volume that
containers of different users share, and nobody else.`,
		Example: "  grantd secrets /run/secrets/grantd",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s := secretWriter{
				out: cmd.OutOrStdout(), dir: args[0], redisDir: cmp.Or(redisDir, args[0]), dirMode: 0o700, fileMode: 0o600,
			}
			if worldReadable {
				s.dirMode, s.fileMode = 0o755, 0o644
			}
			return s.writeAll()
		},
	}
	c.Flags().StringVar(&redisDir, "redis-dir", "", "directory for redis_password and redis.conf (default: DIR)")
	c.Flags().BoolVar(&worldReadable, "world-readable", false, "let everybody read what is written who can enter DIR")
	return c
}

// secretWriter writes what is missing in dir, and in redisDir what Redis has to
// know. What is there keeps its mode.
type secretWriter struct {
	out               io.Writer
	dir, redisDir     string
	dirMode, fileMode fs.FileMode
}

func (s secretWriter) writeAll() error {
	for _, dir := range []string{s.dir, s.redisDir} {
		if err := os.MkdirAll(dir, s.dirMode); err != nil {
			return failedf("making the directory: %w", err)
		}
	}
	for _, name := range []string{"secret", "admin_password"} {
		if err := s.write(s.dir, name, randomText(32)+"\n"); err != nil {
			return err
		}
	}
	return s.writeRedis()
}

func (s secretWriter) writeRedis() error {
	_, err := os.Stat(filepath.Join(s.redisDir, "redis.conf"))
	_, errPassword := os.Stat(filepath.Join(s.redisDir, "redis_password"))
	if err == nil && errors.Is(errPassword, fs.ErrNotExist) {
		return failedf("%s holds redis.conf but no redis_password", s.redisDir).
			withHint("choose a directory of its own; or, if redis.conf is yours to keep, write the password that it requires to redis_password there")
	}
	if err := s.write(s.redisDir, "redis_password", randomText(32)+"\n"); err != nil {
		return err
	}
	password, err := readSecretFile(filepath.Join(s.redisDir, "redis_password"))
	if err != nil {
		return failedf("reading redis_password: %w", err)
	}
	return s.write(s.redisDir, "redis.conf", "requirepass "+password+"\n")
}

func (s secretWriter) write(dir, name, text string) error {
	made, err := createFile(filepath.Join(dir, name), s.fileMode, text)
	if err != nil {
		return failedf("writing %s: %w", name, err)
	}
	state := "kept"
	if made {
		state = "written"
	}
	_, err = fmt.Fprintf(s.out, "%-15s %s\n", name, state)
	return err
}
