package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func secretsCommand() *cobra.Command {
	var worldReadable bool
	var redisDir string
	c := &cobra.Command{
		Use:   "secrets DIR",
		Short: "Write the random secrets that a deployment needs and doesn't have yet",
		Long: `Write the random secrets of a deployment into DIR. Existing files stay as they are.

  secret           the deployment secret, for secret_file
  admin_password   the password of the first admin, for admin_password_file
  redis_password   the password of Redis, for redis.password_file
  redis.conf       requirepass with that password: start redis-server with this
                   file, or include it in the configuration of Redis

With --redis-dir the last two go into that directory, so that Redis needn't see the
others. Only the user who runs the command can read the files. --world-readable is
for a volume that only containers reach, which run as different users.`,
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
	c.Flags().BoolVar(&worldReadable, "world-readable", false, "let everybody who can enter DIR read the files")
	return c
}

// secretWriter writes the missing secrets to dir, and those for Redis to redisDir.
// Existing files keep their mode.
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
		if _, err := s.writeSecret(s.dir, name); err != nil {
			return err
		}
	}
	return s.writeRedis()
}

func (s secretWriter) writeRedis() error {
	conf := filepath.Join(s.redisDir, "redis.conf")
	_, err := os.Stat(conf)
	_, errPassword := os.Stat(filepath.Join(s.redisDir, "redis_password"))
	if err == nil && errors.Is(errPassword, fs.ErrNotExist) {
		return failedf("%s contains redis.conf but no redis_password", s.redisDir).
			withHint("choose another directory with --redis-dir; or write the password that redis.conf requires to redis_password beside it")
	}
	password, err := s.writeSecret(s.redisDir, "redis_password")
	if err != nil {
		return err
	}
	if err := s.write(s.redisDir, "redis.conf", "requirepass "+password+"\n"); err != nil {
		return err
	}
	text, err := os.ReadFile(conf)
	if err != nil {
		return failedf("reading redis.conf: %w", err)
	}
	if required, found := requirepass(string(text)); found && required != password {
		return failedf("the password that redis.conf requires is not the one in redis_password").
			withHint("write the same password to both files, in " + s.redisDir)
	}
	return nil
}

// requirepass returns the password that a configuration of Redis requires. found is false
// if it requires none, or if the password contains escapes.
func requirepass(conf string) (password string, found bool) {
	for line := range strings.Lines(conf) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.EqualFold(name, "requirepass") {
			password = strings.Trim(strings.TrimSpace(value), `"'`) // the last one counts
			found = !strings.Contains(value, `\`)
		}
	}
	return password, found
}

// writeSecret writes a random text to the file if it is missing, and returns the content
// of the file.
func (s secretWriter) writeSecret(dir, name string) (string, error) {
	if err := s.write(dir, name, randomText(32)+"\n"); err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	text, err := readSecretFile(path)
	if err != nil {
		return "", failedf("reading %s: %w", name, err)
	}
	if text == "" {
		return "", failedf("the file %s is empty", path).withHint("delete the file and run the command again: it makes a new one")
	}
	return text, nil
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
